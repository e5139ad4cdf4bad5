"""Recordings: whole, private, bounded; and a reader that says where a file is wrong."""

from __future__ import annotations

import asyncio
import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from central_bench import SERVER
from recorded_worlds import Bug, Events, recorded

from tango.adapters import recording
from tango.adapters.clocks import ManualClock
from tango.adapters.master_settings import load_central, load_edge
from tango.adapters.recording import RecordingWriter
from tango.adapters.recording_reader import RecordingReader
from tango.adapters.worker_settings import load_worker
from tango.controllers.central.begin import begin
from tango.daemons.journal import journal, recording_to
from tango.daemons.shell import Shell
from tango.model.errors import InvalidField
from tango.model.events import BatchSolved, CentralEvent, EdgeDown, PersistFailed, Tick
from tango.model.plan import BatchPlan, Placement
from tango.model.settings import CentralSettings, DecisionSettings, RecordSettings
from tango.model.starts import CentralStart, Life

START = CentralStart(CentralSettings(SERVER), incarnation=5, seed=5)
LIFE = Life("central", 5, 100.0, 1_700_000_000.25)


def ticks(count: int, first: float = 100.0) -> Events:
    return [(first + number / 10, Tick()) for number in range(count)]


def writer(folder: Path, **bounds: Any) -> RecordingWriter:
    return RecordingWriter(RecordSettings(str(folder), **bounds), LIFE, START, "0.1")


def read(path: Path) -> tuple[Events, RecordingReader]:
    with RecordingReader(path) as source:
        return [(now, event) for _, now, event in source], source


def test_what_began_it_and_every_event(tmp_path: Path) -> None:
    folder = tmp_path / "made" / "for it"
    tape = writer(folder)
    events: Events = [*ticks(3), (101.5, EdgeDown(4, "cut\n\ud800")), (101.5, Tick())]
    tape.add(events[:2])
    tape.add(events[2:])
    tape.close()
    assert tape.path == folder / "central-5.jsonl"
    assert tape.path.stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700
    found, source = read(tape.path)
    assert found == events
    assert (source.start, source.life, source.version) == (START, LIFE, "0.1")
    assert (source.end, source.partial) == ("the daemon stopped", False)


def test_an_infinity_is_one_again(tmp_path: Path) -> None:
    score = float("-inf")
    event = BatchSolved(1, BatchPlan((Placement("j", 0, "e", "n", score),)), float("inf"), 2)
    tape = writer(tmp_path)
    tape.add([(1.0, event)])
    tape.close()
    ((_, found),) = read(tape.path)[0]
    assert repr(found) == repr(event), "and an int stays one"


def test_a_kill_costs_the_last_line_only(tmp_path: Path) -> None:
    path = recorded(tmp_path, START, ticks(50))
    data = path.read_bytes()
    whole = data[: data.rindex(b'{"end"')]
    for size in (len(whole), len(whole) - 1, len(whole) - 7):
        path.write_bytes(whole[:size])
        found, source = read(path)
        assert len(found) == (50 if size == len(whole) else 49)
        assert source.partial == (size != len(whole))
        assert "breaks off: its daemon was killed, or runs on" in source.end


def test_ends_where_it_is_full_and_says_so(tmp_path: Path) -> None:
    tape = writer(tmp_path, max_bytes=65_536)
    for first in range(100):
        tape.add(ticks(100, 100.0 + 100 * first))
    tape.close()
    assert tape.ended == "it is as long as record.max allows"
    assert tape.path.stat().st_size <= 65_536
    found, source = read(tape.path)
    assert source.end == tape.ended
    assert (
        found
        == [each for first in range(100) for each in ticks(100, 100.0 + 100 * first)][: len(found)]
    )
    assert len(found) > 2000


def test_ends_rather_than_having_a_gap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "MAX_WAITING", 10)
    tape = writer(tmp_path)
    tape.add(ticks(10))
    tape.add(ticks(11, 200.0))
    tape.add(ticks(1, 300.0))
    tape.close()
    found, source = read(tape.path)
    assert found == ticks(10)[: len(found)]
    assert "they come too fast to be written" in source.end


def test_a_disk_that_refuses_ends_it_with_a_whole_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tape = writer(tmp_path)
    write = os.write
    left = [20]

    def refusing(file: int, data: bytes) -> int:
        if file == tape._file and not data.startswith(b'{"end"'):
            if not left[0]:
                raise OSError(28, "No space left on device")
            data = data[: left[0]]
            left[0] -= len(data)
        return write(file, data)

    monkeypatch.setattr(os, "write", refusing)
    tape.add(ticks(5))
    tape.close()
    found, source = read(tape.path)
    assert found == []
    assert source.end == "cannot be written: No space left on device"


def test_what_cannot_be_written_as_it_is_ends_it(tmp_path: Path) -> None:
    tape = writer(tmp_path)
    tape.add([*ticks(2), (101.0, object()), *ticks(1, 102.0)])
    tape.close()
    found, source = read(tape.path)
    assert found == ticks(2)
    assert "object cannot be recorded" in source.end


def test_few_older_ones_of_the_daemon_are_kept(tmp_path: Path) -> None:
    for name in ("central-1.jsonl", "central-10.jsonl", "central-9.jsonl", "central-x.jsonl"):
        (tmp_path / name).touch()
    (tmp_path / "edge-central-2.jsonl").touch()
    settings = RecordSettings(str(tmp_path), files=2)
    RecordingWriter(settings, replace(LIFE, incarnation=11), START, "0").close()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "central-10.jsonl", "central-11.jsonl", "central-x.jsonl", "edge-central-2.jsonl",
    ]  # fmt: skip


def test_where_none_can_be_made_is_said_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InvalidField, match=r"record.dir: .* cannot be made: "):
        writer(tmp_path / "file")
    writer(tmp_path / "d").close()
    with pytest.raises(InvalidField, match="cannot be made: File exists"):
        writer(tmp_path / "d")


# ---- what is wrong with a file


@pytest.mark.parametrize(
    ("number", "text", "problem"),
    [
        (1, "", "FILE:1: recording: is not JSON"),
        (1, "[]", "FILE:1: recording: does not begin as a recording does; name a file"),
        (1, '{"v":1,"kind":"log"}', "FILE:1: recording: does not begin as a recording does"),
        (1, '{"recording":2}', "FILE:1: recording: is of format 2, this version reads 1"),
        (1, '{"recording":1}', "FILE:1: recording: its first line has no 'fields'"),
        (2, "nonsense", "FILE:2: recording: is not JSON"),
        (2, "[" * 100_000, "FILE:2: recording: is not JSON"),
        (3, "{}", "FILE:3: recording: is no event, and no end"),
        (3, '{"end":1}', "FILE:3: recording: is no event, and no end"),
        (3, '{"end":"x"}', "FILE:4: recording: follows the end"),
        (3, "[100.1]", "FILE:3: recording: is no event"),
        (3, '["now","Tick"]', "FILE:3: recording: 'now' is no time"),
        (3, '[NaN,"Tick"]', "FILE:3: recording: nan is no time"),
        (3, '[99.0,"Tick"]', "FILE:3: recording: time goes back, from 100.0 to 99.0"),
        (3, '[100.1,"Tock"]', "FILE:3: recording: a 'Tock' does not belong here"),
        (3, '[100.1,"UpstreamUp",1]', "FILE:3: recording: a 'UpstreamUp' does not belong here"),
        (3, '[100.1,"EdgeDown",1]', "FILE:3: recording: EdgeDown: not the 2 fields"),
    ],
)
def test_errors_name_file_and_line(tmp_path: Path, number: int, text: str, problem: str) -> None:
    path = recorded(tmp_path, START, ticks(3))
    lines = path.read_text().splitlines()
    lines[number - 1] = text
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(InvalidField, match=re.escape(problem.replace("FILE", str(path)))):
        read(path)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"start": ["CentralStart"]}, "start.CentralStart: not the . fields"),
        ({"start": ["Other"]}, "start: a 'Other' does not belong here"),
        ({"fields": []}, "fields: no table of types"),
        ({"incarnation": "5"}, "incarnation: '5' is not of type int"),
        ({"now": None}, "now: None is not of type float"),
    ],
)
def test_a_head_that_is_none(tmp_path: Path, change: dict[str, Any], problem: str) -> None:
    path = recorded(tmp_path, START, ticks(3))
    head, *rest = path.read_text().splitlines()
    path.write_text("\n".join([json.dumps(json.loads(head) | change), *rest]) + "\n")
    with pytest.raises(InvalidField, match=f":1: recording: {problem}"):
        read(path)


# ---- a daemon's own


async def test_a_daemon_records_from_its_first_event_to_its_last(tmp_path: Path) -> None:
    log = tmp_path / "decisions.jsonl"
    plain = CentralSettings(SERVER, decisions=DecisionSettings(log=str(log)))
    start = replace(START, settings=recording_to(plain, tmp_path / "r"))
    controller = begin(start)
    clock = ManualClock(50.0)
    shell: Shell[CentralEvent, Any] = Shell(controller, lambda _: None, clock)
    async with asyncio.TaskGroup() as group:
        async with journal(controller.decisions, shell, group, "central", start):
            shell.post(PersistFailed(1, "why"))
            clock.advance(1.0)
            shell.post(EdgeDown(1, "cut"))
        assert shell.recorded is None
        shell.post(Tick())
    found, source = read(tmp_path / "r" / "central-5.jsonl")
    assert found == [(50.0, PersistFailed(1, "why")), (51.0, EdgeDown(1, "cut"))]
    assert source.start == start
    head = json.loads(log.read_text().splitlines()[0])
    assert (head["now"], head["wall"]) == (source.life.now, source.life.wall), "the same moment"


async def test_the_event_at_which_a_controller_breaks_is_in_it(tmp_path: Path) -> None:
    start = replace(START, settings=recording_to(START.settings, tmp_path))
    controller = begin(start)
    shell: Shell[Any, Any] = Shell(controller, lambda _: None, ManualClock(50.0))
    bad = EdgeDown(1, "cut")

    async def life() -> None:
        async with (
            asyncio.TaskGroup() as group,
            journal(controller.decisions, shell, group, "central", start),
        ):
            shell._controller = Bug()  # type: ignore[assignment]
            shell.post(bad)

    with pytest.raises(ExceptionGroup):
        await life()
    assert read(tmp_path / "central-5.jsonl")[0] == [(50.0, bad)]


async def test_a_daemon_goes_on_where_its_recording_ends(tmp_path: Path) -> None:
    settings = replace(START.settings, record=RecordSettings(str(tmp_path), max_bytes=65_536))
    start = replace(START, settings=settings)
    controller = begin(start)
    shell: Shell[Any, Any] = Shell(controller, lambda _: None, ManualClock(50.0))
    async with (
        asyncio.TaskGroup() as group,
        journal(controller.decisions, shell, group, "central", start),
    ):
        for _ in range(8000):
            shell.post(Tick())
        async with asyncio.timeout(20):
            while shell.recorded is not None:
                await asyncio.sleep(0.01)
        shell.post(Tick())
    _, source = read(tmp_path / "central-5.jsonl")
    assert source.end == "it is as long as record.max allows"


async def test_nothing_is_written_unless_asked_for(tmp_path: Path) -> None:
    controller = begin(START)
    shell: Shell[Any, Any] = Shell(controller, lambda _: None, ManualClock())
    async with (
        asyncio.TaskGroup() as group,
        journal(controller.decisions, shell, group, "central", START),
    ):
        assert shell.recorded is None
        shell.post(Tick())
    assert not list(tmp_path.iterdir())


def test_settings(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    server = '[server]\nlisten = "127.0.0.1:1"\ntoken_file = "t"\nstate_dir = "s"\n'
    table = '[record]\ndir = "r"\nmax = "1Mi"\nfiles = 2\n'
    wanted = RecordSettings(str(tmp_path / "r"), 2**20, 2)
    path.write_text(server + table)
    assert load_central(path).record == wanted
    path.write_text(server + '[edge]\nname = "e"\n' + table)
    assert load_edge(path).record == wanted
    path.write_text(server + '[worker]\nnode = "n"\nedge = "127.0.0.1:1"\n' + table)
    assert load_worker(path, uid=1000).record == wanted
    path.write_text(server)
    assert load_central(path).record == RecordSettings()
    assert recording_to(load_central(path), tmp_path / "x").record.dir == str(tmp_path / "x")
    for wrong, text in (
        ("files = 1", "record.dir: is missing"),
        ('dir = "r"\nmax = "1Ki"', "record.max: 1024 bytes is out of range"),
        ('dir = "r"\nfiles = 0', "c.toml:7: record.files: 0 is out of range"),
        ('dir = "r"\nfile = 1', "c.toml:7: record.file: is not a known key; did you mean 'files'"),
    ):
        path.write_text(f"{server}[record]\n{wrong}\n")
        with pytest.raises(InvalidField, match=text):
            load_central(path)
