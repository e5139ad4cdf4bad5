"""Scenarios as TOML files: every key checked, errors with their lines, sweeps over any field."""

from __future__ import annotations

import itertools
import math
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tango.adapters.document_items import Item
from tango.adapters.documents import Section
from tango.adapters.toml_documents import load_toml
from tango.adapters.tuning import central_tuning, edge_tuning, worker_tuning
from tango.model.errors import InvalidField
from tango.model.names import check_name
from tango.sim.scenario import Scenario
from tango.sim.scenario_fields import BadRows, Reading, placed
from tango.sim.scenario_loads import read_jobs, read_loads, read_services
from tango.sim.scenario_settings import read_costs, read_failures, read_policies
from tango.sim.scenario_topology import read_places
from tango.sim.scenario_warnings import warnings_of
from tango.workload.patterns import MAX_DURATION_S

MAX_SEEDS = 1000
MAX_POINTS = 1000
KEPT_POINTS = 16
_COMMAND_LINE = "--set"


@dataclass(frozen=True, slots=True)
class Change:
    """Another value at a path of the file. option: where it was given, "" for a sweep."""

    path: str
    value: Item
    option: str = ""

    @property
    def plain(self) -> object:
        """The value as Python has it, for labels and reports."""
        return _plain(self.value)

    @property
    def same_as(self) -> tuple[str, str]:
        """Equal for changes that make the same scenario: 1 and 1.0 are, 1 and true are not."""
        return self.path, _canonical(self.plain)

    def __hash__(self) -> int:
        """By what it changes: a value may be a list, which has no hash."""
        return hash(self.same_as)

    def __str__(self) -> str:
        value = self.plain
        shown = str(value)
        if isinstance(value, float) and float(f"{value:g}") == value:
            shown = f"{value:g}"
        return f"{self.path} = {shown}"


Point = tuple[Change, ...]
"""One combination of a sweep's values; () where nothing is swept."""


def parse_change(text: str, option: str = _COMMAND_LINE) -> Change:
    """A change by hand, "loads[0].rate=50": the value as TOML has it, a text if it is none.

    Raises InvalidField.
    """
    path, mark, value = text.partition("=")
    if not mark or not path.strip():
        raise InvalidField(option, f"{text!r} has no value", "write FIELD=VALUE")
    try:
        found = tomllib.loads(f"value = {value}")["value"]
    except ValueError:
        found = value.strip()
    return Change(path.strip(), _item(found), option)


class ScenarioFile:
    """A file and what was changed in it by hand. Opened and checked whole when made.

    seeds: how many the file asks for, from `seed` on. points: of its sweep, in order; the last
    axis changes fastest. compare: pairings of policies ("traffic:batch") that it wants compared.

    Raises InvalidField ("file:line: field: problem; fix"); of a change, its option for the place.
    """

    def __init__(
        self, path: Path, changes: Sequence[Change] = (), *, bad: BadRows | None = None
    ) -> None:
        self.path = path
        self._bad = bad or BadRows()
        self._built: dict[Point, Scenario] = {}
        document = load_toml(path)
        if changes:
            self._document = document
            self.build()
        for change in changes:
            document = _with(document, change, change.option)
        self._document = document
        self._built.clear()
        try:
            self._read()
        except InvalidField as error:
            if not changes or error.where.startswith("--"):
                raise
            # The change of that very field, or any of them.
            own = [change for change in changes if change.path == error.field]
            options = " and ".join(dict.fromkeys(change.option for change in own or changes))
            raise InvalidField(error.field, error.problem, error.fix, options) from None

    def _read(self) -> None:
        scenario = self.build()
        top = self._document.unread()
        self.name = scenario.name
        self.seed = scenario.seed
        self.description = top.string("description", "")
        self.seeds = top.integer("seeds", 1, low=1, high=MAX_SEEDS)
        self.compare = top.section("policies").strings("compare", ())
        self.points = self._points()
        for point in self.points:
            if point:
                self.build(point)

    def build(self, point: Point = ()) -> Scenario:
        """The scenario of one point of the sweep. Raises InvalidField.

        Some are kept: a rate of a trace takes a pass through all of it.
        """
        built = self._built.get(point)
        if built is None:
            if len(self._built) >= KEPT_POINTS:
                del self._built[next(iter(self._built))]
            built = _at_point(self._document, self.path, point, None, self._bad)
            self._built[point] = built
        return built

    def warnings(self, scenario: Scenario) -> list[InvalidField]:
        """What one of its scenarios asks for and will not get, with places.

        Raises InvalidField where nothing at all would run.
        """
        try:
            return [each.at(self.where(each.field)) for each in warnings_of(scenario)]
        except InvalidField as error:
            raise error.at(self.where(error.field)) from None

    def where(self, field: str) -> str:
        """ "file:line" of a field."""
        return self._document.where(field)

    def _points(self) -> tuple[Point, ...]:
        axes: list[list[Change]] = []
        for path, item in self._document.unread().items("sweep"):
            if not isinstance(item.value, list) or not item.value:
                where = f"{self.path}:{item.line}"
                fix = "write a list of values: [0.5, 1.0]"
                raise InvalidField(f"sweep.{path}", "is not a list of values", fix, where)
            # An error in a value of the sweep stands where the sweep does.
            axes.append(
                [Change(path, Item(each.value, item.line, each.text)) for each in item.value]
            )
        count = math.prod(len(axis) for axis in axes)
        if count > MAX_POINTS:
            where = self._document.where("sweep")
            raise InvalidField("sweep", f"has {count} points", f"at most {MAX_POINTS}", where)
        # A value that is given twice is one point.
        once: dict[tuple[tuple[str, str], ...], Point] = {}
        for point in itertools.product(*axes):
            once.setdefault(tuple(change.same_as for change in point), point)
        return tuple(once.values())


def load_scenario(
    path: Path,
    changes: Sequence[Change] = (),
    point: Point = (),
    *,
    seed: int | None = None,
    bad: BadRows | None = None,
) -> Scenario:
    """One point of a file that ScenarioFile has checked, read once. Raises InvalidField."""
    document = load_toml(path)
    for change in changes:
        document = _with(document, change, change.option)
    return _at_point(document, path, point, seed, bad or BadRows())


def _at_point(
    document: Section, path: Path, point: Point, seed: int | None, bad: BadRows
) -> Scenario:
    document = document.unread()
    for change in point:
        document = _with(document, change, f"{path}:{change.value.line}")
    return _scenario(document, path, seed, bad)


def _scenario(document: Section, path: Path, seed: int | None, bad: BadRows) -> Scenario:
    name = document.string("name")
    with placed(document):
        check_name(name)
    document.string("description", "")
    duration_s = document.number("duration_s", low=0.001, high=MAX_DURATION_S)
    own_seed = document.integer("seed", 1, low=0)
    document.integer("seeds", 1, low=1, high=MAX_SEEDS)
    reading = Reading(
        path.absolute().parent,
        own_seed if seed is None else seed,
        document.number("load", 1.0, low=0.0001, high=1000),
        duration_s,
        bad,
    )
    places = read_places(document, reading)
    services = read_services(document, places)
    policies = document.section("policies")
    policies.strings("compare", ())
    document.items("sweep")
    plain = Scenario(name, places.topology, services, duration_s)
    scenario = Scenario(
        name,
        places.topology,
        services,
        duration_s,
        document.number("warmup_s", plain.warmup_s, low=0, high=duration_s),
        document.number("settle_s", plain.settle_s, low=0, high=3600),
        reading.seed,
        read_loads(document, services, places, reading),
        read_jobs(document, places, reading),
        read_failures(document, places),
        read_policies(policies),
        read_costs(document.section("costs")),
        edge_tuning(document.section("edge"), plain.edge),
        worker_tuning(document.section("worker"), plain.worker),
        central_tuning(document.section("central"), plain.central),
    )
    document.finish()
    with placed(document):
        scenario.validate()
    return scenario


def _with(document: Section, change: Change, where: str) -> Section:
    try:
        return document.with_value(change.path, change.value)
    except InvalidField as error:
        raise error.at(where) from None


def _item(value: object) -> Item:
    if isinstance(value, dict):
        return Item({key: _item(each) for key, each in value.items()}, 0)
    if isinstance(value, list):
        return Item([_item(each) for each in value], 0)
    return Item(value, 0)


def _canonical(value: object) -> str:
    if isinstance(value, dict):
        return (
            f"{{{','.join(f'{key!r}:{_canonical(each)}' for key, each in sorted(value.items()))}}}"
        )
    if isinstance(value, list):
        return str([_canonical(each) for each in value])
    if isinstance(value, int) and not isinstance(value, bool):
        return repr(float(value)) if abs(value) < 2**53 else repr(value)
    return repr(value)


def _plain(item: Item) -> object:
    if isinstance(item.value, dict):
        return {key: _plain(each) for key, each in item.value.items()}
    if isinstance(item.value, list):
        return [_plain(each) for each in item.value]
    return item.value
