"""The supervisor's records on disk: whole or absent, acknowledged keys bounded."""

from __future__ import annotations

import json

from tango.supervisor.store import Acknowledged, Store


def test_incarnations_grow_even_when_the_clock_does_not(tmp_path):
    store = Store(str(tmp_path))
    first = store.next_incarnation()
    assert store.next_incarnation() > first
    (tmp_path / "incarnation").write_text(str(1 << 50))
    assert store.next_incarnation() == (1 << 50) + 1
    (tmp_path / "incarnation").write_text("rubbish")
    assert first < store.next_incarnation() < 1 << 50


def test_the_last_acknowledged_keys_are_remembered_and_the_file_is_bounded(tmp_path):
    acked = Acknowledged(str(tmp_path), limit=10)
    for number in range(57):
        acked.add(f"k-{number}")
        assert len((tmp_path / "acked").read_text().splitlines()) <= 20
    for found in (acked, Acknowledged(str(tmp_path), limit=10)):
        assert "k-46" not in found
        assert all(f"k-{number}" in found for number in range(47, 57))


def test_a_key_acknowledged_again_counts_as_new(tmp_path):
    acked = Acknowledged(str(tmp_path), limit=2)
    for key in ("a", "b", "a", "c"):
        acked.add(key)
    assert "a" in acked
    assert "b" not in acked


def test_a_torn_last_line_is_no_key(tmp_path):
    (tmp_path / "acked").write_bytes(b"whole\nto")
    acked = Acknowledged(str(tmp_path))
    assert "whole" in acked
    assert "to" not in acked
    acked.add("next")
    assert (tmp_path / "acked").read_bytes() == b"whole\nnext\n"


def test_a_record_is_replaced_whole_and_nothing_else_is_left(tmp_path):
    store = Store(str(tmp_path))
    for pid in (1, 2):
        store.write_run({"key": "a.b-1", "pid": pid})
    (found,) = (tmp_path / "runs").iterdir()
    assert json.loads(found.read_bytes()) == {"key": "a.b-1", "pid": 2}
    assert found.stat().st_mode & 0o777 == 0o600
    assert store.load("runs") == {"a.b-1": None}  # not enough of a record to adopt
    store.forget_run("a.b-1")
    store.forget_run("a.b-1")
    assert store.load("runs") == {}
