"""A live cluster with load and two crashes, recorded; each daemon's decisions made again.

What a daemon that was stopped wrote and what its replay writes are the same bytes. Of one that was
killed, both files lack the last moments, not always the same ones: one is the beginning of the
other.
"""

from __future__ import annotations

import asyncio
import importlib.util
import itertools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from cluster_at_work import burner, job, running, service, tango, until

from tango.adapters.decision_log import log_line
from tango.adapters.recording_reader import RecordingReader
from tango.algorithms.traffic.greedy import Field
from tango.algorithms.traffic.least_loaded import LeastLoaded
from tango.algorithms.traffic.residual import Residual
from tango.model.decision import Decision
from tango.model.errors import TangoError
from tango.model.plan import Demand
from tango.model.service import QuotaMode
from tango.sdk.client import Client
from tango.sim.replay import Replay

pytestmark = pytest.mark.e2e

SOLVER = importlib.util.find_spec("ortools") is not None
KILLED = ("node-a1", "site-b")
# Decisions of a killed daemon that one of its two files may lack: 50 ms of them and what a thread
# on a busy machine has not written yet.
LACKING = 2000


@dataclass(frozen=True)
class Life:
    """One life of one daemon: its recording, and its part of the decision log."""

    daemon: str
    recording: Path
    log: bytes
    killed: bool


class Mutated(LeastLoaded):
    """A hair's breadth from least-loaded."""

    def score(self, node: Residual, demand: Demand, field: Field) -> float:
        return super().score(node, demand, field) * (1 + 2**-50)


async def load(client: Client, seconds: float) -> int:
    """Calls at both sites, as fast as 16 callers make them; those that were answered in time."""
    end = asyncio.get_running_loop().time() + seconds
    turns = itertools.count()
    completed = 0

    async def caller() -> None:
        nonlocal completed
        while asyncio.get_running_loop().time() < end:
            number = next(turns)
            site = ("site-a", "site-b")[number % 2]
            name = ("hello", "busy")[number % 4 // 2]
            try:
                reply = await client.call(name, path="/?ms=2", body=b"b" * 100, site=site)
                completed += reply.http_status == 200
            except TangoError:
                await asyncio.sleep(0.05)

    await asyncio.gather(*(caller() for _ in range(16)))
    return completed


async def lived(state: Path, record: Path) -> None:
    with running(state, workers_per_site=2, record=record) as cluster:
        async with Client(state) as client:
            await client.apply(service("hello", replicas=2, concurrency=2), wait_s=30)
            busy = burner("busy", replicas=2, idempotent=True, quota=QuotaMode.FOLLOW)
            await client.apply(busy, wait_s=30)
            if SOLVER:
                await client.traffic_policy("site-b", switch_to="dss-lc")
            jobs = [await client.submit(job("sleep", "0.2", name=f"j{n}")) for n in range(6)]
            calls = asyncio.create_task(load(client, 6.0))
            await asyncio.sleep(1.5)
            for name in KILLED:
                await asyncio.to_thread(cluster.kill, name)
                await asyncio.sleep(0.3)
                cluster.start_again(name)
                await asyncio.sleep(1.0)
            assert await calls > 100
            await until(lambda: not cluster.dead(), "all daemons to live")
            for each in jobs:
                await client.wait(each.job_id)
            await load(client, 1.0)


@pytest.fixture(scope="module")
def lives(tmp_path_factory: pytest.TempPathFactory) -> list[Life]:
    folder = tmp_path_factory.mktemp("replay")
    record = folder / "record"
    asyncio.run(lived(folder / "state", record))
    return lives_in(record)


def lives_in(record: Path) -> list[Life]:
    found = []
    for log in sorted(record.glob("*.decisions.jsonl")):
        daemon = log.name.removesuffix(".decisions.jsonl")
        of_daemon = re.compile(re.escape(daemon) + r"-\d+\.jsonl")
        recordings = sorted(path for path in record.iterdir() if of_daemon.fullmatch(path.name))
        parts = re.split(rb'(?m)^(?=\{"v":1,"kind":"log")', log.read_bytes())[1:]
        assert len(parts) == len(recordings), "a recording and a head of the log for each life"
        for part, recording in zip(parts, recordings, strict=True):
            last = part is parts[-1]
            found.append(Life(daemon, recording, part if last else part[:-1], killed=not last))
    return found


def replayed(life: Life, folder: Path, *options: str) -> tuple[bytes, str]:
    out = folder / life.recording.name
    done = tango("simulate", "--replay", str(life.recording), "--log", str(out), *options)
    assert done.returncode == 0, done.stderr
    return out.read_bytes(), done.stdout


def test_every_daemon_has_been_recorded(lives: list[Life]) -> None:
    names = [life.daemon for life in lives]
    assert sorted(set(names)) == [
        "central", "edge-site-a", "edge-site-b", "worker-a1", "worker-a2", "worker-b1", "worker-b2",
    ]  # fmt: skip
    assert sorted(life.daemon for life in lives if life.killed) == ["edge-site-b", "worker-a1"]
    for life in lives:
        assert life.recording.stat().st_mode & 0o777 == 0o600
        head = json.loads(life.log.splitlines()[0])
        assert life.recording.name.endswith(f"-{head['incarnation']}.jsonl")


def test_the_same_decisions_byte_by_byte(lives: list[Life], tmp_path: Path) -> None:
    for life in lives:
        log, said = replayed(life, tmp_path)
        assert "are others than recorded" not in said, said
        if not life.killed:
            assert log == life.log, life.recording
            assert "end of the recording: the daemon stopped" in said
            continue
        assert "it breaks off: its daemon was killed" in said
        # A line that the kill cut short is none.
        live = life.log[: life.log.rindex(b"\n") + 1]
        shorter, longer = sorted((live, log), key=len)
        assert longer.startswith(shorter), life.recording
        assert shorter.count(b"\n") >= 2
        assert longer.count(b"\n") - shorter.count(b"\n") < LACKING


def test_much_was_decided(lives: list[Life]) -> None:
    """So that the comparison means something."""
    text = b"".join(life.log for life in lives)
    kinds = {kind.decode() for kind in re.findall(rb'"kind":"([a-z-]+)"', text)}
    assert kinds >= {
        "route", "end", "replica-place", "attempt-admit", "attempt-start", "attempt-end",
        "job-place", "job-end", "node-state",
    }  # fmt: skip
    assert text.count(b'"kind":"route"') > 200
    assert b'"policy":"least-loaded"' in text
    assert (b'"policy":"dss-lc"' in text) == SOLVER, "switched while it ran"


def test_a_mutated_policy_makes_them_differ(lives: list[Life], tmp_path: Path) -> None:
    (life,) = [life for life in lives if life.daemon == "edge-site-a"]
    lines: list[bytes] = []

    def keep(records: Sequence[Decision]) -> None:
        lines.extend(log_line(record) for record in records)

    with RecordingReader(life.recording) as source:
        result = Replay(source.start, keep, Mutated()).run(source)
    assert result.differing > 0
    assert b"".join(lines) != life.log[life.log.index(b"\n") + 1 :]
    log, said = replayed(life, tmp_path, "--policy", "round-robin")
    assert "are others than recorded" in said
    assert log != life.log
    log, said = replayed(life, tmp_path, "--policy", "least-loaded")
    assert log == life.log


def test_no_body_path_or_key_is_in_a_recording(lives: list[Life]) -> None:
    for life in lives:
        data = life.recording.read_bytes()
        assert b"bbbbbbbbbb" not in data
        assert b"?ms=2" not in data
        assert not re.search(rb'"[0-9a-f]{32}"', data), "a node's key has 32 hex digits"
