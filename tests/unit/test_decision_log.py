"""The decision log: whole lines in order, rotated, bounded, private; and a disk that refuses."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tango.adapters import decision_log
from tango.adapters.decision_log import DecisionLog, logged
from tango.adapters.master_settings import load_central, load_edge
from tango.adapters.worker_settings import load_worker
from tango.controllers.decisions import Decisions
from tango.daemons.decision_writer import DecisionWriter
from tango.model.decision import END, JOB_WAIT, REJECT, RETURN, ROUTE, Decision, line
from tango.model.errors import InvalidField
from tango.model.request import Outcome
from tango.model.settings import DecisionSettings, LoggedRequests
from tango.model.starts import Life

LIFE = Life("central", 7, 100.0, 1_700_000_000.5)
SERVER = '[server]\nlisten = "127.0.0.1:1"\ntoken_file = "t"\nstate_dir = "s"\n'


def records(count: int, first: int = 1) -> list[Decision]:
    return [(n, n / 10, JOB_WAIT, f"j{n}", "no room") for n in range(first, first + count)]


def opened(path: Path, max_bytes: int = 2**20, files: int = 3) -> DecisionLog:
    return DecisionLog(str(path), max_bytes=max_bytes, files=files, life=LIFE)


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(text) for text in path.read_text().splitlines() if text]


def test_lines_are_those_of_the_records_after_one_that_says_whose(tmp_path: Path) -> None:
    path = tmp_path / "decisions.jsonl"
    log = opened(path)
    log.add(records(3))
    log.add(records(2, first=4), lost=9)
    log.close()
    head, *others = read(path)
    assert head == {
        "v": 1, "kind": "log", "daemon": "central", "incarnation": 7, "now": 100.0,
        "wall": 1_700_000_000.5,
    }  # fmt: skip
    texts = path.read_text().splitlines()[1:]
    assert [text for text in texts if "lost" not in text] == [line(one) for one in records(5)]
    assert [one for one in others if one["kind"] == "lost"] == [
        {"v": 1, "kind": "lost", "records": 9}
    ]
    assert path.stat().st_mode & 0o777 == 0o600
    again = opened(path)
    again.close()
    assert [one["kind"] for one in read(path)].count("log") == 2, "appended, never cut"


def test_rotation_keeps_whole_lines_and_a_bounded_number_of_files(tmp_path: Path) -> None:
    path = tmp_path / "decisions.jsonl"
    log = opened(path, max_bytes=4096, files=3)
    for first in range(1, 400, 40):
        log.add(records(40, first))
    log.close()
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == [path.name, f"{path.name}.1", f"{path.name}.2"]
    numbers = []
    for file in (files[2], files[1], files[0]):
        assert file.stat().st_size <= 4096
        head, *found = read(file)
        assert head["kind"] == "log", "each file says whose it is"
        numbers += [one["n"] for one in found]
    assert numbers == list(range(numbers[0], 401)), "the latest, without a gap"


def test_one_file_only(tmp_path: Path) -> None:
    log = opened(tmp_path / "d", max_bytes=4096, files=1)
    log.add(records(400))
    log.close()
    (file,) = tmp_path.iterdir()
    assert file.stat().st_size <= 4096
    assert read(file)[-1]["n"] == 400


def test_what_waits_is_bounded_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decision_log, "MAX_WAITING", 10)
    log = opened(tmp_path / "d")
    log._thread._wake.clear()
    log.add(records(25))
    log.close()
    found = read(tmp_path / "d")[1:]
    assert [one["records"] for one in found if one["kind"] == "lost"] == [15]
    assert [one["n"] for one in found if one["kind"] != "lost"] == list(range(1, 11))


def test_a_disk_that_refuses_costs_records_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    path = folder / "d"
    log = opened(path, max_bytes=4096)
    path.unlink()
    folder.rmdir()
    # The file that is open has room for some; its successor cannot be made.
    log.add(records(200))
    end = time.monotonic() + 30
    while not log._failed:
        assert time.monotonic() < end
        time.sleep(0.01)
    folder.mkdir()
    log.add(records(1, first=201))
    log.close()
    found = read(path)
    assert found[0]["kind"] == "log"
    assert found[-1]["n"] == 201
    assert [one["records"] for one in found if one["kind"] == "lost"] == [200]


def test_a_file_that_cannot_be_written_is_said_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(InvalidField, match=r"decisions.log: .*/no/d cannot be written: No such"):
        opened(tmp_path / "no" / "d")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InvalidField, match="cannot be written"):
        opened(tmp_path / "link")


def test_a_daemon_hands_over_what_is_new_and_counts_what_was_overwritten(tmp_path: Path) -> None:
    decisions = Decisions(8)
    path = tmp_path / "d"
    writer = DecisionWriter(DecisionSettings(ring=8, log=str(path)), decisions, LIFE)
    for number in range(20):
        decisions.record(JOB_WAIT, 1.0, f"j{number}", "no room")
    writer.hand_over()
    decisions.record(JOB_WAIT, 2.0, "last", "no room")
    writer.hand_over()
    writer.hand_over()
    writer.close()
    found = read(path)[1:]
    assert [one["n"] for one in found if one["kind"] != "lost"] == list(range(13, 22))
    assert sum(one["records"] for one in found if one["kind"] == "lost") == 12


def test_which_requests_are_logged() -> None:
    of_requests = [
        (1, 0.0, ROUTE, "r1", *[None] * (len(ROUTE.fields) - 1)),
        (2, 0.0, END, "r1", "web", "a", Outcome.COMPLETED, "", 0.1, 0.2),
        (3, 0.0, END, "r2", "web", "a", Outcome.LATE, "", 0.3, 0.2),
        (4, 0.0, REJECT, "r3", "web", None, "full", None, 0.0),
        (5, 0.0, RETURN, "r4", "web", "a", "busy"),
        *records(1, first=6),
    ]
    for which, numbers in (
        (LoggedRequests.ALL, [1, 2, 3, 4, 5, 6]),
        (LoggedRequests.REJECTED, [3, 4, 5, 6]),
        (LoggedRequests.NONE, [6]),
    ):
        assert [record[0] for record in of_requests if logged(record, which)] == numbers


def test_settings(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    table = '[decisions]\nring = 100\nlog = "d.jsonl"\nlog_max = "1Mi"\nlog_files = 2\n'
    table += 'log_requests = "rejected"\n'
    log = str(tmp_path / "d.jsonl")
    found = DecisionSettings(100, log, 2**20, 2, LoggedRequests.REJECTED)
    path.write_text(SERVER + table)
    assert load_central(path).decisions == found
    path.write_text(SERVER + '[edge]\nname = "e"\n' + table)
    assert load_edge(path).decisions == found
    path.write_text(SERVER + '[worker]\nnode = "n"\nedge = "127.0.0.1:1"\n' + table)
    assert load_worker(path, uid=1000).decisions == found
    for wrong, text in (
        ("ring = 100000", "c.toml:6: decisions.ring: 100000 is out of range"),
        ("rings = 1", "c.toml:6: decisions.rings: is not a known key"),
        ('ring = 0\nlog = "d"', "c.toml:7: decisions.log: needs a ring to come from; set"),
        ('log_max = "1"', "decisions.log_max: 1 bytes is out of range"),
    ):
        path.write_text(f"{SERVER}[decisions]\n{wrong}\n")
        with pytest.raises(InvalidField, match=text):
            load_central(path)
