"""Writes records out in full for mypyc, which cannot compile `dataclass(frozen=True, slots=True)`.

A record is such a dataclass without a base class. What stands in its place has the same name,
fields, defaults, methods, equality, hash and representation; to mypyc it is a native class, so that
compiled code makes one and reads its fields without Python's machinery.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from itertools import chain

# Files, and the records of each that are written out: those made or read for each request, report
# and simulated event. Each costs a process that loads it 10 KiB, so not all.
RECORDS: dict[str, tuple[str, ...]] = {
    "tango/model/cgroup.py": ("GroupTarget",),
    "tango/model/cluster.py": (
        "GroupReport",
        "NodeCapacity",
        "NodeReport",
        "NodeView",
        "SideUsage",
    ),
    "tango/model/commands.py": (
        "CheckHealth",
        "Forward",
        "Reply",
        "SampleUsage",
        "SendUpstream",
        "SendWorker",
        "Solve",
    ),
    "tango/model/events.py": (
        "CallArrived",
        "GroupUsed",
        "HealthChecked",
        "RequestFinished",
        "RouteSolved",
        "UpstreamSaid",
        "UsageSampled",
        "WorkerSaid",
    ),
    "tango/model/messages.py": (
        "Dispatches",
        "ReplicaTarget",
        "ReportUsage",
        "RequestsDone",
        "WorkerPing",
        "WorkerPong",
    ),
    "tango/model/peers.py": (
        "GuestSaid",
        "PeerNode",
        "PeerPing",
        "PeerPong",
        "PeerSaid",
        "PeerServiceOffer",
        "SendGuest",
        "SendPeer",
        "SiteOffer",
    ),
    "tango/model/plan.py": (
        "BatchOffer",
        "Demand",
        "NodeOffer",
        "Route",
        "TrafficPlan",
        "TrafficSnapshot",
    ),
    "tango/model/request.py": ("CallReply", "CallRequest", "Dispatch", "RequestDone"),
    "tango/model/round_trips.py": ("EdgeTrip", "RoundTrip"),
    "tango/model/service.py": ("ReplicaStatus", "ServiceSpec"),
    "tango/workload/arrival.py": ("Arrival",),
    # None of these, but runs are sent between processes, and frozen dataclasses that mypyc compiles
    # cannot be unpickled; so they are left to Python.
    "tango/sim/tally.py": (),
    "tango/workload/latency.py": (),
    "tango/workload/report.py": (),
}
_IMPORTS = (
    "from dataclasses import Field as _Field",
    "from typing import Any as _Any, ClassVar as _ClassVar, Final as _Final, final as _final",
    "from mypy_extensions import mypyc_attr as _mypyc_attr",
    "from tango.model.fast_init import with_types as _with_types, written_out as _written_out",
)
_RECORD = "dataclass(frozen=True, slots=True)"


@dataclass(frozen=True, slots=True)
class _Item:
    """A field as the source has it. default: an expression, "" for none."""

    name: str
    type: str
    default: str

    @property
    def parameter(self) -> str:
        """As one of __init__."""
        return f"{self.name}: {self.type}" + (f" = {self.default}" if self.default else "")


def native(source: str, records: tuple[str, ...]) -> str:
    """The module with these records written out, and its other dataclasses left to Python.

    ValueError for a record that it does not have or that cannot be written out.
    """
    tree = ast.parse(source)
    lines = source.splitlines()
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    unknown = [name for name in records if name not in classes]
    if unknown:
        raise ValueError(f"there is no class {', '.join(unknown)}")
    # From the last to the first, so that lines keep their numbers until they are changed.
    for node in reversed(classes.values()):
        if node.name in records:
            lines[_first(node) - 1 : node.end_lineno] = _in_full(node, lines)
        elif node.decorator_list:
            lines[_first(node) - 1 : node.end_lineno] = _left_to_python(node, lines)
    after = next(
        node.end_lineno or 0
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module == "__future__"
    )
    return "\n".join([*lines[:after], *_IMPORTS, *lines[after:], ""])


def _left_to_python(node: ast.ClassDef, lines: list[str]) -> list[str]:
    """The class as it is, but for its fields' types: strings at first, and told again after it.

    mypyc gives classes that it leaves to Python other annotations than the source has: `tuple` for
    `tuple[int, ...]`, `type` for `int | None`; and it fails for `object`.
    """
    first = _first(node) - 1
    written = lines[first : node.end_lineno]
    types = {}
    for item in reversed(node.body):
        if isinstance(item, ast.AnnAssign):
            name, kind = ast.unparse(item.target), ast.unparse(item.annotation)
            line = f"    {name}: {kind!r}"
            if item.value is not None:
                line += f" = {ast.unparse(item.value)}"
            written[item.lineno - 1 - first : (item.end_lineno or item.lineno) - first] = [line]
            types[name] = kind
    told = f"_with_types({node.name}, {types!r})"
    return ["@_mypyc_attr(native_class=False)", *written, told]


def _items(node: ast.ClassDef) -> list[_Item]:
    """The fields of a record."""
    decorators = {ast.unparse(item) for item in node.decorator_list}
    if node.bases or _RECORD not in decorators or decorators - {_RECORD, "fast_init"}:
        raise ValueError(f"{node.name} is no {_RECORD} without base class")
    items = []
    for line in node.body:
        if isinstance(line, ast.Assign):
            raise ValueError(f"{node.name} has {ast.unparse(line)}: only fields and methods")
        if isinstance(line, ast.AnnAssign):
            default = ast.unparse(line.value) if line.value is not None else ""
            kind = ast.unparse(line.annotation)
            if default.startswith("field(") or kind.startswith("ClassVar"):
                raise ValueError(f"{node.name} has {ast.unparse(line)}: only plain fields")
            items.append(_Item(ast.unparse(line.target), kind, default))
    return items


def _in_full(node: ast.ClassDef, lines: list[str]) -> list[str]:
    """The lines that stand in place of the class."""
    items = _items(node)
    name, names = node.name, [item.name for item in items]
    rest = [item for item in node.body if not isinstance(item, ast.AnnAssign)]
    own = {item.name for item in rest if isinstance(item, ast.FunctionDef)}
    values = "".join(f"self.{each}, " for each in names)
    same = " and ".join(f"self.{each} == other.{each}" for each in names)
    shown = ", ".join(f"{each}={{self.{each}!r}}" for each in names)
    checked = ["self.__post_init__()"] if "__post_init__" in own else []
    methods = {
        "__init__": (
            f"self, {', '.join(item.parameter for item in items)}",
            "None",
            [*(f"self.{each} = {each}" for each in names), *checked],
        ),
        "__eq__": (
            "self, other: object",
            "bool",
            [f"if not isinstance(other, {name}):", "    return NotImplemented", f"return {same}"],
        ),
        "__hash__": ("self", "int", [f"return hash(({values}))"]),
        "__repr__": ("self", "str", [f'return f"{name}({shown})"']),
        # By the constructor: pickle's usual way sets fields of a made object; these are final.
        "__reduce__": ("self", "tuple[_Any, ...]", [f"return {name}, ({values})"]),
    }
    written = [
        "@_mypyc_attr(acyclic=True, free_list_len=1)",
        "@_final",
        f"class {name}:",
        *chain.from_iterable(lines[_first(item) - 1 : item.end_lineno] for item in rest),
        f"    __match_args__ = {tuple(names)!r}",
        "    __dataclass_fields__: _ClassVar[dict[str, _Field[_Any]]] = {}",
        *(f"    {item.name}: _Final[{item.type}]" for item in items),
    ]
    for method, (parameters, returned, body) in methods.items():
        if method not in own:
            written.append(f"    def {method}({parameters}) -> {returned}:")
            written += [f"        {line}" for line in body]
    types = {item.name: item.type for item in items}
    defaults = "".join(f"{item.name!r}: {item.default}, " for item in items if item.default)
    return [*written, f"_written_out({name}, {types!r}, {{{defaults}}})"]


def _first(node: ast.stmt) -> int:
    """The line that its decorators begin at."""
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(item.lineno for item in decorators)])
