"""Reading YAML and TOML with places: types, lines, and every way in which a document is broken."""

from __future__ import annotations

import enum
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tango.adapters.documents import MAX_DOCUMENT_BYTES, Section, read_document
from tango.adapters.toml_documents import key_lines, load_toml, parse_toml
from tango.adapters.yaml_documents import MAX_DEPTH, parse_yaml
from tango.model.errors import InvalidField


class Colour(enum.Enum):
    RED = "red"
    GREEN = "green"


YAML = """\
text: hello
whole: 3
real: 0.5
yes_no: true
list: [a, 1, 0.50, "2", no]
env:
  A: x
  B: 1.0
cpu: 250m
memory: 64Mi
colour: green
deep:
  inner:
    key: 1
many:
  - name: one
  - name: two
"""


def one(text: str | bytes) -> Section:
    (section,) = parse_yaml(text, "f.yaml")
    return section


def refused(do: Callable[[], object]) -> InvalidField:
    with pytest.raises(InvalidField) as caught:
        do()
    return caught.value


def test_every_type() -> None:
    doc = one(YAML)
    assert doc.string("text") == "hello"
    assert doc.integer("whole") == 3
    assert doc.number("whole") == 3.0
    assert doc.number("real") == 0.5
    assert doc.boolean("yes_no") is True
    assert doc.strings("list") == ("a", "1", "0.50", "2", "no")
    assert doc.string_map("env") == (("A", "x"), ("B", "1.0"))
    assert doc.cpu("cpu") == 250
    assert doc.memory("memory") == 64 * 2**20
    assert doc.choice("colour", Colour) is Colour.GREEN
    assert doc.section("deep").section("inner").integer("key") == 1
    assert [part.string("name") for part in doc.sections("many")] == ["one", "two"]
    doc.finish()


def test_defaults_where_a_key_is_absent() -> None:
    doc = one("a: 1")
    assert doc.string("b", "x") == "x"
    assert doc.integer("c", 0) == 0
    assert doc.number("d", 1.5) == 1.5
    assert doc.boolean("e", False) is False
    assert doc.strings("f", ()) == ()
    assert doc.string_map("g") == ()
    assert doc.cpu("h", 5) == 5
    assert doc.memory("i", 7) == 7
    assert doc.choice("j", Colour, Colour.RED) is Colour.RED
    assert doc.section("k").string("l", "m") == "m"


@pytest.mark.parametrize(
    ("text", "read", "expected"),
    [
        ("a: 1", lambda d: d.string("a"), "f.yaml:1: a: is the number 1, not a text"),
        ("a: '1'", lambda d: d.integer("a"), "a: is the text '1', not a whole number"),
        ("a: true", lambda d: d.integer("a"), "a: is true, not a whole number"),
        ("a: 1.5", lambda d: d.integer("a"), "a: is the number 1.5, not a whole number"),
        ("a: 9", lambda d: d.integer("a", low=1, high=8), "9 is out of range; use 1 to 8"),
        ("a: [1]", lambda d: d.number("a"), "a: is a list, not a number"),
        ("a: 1e999", lambda d: d.number("a"), "out of range"),
        ("a: .nan", lambda d: d.number("a"), "a: is the text '.nan'"),
        ("a: 5", lambda d: d.number("a", low=6, high=7), "5 is out of range; use 6 to 7"),
        ("a: yes", lambda d: d.boolean("a"), "a: is the text 'yes', not true or false"),
        ("a: busybox", lambda d: d.strings("a"), 'not a list; write a list: ["busybox"]'),
        ("a: 1.50", lambda d: d.strings("a"), 'not a list; write a list: ["1.50"]'),
        ("a: {}", lambda d: d.strings("a"), 'not a list; write a list: ["one", "another"]'),
        (
            "argv: ls -l",
            lambda d: d.strings("argv"),
            'not a list; write a list: ["program", "argument"]',
        ),
        ("a:\n- b\n- [c]", lambda d: d.strings("a"), "f.yaml:3: a[1]: is a list, not a text"),
        ("a: [b, null]", lambda d: d.strings("a"), "a[1]: is empty, not a text"),
        ("a: [x]", lambda d: d.string_map("a"), "a: is a list, not a mapping"),
        ("a:\n  B: {}", lambda d: d.string_map("a"), "f.yaml:2: a.B: is a mapping, not a text"),
        ("a: 1.2.3", lambda d: d.cpu("a"), "f.yaml:1: a: '1.2.3' is not a CPU quantity"),
        ("a: true", lambda d: d.cpu("a"), "a: True is not a CPU quantity"),
        ("a: 0", lambda d: d.cpu("a"), "out of range"),
        ("a: 12 parsecs", lambda d: d.memory("a"), "is not a memory quantity"),
        ("a: -1", lambda d: d.memory("a"), "is not a memory quantity"),
        ("a: {}", lambda d: d.memory("a"), "a: is a mapping, not a memory quantity"),
        ("a: gren", lambda d: d.choice("a", Colour), "not one of red, green; did you mean 'green'"),
        ("a: [red]", lambda d: d.choice("a", Colour), "a: is a list, not one of red, green"),
        ("a: 1", lambda d: d.section("a"), "a: is the number 1, not a mapping"),
        ("a: {}", lambda d: d.sections("a"), "a: is a mapping, not a list"),
        ("a:\n- 1", lambda d: d.sections("a"), "f.yaml:2: a[0]: is the number 1, not a mapping"),
        ("a:\n", lambda d: d.string("a"), "a: has no value"),
        ("b: 1", lambda d: d.string("a"), "f.yaml:1: a: is missing"),
        ("x: 1\nnmae: b", lambda d: d.string("name"), "f.yaml:2: name: is missing; did you mean"),
    ],
)
def test_wrong_types(text: str, read: Callable[[Section], object], expected: str) -> None:
    doc = one(text)
    assert expected in str(refused(lambda: read(doc)))


def test_unknown_keys_are_refused_with_what_was_probably_meant() -> None:
    doc = one("replicas: 1\nhealth:\n  path: /\n  intervall: 5\n")
    doc.integer("replicas")
    health = doc.section("health")
    health.string("path")
    health.integer("interval", 1)
    error = refused(doc.finish)
    assert (error.field, error.where) == ("health.intervall", "f.yaml:4")
    assert error.fix == "did you mean 'interval'?"
    other = one("zzz: 1")
    other.string("name", "")
    assert refused(other.finish).fix == "known here: name"


def test_a_key_that_was_only_looked_for_is_told_too() -> None:
    """Readers open some sections only where they are there: a hint must not leave them out."""
    doc = one("zzz: 1")
    doc.string("name", "")
    assert "near" not in doc
    assert not doc.has("elsewhere")
    assert refused(doc.finish).fix == "known here: name, near"
    doc = one("naer: 1")
    assert "near" not in doc
    assert refused(doc.finish).fix == "did you mean 'near'?"
    doc = one("near: 1")
    assert "near" in doc
    assert refused(doc.finish).fix == "known here: ", "that it is there does not mean it was read"


def test_places_of_fields_that_are_known_by_their_path() -> None:
    doc = one(YAML)
    assert doc.where("deep.inner.key") == "f.yaml:14"
    assert doc.where("many[1].name") == "f.yaml:17"
    assert doc.where("many[7].name") == "f.yaml:15"
    assert doc.where("absent") == "f.yaml:1"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: b: c", "f.yaml:1:5: document: is not YAML: mapping values are not allowed here"),
        ("a: [1, 2", "is not YAML"),
        ("a:\n\t- b", "f.yaml:2:1: document: is not YAML: found character '\\t'"),
        ("a: 'x", "is not YAML"),
        ("a: *nobody", "found undefined alias"),
        ("just words", "f.yaml:1:1: document: is a single value, not a mapping"),
        ("- a\n- b", "is a list, not a mapping"),
        ("", "f.yaml: document: is empty"),
        ("# only a comment\n---\n", "is empty"),
        ("a: 1\nb: 2\na: 3", "f.yaml:3:1: a: is given twice, first in line 1"),
        ("d:\n  a: 1\n  a: 2", "f.yaml:3:3: d.a: is given twice"),
        ("a: !!python/object/apply:os.system [ls]", "has the tag"),
        ("a: !!int '3'", "has the tag"),
        ("? [a]\n: b", "has a key that is not a text"),
        ("b: &b {x: 1}\na:\n  <<: *b", "merge key"),
        ("'': 1", "has an empty key"),
        ("a: \x07", "holds the character U+0007"),
        (b"a: \xff", "f.yaml:1:4: document: is not UTF-8 text"),
        (b"ok: 1\n\xc3\x28: 1", "f.yaml:2:1: document: is not UTF-8 text"),
        (b"\xff\xfea\0:\0", "is not UTF-8 text"),
        ("a: " + "[" * 5000, f"is nested more than {MAX_DEPTH} deep"),
        ("a: &a [*a]", f"is nested more than {MAX_DEPTH} deep"),
        ("a: [" + "1," * 30_000 + "]", "holds more than 20000 values"),
        (b"#" * (MAX_DOCUMENT_BYTES + 1), "at most 1 MiB"),
        ("{", "is not YAML"),
        ("%YAML 9.1\n---\na: 1", "is not YAML"),
    ],
)
def test_broken_yaml(text: str | bytes, expected: str) -> None:
    assert expected in str(refused(lambda: parse_yaml(text, "f.yaml")))


def test_an_alias_bomb_ends_early() -> None:
    lines = ["l0: &l0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"l{i}: &l{i} [" + ", ".join([f"*l{i - 1}"] * 9) + "]" for i in range(1, 12)]
    began = time.monotonic()
    error = refused(lambda: parse_yaml("\n".join(lines), "f.yaml"))
    assert "once its aliases are expanded" in str(error)
    assert time.monotonic() - began < 2


def test_aliases_that_stay_small_work() -> None:
    doc = one("a: &a [x, y]\nb: *a")
    assert doc.strings("b") == ("x", "y")


def test_yaml_1_2_scalars() -> None:
    doc = one(
        "a: [0o17, 0x1F, 017, 1:30, 1_000, 2023-01-01, on, +3, 1e3, .5]\nb: 0x1F\nc: !!str 5\n"
        "d: " + "9" * 5000
    )
    assert doc.strings("a")[3:7] == ("1:30", "1_000", "2023-01-01", "on")
    assert doc.integer("b") == 31
    assert doc.string("c") == "5"
    assert doc.string("d") == "9" * 5000


def test_many_documents_and_a_byte_order_mark() -> None:
    sections = parse_yaml(b"\xef\xbb\xbfa: 1\n---\n---\na: 2\n", "f.yaml")
    assert [section.integer("a") for section in sections] == [1, 2]
    assert sections[1].where() == "f.yaml:4"


TOML = """\
# comment
top = 1
[server]
listen = "x" # [not.a.table]
text = \"\"\"
[fake]
key = 1
\"\"\"
list = [
  "a", # ] not the end
  "b",
]
after = 2
[worker.labels]
"odd key" = "v"
a.b = 3
[[task]]
name = "one"
[[task]]
name = "two"
[task.env]
X = "y"
"""


def test_lines_of_toml_keys() -> None:
    lines = key_lines(TOML)
    expected = {
        ("top",): 2,
        ("server",): 3,
        ("server", "text"): 5,
        ("server", "list"): 9,
        ("server", "after"): 13,
        ("worker", "labels"): 14,
        ("worker", "labels", "odd key"): 15,
        ("worker", "labels", "a", "b"): 16,
        ("task", 0, "name"): 18,
        ("task", 1, "name"): 20,
        ("task", 1, "env", "X"): 22,
    }
    assert {path: lines.get(path) for path in expected} == expected
    assert ("fake",) not in lines


def test_toml_errors_have_their_line() -> None:
    doc = parse_toml(TOML, "f.toml")
    error = refused(lambda: doc.section("server").string("after"))
    assert str(error).startswith("f.toml:13: server.after: is the number 2, not a text")
    error = refused(lambda: doc.sections("task")[1].integer("name"))
    assert error.where == "f.toml:20"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a = 1\nb\n", "f.toml:2:2: document: is not TOML: Expected '='"),
        ("a = 1\na = 2\n", "f.toml:2: a: is given twice, first in line 1; keep one"),
        (
            '[s]\n"x y" = [\n1]\nb = 2\n"x y" = [\n2,\n3]\n"\\q" = 1',
            "f.toml:5: s.x y: is given twice, first in line 2",
        ),
        ("[s]\na = 1\n\n[s]\nb = 2\n", "f.toml:4: s: is given twice, first in line 1"),
        (
            "[[t]]\na = 1\n[[t]]\na = 1\na = 2",
            "f.toml:5: t[1].a: is given twice, first in line 4",
        ),
        ("a = 1\na.b = 2\n", "f.toml:2:8: document: is not TOML: Cannot overwrite a value"),
        ("a = [1,\n2", "is not TOML"),
        ("a = " + "[" * 20_000, "nested too deeply"),
        ("a = " + "9" * 5000, "is not TOML"),
        (b"a = '\xff'", "f.toml:1:6: document: is not UTF-8 text"),
    ],
)
def test_broken_toml(text: str | bytes, expected: str) -> None:
    assert expected in str(refused(lambda: parse_toml(text, "f.toml")))


def test_toml_dates_and_nan_are_not_taken() -> None:
    doc = parse_toml("a = 2023-01-01\nb = nan\nc = inf\n", "f.toml")
    assert "a date or time" in str(refused(lambda: doc.string("a")))
    assert "out of range" in str(refused(lambda: doc.number("b")))
    assert "out of range" in str(refused(lambda: doc.number("c")))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert "No such file" in str(refused(lambda: load_toml(tmp_path / "none.toml")))
    assert "not a regular file" in str(refused(lambda: read_document(tmp_path)))
    os.mkfifo(tmp_path / "fifo")
    assert "not a regular file" in str(refused(lambda: read_document(tmp_path / "fifo")))
    big = tmp_path / "big.toml"
    big.write_bytes(b"#" * (MAX_DOCUMENT_BYTES + 1))
    assert "at most 1 MiB" in str(refused(lambda: read_document(big)))
