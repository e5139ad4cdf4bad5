"""A replay makes the recorded decisions, byte by byte; with a changed policy, others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from recorded_worlds import STORIES, Bug, Events, central_story, edge_story, recorded

from tango.adapters.policies import batch_policy, policy_names
from tango.adapters.recording_reader import RecordingReader
from tango.algorithms.batch.most_free import MostFree
from tango.algorithms.traffic.least_loaded import LeastLoaded
from tango.cli.main import tango
from tango.daemons import __main__ as daemons
from tango.model.decision import Decision, line
from tango.model.events import RouteSolved, SolveFailed, Tick, WorkerUp
from tango.model.plan import BatchPlan, BatchSnapshot, TrafficPlan, TrafficSnapshot
from tango.sim.policies import Policy
from tango.sim.replay import Replay, ReplayBroke, Replayed


class OtherTies(LeastLoaded):
    """As least-loaded, but of nodes with the same score the last by name is taken."""

    def route(self, snapshot: TrafficSnapshot) -> TrafficPlan:
        names = sorted(offer.node for offer in snapshot.offers)
        turned = dict(zip(names, reversed(names), strict=True)) | {"": ""}
        offers = tuple(replace(offer, node=turned[offer.node]) for offer in snapshot.offers)
        plan = super().route(replace(snapshot, offers=offers))
        return TrafficPlan(
            tuple(
                replace(
                    route,
                    node=turned[route.node],
                    runner_up=(turned[route.runner_up[0]], route.runner_up[1]),
                    rejected=tuple((turned[node], why) for node, why in route.rejected),
                )
                for route in plan.routes
            )
        )


class OtherNode(MostFree):
    """As most-free, but the names of two nodes are mixed up."""

    def place(self, snapshot: BatchSnapshot) -> BatchPlan:
        turned = {"n0": "n1", "n1": "n0", "": ""}
        plan = super().place(snapshot)
        placements = [replace(one, node=turned[one.node]) for one in plan.placements]
        return replace(plan, placements=tuple(placements))


class Broken(LeastLoaded):
    def route(self, snapshot: TrafficSnapshot) -> TrafficPlan:
        raise ZeroDivisionError("no")


def replayed(path: Path, policy: Policy | None = None) -> tuple[list[str], Replayed]:
    lines: list[str] = []

    def keep(records: Sequence[Decision]) -> None:
        lines.extend(line(record) for record in records)

    with RecordingReader(path) as source:
        return lines, Replay(source.start, keep, policy).run(source)


@pytest.mark.parametrize("kind", STORIES)
def test_the_same_decisions_come_out(kind: str, tmp_path: Path) -> None:
    begun, events, log = STORIES[kind]()
    lines, result = replayed(recorded(tmp_path, begun, events))
    assert lines == log
    assert len(log) > 5
    assert (result.events, result.decisions) == (len(events), len(log))
    assert (result.differing, result.first, result.missing) == (0, 0, {})
    assert (result.solves > 0) == (kind != "worker")


def test_a_changed_policy_makes_other_decisions(tmp_path: Path) -> None:
    begun, events, log = edge_story()
    path = recorded(tmp_path, begun, events)
    same, result = replayed(path, LeastLoaded())
    assert (same == log, result.differing) == (True, 0)
    lines, result = replayed(path, OtherTies())
    assert lines != log
    assert result.differing > 0
    first = path.read_text().splitlines()[result.first - 1]
    assert '"RouteSolved"' in first, "the line where the stories part"
    apart = next(at for at, (mine, theirs) in enumerate(zip(lines, log, strict=False))
                 if mine != theirs)  # fmt: skip
    assert '"kind":"route"' in log[apart]


def test_another_story_goes_on_where_writes_and_plans_are_answered(tmp_path: Path) -> None:
    begun, events, log = STORIES["central"]()
    path = recorded(tmp_path, begun, events)
    with RecordingReader(path) as source:
        lines: list[str] = []
        replay = Replay(source.start, lambda new: lines.extend(map(line, new)), OtherNode())
        result = replay.run(source)
    assert 0 < result.first < 20
    assert lines != log
    last = json.loads(lines[-1])
    assert last["at"] >= json.loads(log[0])["at"] + 1.0, "what waits for a backoff, too"
    assert sum('"kind":"job-place"' in one for one in lines) > 2
    assert (replay._asked, replay._writing) == ({}, {})


def test_a_policy_that_raises_is_another_answer(tmp_path: Path) -> None:
    begun, events, log = edge_story()
    lines, result = replayed(recorded(tmp_path, begun, events), Broken())
    assert lines != log
    assert result.first > 0
    assert not [one for one in lines if '"kind":"route"' in one]


def test_an_answer_that_nobody_asked_for_is_where_the_stories_part(tmp_path: Path) -> None:
    begun, events, _ = edge_story()
    index = next(at for at, (_, event) in enumerate(events) if isinstance(event, RouteSolved))
    now, event = events[index]
    assert isinstance(event, RouteSolved)
    events[index] = now, replace(event, solve_id=event.solve_id + 1000)
    path = recorded(tmp_path, begun, events)
    _, result = replayed(path)
    assert (result.first, result.differing) != (0, 0)
    assert result.first == index + 2


def test_a_recorded_failure_of_the_solver_is_one_again(tmp_path: Path) -> None:
    begun, events, _ = edge_story()
    solves = [at for at, (_, event) in enumerate(events) if isinstance(event, RouteSolved)]
    now, event = events[solves[-1]]
    assert isinstance(event, RouteSolved)
    failed: Events = [*events[: solves[-1]], (now, SolveFailed(event.solve_id, "helper gone"))]
    _, result = replayed(recorded(tmp_path, begun, failed))
    assert (result.solves, result.first) == (len(solves) - 1, 0)


def test_a_policy_that_is_not_installed_here_is_taken_by_its_word(tmp_path: Path) -> None:
    begun, events, log = edge_story()
    named = [
        (now, replace(event, policy="of-ours") if isinstance(event, RouteSolved) else event)
        for now, event in events
    ]
    lines, result = replayed(recorded(tmp_path, begun, named))
    assert [one.replace("of-ours", "least-loaded") for one in lines] == log
    assert list(result.missing) == ["of-ours"]
    assert (result.solves, result.first) == (0, 0)


def test_a_bug_comes_again_with_its_line(tmp_path: Path) -> None:
    begun, events, _ = edge_story()
    bad = [*events[:10], (events[9][0], WorkerUp(1, None, None)), *events[10:]]  # type: ignore[arg-type]
    path = recorded(tmp_path, begun, bad)
    assert '{"end": "WorkerUp cannot be recorded' in path.read_text(), "it ends the recording"
    broken = recorded(tmp_path / "b", begun, [*events[:10], (events[9][0], Tick())])
    with RecordingReader(broken) as source:
        replay = Replay(source.start, lambda _: None, None)
        replay._controller = Bug()  # type: ignore[assignment]
        with pytest.raises(ReplayBroke, match="raised at a WorkerUp: ZeroDivisionError") as raised:
            replay.run(source)
    assert raised.value.line == 2


def test_a_solver_of_its_own_is_asked_again(tmp_path: Path) -> None:
    pytest.importorskip("ortools", reason="dss-lc needs the extra `solver`")
    begun, events, log = edge_story("dss-lc")
    lines, result = replayed(recorded(tmp_path, begun, events))
    assert lines == log
    assert (result.solves > 0, result.differing) == (True, 0)


@pytest.mark.parametrize("policy", policy_names("tango.batch"))
def test_every_batch_policy_is_asked_again(policy: str, tmp_path: Path) -> None:
    if policy == "profile":
        pytest.importorskip("numpy", reason="profiles need the extra `solver`")
    begun, events, log = central_story(policy)
    path = recorded(tmp_path, begun, events)
    for given in (None, batch_policy(policy)):
        lines, result = replayed(path, given)
        assert lines == log
        assert (result.solves > 0, result.differing) == (True, 0)


# ---- the command


@pytest.mark.parametrize("kind", ["central", "edge", "worker"])
def test_a_daemon_is_told_where_to_record(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By an option before its name: `tango down` finds daemons by what stands after that."""
    told: list[list[str]] = []

    def execv(program: str, argv: list[str]) -> None:
        told.append(argv)
        raise SystemExit(0)

    monkeypatch.setattr(os, "execv", execv)
    for option in ([], ["--record", "out"]):
        CliRunner().invoke(tango, [kind, *option, "-c", "no.toml"])
        assert told[-1][-3 - len(option) - 1 :] == ["tango.daemons", *option, kind, "-c", "no.toml"]
        # The daemon's own entry takes it so: it gets as far as reading the file.
        assert daemons.main(told[-1][told[-1].index("tango.daemons") + 1 :]) == 1
    assert daemons.main(["--record", kind, "-c", "no.toml"]) == 2


def run(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(tango, ["simulate", *words], standalone_mode=False)
    error = f" {done.exception}" if done.exception else ""
    return int(bool(done.exception)) or int(done.return_value or 0), done.output + error


def test_the_command_writes_the_log_that_the_daemon_would_have(tmp_path: Path) -> None:
    begun, events, log = edge_story()
    path = recorded(tmp_path, begun, events)
    out = tmp_path / "log.jsonl"
    out.write_text("what was there is replaced\n")
    status, text = run("--replay", str(path), "--log", str(out))
    assert status == 0, text
    head, *lines = out.read_text().splitlines()
    assert lines == log
    assert f'"incarnation":7,"now":{events[0][0]},"wall":1700000000.5' in head
    assert "plans made again, all as recorded" in text
    assert "the daemon stopped" in text
    status, text = run("--replay", str(path), "--log", str(out), "--policy", "nearest")
    assert status == 0
    assert f"the first at {path}:" in text
    assert out.read_text().splitlines()[1:] != log


def test_whatever_the_hash_seed(tmp_path: Path) -> None:
    begun, events, log = edge_story()
    path = recorded(tmp_path, begun, events)
    for seed in ("1", "2"):
        out = tmp_path / f"log.{seed}"
        subprocess.run(
            [sys.executable, "-m", "tango.cli.main", "simulate", "--replay", str(path),
             "--log", str(out)],
            env={"PYTHONHASHSEED": seed}, check=True, capture_output=True, timeout=60,
        )  # fmt: skip
        assert out.read_text().splitlines()[1:] == log


def test_what_cannot_be_replayed_is_said(tmp_path: Path) -> None:
    begun, events, _ = STORIES["worker"]()
    path = recorded(tmp_path, begun, events)
    _, text = run("--replay", str(path), "--policy", "nearest")
    assert "a worker asks none" in text
    _, text = run("--replay", str(tmp_path / "none"))
    assert "cannot be read: No such file" in text
    edge = recorded(tmp_path / "e", *edge_story()[:2])
    _, text = run("--replay", str(edge), "--policy", "nearby")
    assert "no policy is named 'nearby'" in text
    _, text = run("--replay", str(edge), "--log", str(tmp_path / "no" / "log"))
    assert "--log: " in text
    assert "cannot be written: No such file" in text
