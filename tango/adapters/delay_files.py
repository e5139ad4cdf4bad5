"""Round trips in files: TOML or JSON by name, CSV, and kubernetes-edge-scheduler's bare matrix.

All in milliseconds. Strict: what is no time of 0 to 60,000 ms, a name that is there twice, a row
that is too long or too short are errors with the line. Left out, or a blank cell: not measured.
"""

from __future__ import annotations

import asyncio
import csv
import io
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tango.adapters.documents import read_document
from tango.adapters.toml_documents import parse_toml
from tango.algorithms.placement.cluster import NodeRow
from tango.model.errors import InvalidField
from tango.model.round_trips import MAX_RTT_S, MeasuredTrips, RoundTrip
from tango.model.units import MAX_CPU_MILLIS, parse_cpu, parse_memory

MAX_NODES = 2000
MAX_BYTES = 64 * 2**20
MAX_RTT_MS = MAX_RTT_S * 1000
_FIX = f"use 0 to {MAX_RTT_MS:.0f} ms"


class DelayFile:
    """A RoundTripSource; the file is read anew each time. names: beside a bare matrix only."""

    def __init__(self, path: Path, names: Path | None = None) -> None:
        self._path = path
        self._names = names

    async def measure(self) -> MeasuredTrips:
        """See ports.RoundTripSource. Raises InvalidField."""
        return await asyncio.to_thread(read_delays, self._path, self._names)


def read_delays(path: Path, names: Path | None = None) -> MeasuredTrips:
    """By the name's end: .toml, .json, .csv; any other is a bare matrix.

    names: JSON {"node": index} for the bare matrix. Raises InvalidField.
    """
    kind = path.suffix.lower()
    if kind in (".toml", ".json", ".csv"):
        if names is not None:
            raise InvalidField("names", f"stand in {path.name} already", "leave them out")
        text = read_document(path, MAX_BYTES)
        read = {".toml": _toml, ".json": _json, ".csv": _csv}[kind]
        return MeasuredTrips(tuple(read(text, str(path))))
    if names is None:
        problem = f"are missing: {path.name} is a matrix without names"
        raise InvalidField("names", problem, 'give a JSON file {"node": index}')
    order = _order(_object(read_document(names), str(names)), str(names))
    return MeasuredTrips(tuple(_bare(read_document(path, MAX_BYTES), str(path), order)))


def read_nodes(path: Path) -> tuple[NodeRow, ...]:
    """kubernetes-edge-scheduler's nodes: JSON [{"name", "allocatable_memory", "cloud"}].

    allocatable_cpu ("4") may be given, too; without it, CPU sets no bound. Raises InvalidField.
    """
    file = str(path)
    found = _parsed(read_document(path, MAX_BYTES), file)
    if not isinstance(found, list) or not 0 < len(found) <= MAX_NODES:
        raise InvalidField("document", "is no list of nodes", f"1 to {MAX_NODES} of them", file)
    rows = []
    for at, one in enumerate(found):
        field = f"[{at}]"
        if not isinstance(one, dict) or not isinstance(one.get("name"), str) or not one["name"]:
            raise InvalidField(f"{field}.name", "is no text", 'write {"name": "edge-1"}', file)
        unknown = one.keys() - {"name", "allocatable_memory", "allocatable_cpu", "cloud"}
        if unknown:
            raise InvalidField(f"{field}.{min(unknown)}", "is not a known key", "remove it", file)
        cloud, cpu = one.get("cloud", False), one.get("allocatable_cpu")
        if not isinstance(cloud, bool):
            raise InvalidField(f"{field}.cloud", "is not true or false", "write one", file)
        try:
            memory = parse_memory(one.get("allocatable_memory", ""), "allocatable_memory")
            millis = MAX_CPU_MILLIS if cpu is None else parse_cpu(cpu, "allocatable_cpu")
        except InvalidField as error:
            raise error.at(file, field) from None
        rows.append(NodeRow(one["name"], millis, memory, cloud=cloud))
    return tuple(rows)


def _toml(text: str, file: str) -> Iterator[RoundTrip]:
    """[rtt_ms.SOURCE] TARGET = ms."""
    document = parse_toml(text, file)
    table = document.section("rtt_ms", required=True)
    for source, _ in document.items("rtt_ms"):
        row = table.section(source)
        for target, _ in table.items(source):
            yield RoundTrip(source, target, row.number(target, low=0, high=MAX_RTT_MS) / 1000)
    document.finish()


def _json(text: str, file: str) -> Iterator[RoundTrip]:
    """{"SOURCE": {"TARGET": ms}}."""
    for source, row in _object(text, file).items():
        if not isinstance(row, dict):
            problem = "is no object of times by target"
            raise InvalidField(source, problem, '{"source": {"target": 10.5}}', file)
        for target, value in row.items():
            yield RoundTrip(source, target, _ms(value, f"{source}.{target}", file))


def _csv(text: str, file: str) -> Iterator[RoundTrip]:
    """A first row of targets, whose first cell does not count; then a row for each source."""
    rows = csv.reader(io.StringIO(text), strict=True)
    targets: list[str] = []
    seen: set[str] = set()
    try:
        for row in rows:
            where = f"{file}:{rows.line_num}"
            cells = [cell.strip() for cell in row]
            if not any(cells):
                continue
            if not targets:
                targets = _header(cells[1:], where)
                continue
            source = cells[0]
            if not source or source in seen:
                problem = f"{source} is there twice" if source else "has no name"
                raise InvalidField("row", problem, "name each row once", where)
            seen.add(source)
            if len(cells) - 1 != len(targets):
                problem = f"has {len(cells) - 1} values, the first row names {len(targets)}"
                raise InvalidField(f"row {source}", problem, "leave a cell blank, not out", where)
            for target, cell in zip(targets, cells[1:], strict=True):
                if cell:
                    yield RoundTrip(source, target, _text_ms(cell, f"{source}.{target}", where))
    except csv.Error as error:
        where = f"{file}:{rows.line_num}"
        raise InvalidField("document", f"is not CSV: {error}", "", where) from None
    if not targets:
        raise InvalidField("document", "is empty", "begin with a row of names", file)


def _bare(text: str, file: str, order: Sequence[str]) -> Iterator[RoundTrip]:
    """N rows of N times, between blanks."""
    rows = [
        (line, cells) for line, row in enumerate(text.splitlines(), 1) if (cells := row.split())
    ]
    if len(rows) != len(order):
        problem = f"has {len(rows)} rows, and there are {len(order)} names"
        raise InvalidField("document", problem, "give one row a name", file)
    for source, (line, cells) in zip(order, rows, strict=True):
        where = f"{file}:{line}"
        if len(cells) != len(order):
            problem = f"has {len(cells)} values, and there are {len(order)} names"
            raise InvalidField(f"row {source}", problem, "give one value a name", where)
        for target, cell in zip(order, cells, strict=True):
            yield RoundTrip(source, target, _text_ms(cell, f"{source}.{target}", where))


def _header(names: list[str], where: str) -> list[str]:
    if not names or "" in names:
        raise InvalidField("row", "names no node in one of its cells", "name each column", where)
    if len(names) > MAX_NODES:
        raise InvalidField("row", f"has {len(names)} names", f"at most {MAX_NODES}", where)
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise InvalidField("row", f"{twice[0]} is there twice", "names are unique", where)
    return names


def _order(index: dict[str, Any], file: str) -> list[str]:
    """Names by their row."""
    if not 0 < len(index) <= MAX_NODES:
        raise InvalidField("names", f"are {len(index)}", f"1 to {MAX_NODES}", file)
    names: dict[int, str] = {}
    for name, at in index.items():
        if type(at) is not int or not 0 <= at < len(index) or at in names:
            problem = f"{at!r} is no row of its own"
            raise InvalidField(name, problem, f"number the names 0 to {len(index) - 1}", file)
        names[at] = name
    return [names[at] for at in range(len(names))]


def _parsed(text: str, file: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except InvalidField as error:
        raise error.at(file) from None
    except json.JSONDecodeError as error:
        where = f"{file}:{error.lineno}:{error.colno}"
        raise InvalidField("document", f"is not JSON: {error.msg}", "", where) from None
    except (ValueError, RecursionError) as error:  # numbers of thousands of digits; deep nesting
        problem = f"is not JSON that can be read: {str(error)[:80]}"
        raise InvalidField("document", problem, "", file) from None


def _object(text: str, file: str) -> dict[str, Any]:
    found = _parsed(text, file)
    if not isinstance(found, dict):
        raise InvalidField("document", "is no object", "begin with {", file)
    if len(found) > MAX_NODES:
        raise InvalidField("document", f"has {len(found)} names", f"at most {MAX_NODES}", file)
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise InvalidField(name, "is there twice", "keep one")
        found[name] = value
    return found


def _no_constant(name: str) -> None:
    raise InvalidField("document", f"{name} is no time", _FIX)


def _ms(value: object, field: str, where: str) -> float:
    """Seconds."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidField(field, f"{value!r} is no number", _FIX, where)
    if not 0 <= value <= MAX_RTT_MS:
        raise InvalidField(field, f"{value} ms is out of range", _FIX, where)
    return float(value) / 1000


def _text_ms(cell: str, field: str, where: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        raise InvalidField(field, f"{cell[:40]!r} is no number", _FIX, where) from None
    return _ms(value if math.isfinite(value) else -1, field, where)
