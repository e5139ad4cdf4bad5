"""Whatever a file holds, reading it gives sections or an InvalidField that names the file."""

from __future__ import annotations

import tomllib
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from tango.adapters.manifests import read_manifests
from tango.adapters.toml_documents import key_lines, parse_toml
from tango.adapters.yaml_documents import parse_yaml
from tango.model.errors import InvalidField

KEYS = ("kind", "name", "argv", "env", "tasks", "health", "cpu", "memory", "a b", "x.y", '"q"')
# Pieces of YAML and TOML, so that more of it is nearly right than with letters alone.
MARKS = (": ", "\n", "- ", "  ", "[", "]", "{", "}", ",", "=", "'", '"', '"""', "#", "---\n", "|")
WORDS = ("Service", "Job", "&a ", "*a", "!!str ", "1", "250m", "64Mi", "true", "null", "\t", "\\")
PIECES = st.sampled_from([*KEYS, *MARKS, *WORDS])
TEXTS = st.one_of(st.lists(PIECES, max_size=40).map("".join), st.text(max_size=60))


def refusal(parse: Callable[[], object]) -> InvalidField | None:
    """None where it was read; anything but InvalidField fails the test."""
    try:
        parse()
    except InvalidField as error:
        return error
    return None


@given(st.one_of(TEXTS, st.binary(max_size=60)))
def test_any_yaml(data: str | bytes) -> None:
    error = refusal(lambda: parse_yaml(data, "f.yaml"))
    assert error is None or error.where.startswith("f.yaml")


@given(TEXTS)
def test_any_manifest(text: str) -> None:
    error = refusal(lambda: read_manifests("kind: Service\nname: a\n" + text, "f.yaml"))
    assert error is None or error.where.startswith("f.yaml")


@given(st.one_of(TEXTS, st.binary(max_size=60)))
def test_any_toml(data: str | bytes) -> None:
    error = refusal(lambda: parse_toml(data, "f.toml"))
    assert error is None or error.where.startswith("f.toml")
    if isinstance(data, str):
        key_lines(data)


VALUES = st.recursive(
    st.one_of(st.integers(-9, 9), st.booleans(), st.sampled_from(["x", "# [a]", "''", 'q"[{'])),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)


def as_toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[\n" + "".join(f"{as_toml(part)},  # ]\n" for part in value) + "]"
    if isinstance(value, str):
        return "'''\n" + value + "\n'''" if "''" not in value else '"' + value + '"'
    return str(value)


@given(st.lists(st.tuples(st.booleans(), VALUES), max_size=8))
def test_lines_of_toml_keys(entries: list[tuple[bool, object]]) -> None:
    text = ""
    table: tuple[str, ...] = ()
    expected: dict[tuple[str | int, ...], int] = {}
    for index, (begins_table, value) in enumerate(entries):
        if begins_table:
            table = (f"table-{index}",)
            text += f"[table-{index}]\n"
        expected[*table, f"key-{index}"] = text.count("\n") + 1
        text += f"key-{index} = {as_toml(value)} # tail = 1\n"
    tomllib.loads(text)
    found = key_lines(text)
    assert {path: found.get(path) for path in expected} == expected
