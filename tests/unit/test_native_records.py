"""Records as tools/compile writes them out for mypyc, against the dataclasses that they are."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import sys
import types
import typing
from pathlib import Path
from typing import Any

import pytest

from tango.cli.compiled import compiled
from tango.model.fast_init import maker, maker_with

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tools"))
from native_records import RECORDS, native  # noqa: E402 - a tool beside the package

EACH = [(file, name) for file, names in RECORDS.items() for name in names]


@pytest.fixture(scope="module", name="modules")
def _modules() -> dict[str, types.ModuleType]:
    """Each module as it is written for mypyc, run by Python."""
    made = {}
    for file, names in RECORDS.items():
        module = types.ModuleType(file.removesuffix(".py").replace("/", "."))
        sys.modules[f"written_out.{file}"] = module  # dataclass looks its module up by name
        exec(compile(native((ROOT / file).read_text(), names), file, "exec"), vars(module))
        made[file] = module
    return made


def _values(record: type[Any]) -> dict[str, Any]:
    """One for each field, each another; numbers, so that checks of ranges let them through."""
    return {field.name: number / 64 for number, field in enumerate(dataclasses.fields(record))}


@pytest.mark.parametrize(("file", "name"), EACH)
def test_it_is_the_same_record(file: str, name: str, modules: dict[str, Any]) -> None:
    module = importlib.import_module(file.removesuffix(".py").replace("/", "."))
    usual, full = getattr(module, name), getattr(modules[file], name)
    fields = [
        [(one.name, one.type, repr(one.default)) for one in dataclasses.fields(kind)]
        for kind in (usual, full)
    ]
    assert fields[0] == fields[1]
    hints = typing.get_type_hints(full, vars(module))
    assert {name: hints[name] for name, _, _ in fields[0]} == typing.get_type_hints(usual)
    assert usual.__match_args__ == full.__match_args__
    if compiled():
        return  # the record itself is native: no docstring, and it takes only its fields' types
    assert usual.__doc__ == full.__doc__
    values = _values(usual)
    one, other = usual(**values), full(**values)
    assert repr(one) == repr(other)
    assert hash(one) == hash(other)
    assert other == full(*values.values())
    assert other != one
    assert {key: getattr(other, key) for key in values} == values
    for key in values:
        changed = dataclasses.replace(other, **{key: 1.0})
        assert changed != other
        assert getattr(changed, key) == 1.0
    kind, given = other.__reduce__()
    assert kind(*given) == other


def test_its_makers_are_itself(modules: dict[str, Any]) -> None:
    kind: type[Any] = modules["tango/model/request.py"].Dispatch
    assert maker(kind) is kind
    make = maker_with(kind, method="GET", stream=False)
    assert make("id", "s", "/", (), b"", 1.0) == kind("id", "s", "GET", "/", (), b"", 1.0, False)


@pytest.mark.parametrize("file", RECORDS)
def test_fields_have_the_types_of_the_source(file: str, modules: dict[str, Any]) -> None:
    """Of records and of what is left to Python; as imported: compiled, where that is so."""
    imported = importlib.import_module(file.removesuffix(".py").replace("/", "."))
    for node in ast.parse((ROOT / file).read_text()).body:
        if isinstance(node, ast.ClassDef) and node.decorator_list:
            types_of = {
                ast.unparse(item.target): ast.unparse(item.annotation)
                for item in node.body
                if isinstance(item, ast.AnnAssign)
            }
            for module in (imported, modules[file]):
                kind = getattr(module, node.name)
                assert {one.name: one.type for one in dataclasses.fields(kind)} == types_of
                assert kind.__annotations__ == types_of
                assert kind.__match_args__ == tuple(types_of)


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("class Other: pass", "there is no class Record"),
        ("@dataclass\nclass Record:\n    a: int", "is no dataclass"),
        ("@dataclass(frozen=True, slots=True)\nclass Record(Base):\n    a: int", "is no dataclass"),
        (
            "@dataclass(frozen=True, slots=True)\nclass Record:\n    a: list[int] = field(x)",
            "only plain fields",
        ),
        (
            "@dataclass(frozen=True, slots=True)\nclass Record:\n    a: int\n    KIND = 1",
            "only fields and methods",
        ),
    ],
)
def test_what_it_cannot_write_out_is_refused(source: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        native(f"from __future__ import annotations\n{source}\n", ("Record",))
