"""What the central master says to `explain`: placed, waiting, refused, moved, ended jobs; nodes."""

from __future__ import annotations

import pytest
from central_bench import MIB, Bench, ended, node, running, spec

from tango.model.cluster import NodeReport, SideUsage
from tango.model.decision import facts
from tango.model.errors import NotFound
from tango.model.explanation import Finding, Subject


def explained(bench: Bench, name: str, *subjects: Subject) -> Finding:
    (found,) = bench.central.explain(name, subjects or tuple(Subject), 20, bench.now)
    return found


def kinds(found: Finding) -> list[str]:
    return [record[2].kind for record in found.records]


def test_a_placed_job_says_why_there() -> None:
    bench = Bench()
    bench.edge_up(node("big", cpu=4000), node("mid", cpu=2000), node("slim", memory=32 * MIB))
    bench.submit(job=spec(cpu=500, memory=64 * MIB, retries=2))
    bench.status(running("j1.0.1", bench.wall))
    found = explained(bench, "j1")
    assert found.summary == (
        "Job j1 is running. Task t0 (500m CPU, 64.0 MiB) is running on big of e1, attempt 1, 0 of "
        "2 retries used."
    )
    (record,) = found.records
    place = facts(record)
    assert (place["policy"], place["node"], place["candidates"]) == ("most-free", "big", 3)
    assert place["placement"]["runner_up"][0] == "mid"
    assert place["offer"]["cpu_millis"] == 4000
    assert found.missing == ()


def test_freer_nodes_that_are_too_small_are_rejected_candidates() -> None:
    bench = Bench()
    # By its scarcer resource b is the freer one, but it has not the CPU.
    bench.edge_up(node("a", cpu=2000, memory=100 * MIB), node("b", cpu=1000, memory=1024 * MIB))
    bench.submit(job=spec(cpu=1500, memory=64 * MIB))
    (record,) = explained(bench, "j1").records
    assert facts(record)["placement"]["rejected"] == [["b", "not enough CPU"]]


def test_a_waiting_job_says_for_what_and_once() -> None:
    bench = Bench()
    bench.submit(job=spec(cpu=1500))
    assert explained(bench, "j1").summary.startswith(
        "Job j1 is pending: waiting for room: no node is ready. Task t0 (1500m CPU, 64.0 MiB)"
    )
    bench.edge_up(node(cpu=2000, be_held_millis=1000))
    for _ in range(5):
        bench.nodes(node(cpu=2000, be_held_millis=1000 + _))
        bench.advance(1.0)
    found = explained(bench, "j1")
    assert "no node has 1500m CPU and 64.0 MiB free" in found.summary
    assert kinds(found) == ["job-wait"], "told once, however often it was looked at"
    bench.submit("never", spec(cpu=9000))
    bench.advance(1.0)
    assert "NeverFits" in facts(explained(bench, "never").records[0])["why"]


def test_attempts_and_their_ends() -> None:
    bench = Bench()
    bench.edge_up(node())
    bench.submit(job=spec(retries=1, backoff_s=2.0))
    bench.refuse("j1.0.1", "no room after all")
    bench.advance(1.0)
    bench.status(ended("j1.0.2", 3))
    found = explained(bench, "j1")
    assert kinds(found) == ["job-place", "job-refused", "job-place", "job-end"]
    assert facts(found.records[1])["why"] == "no room after all"
    end = facts(found.records[3])
    assert (end["why"], end["task_state"], end["job_state"]) == (
        "exit code 3",
        "pending",
        "pending",
    )
    assert end["retry_s"] == pytest.approx(2.0)
    assert "1 of 1 retries used; the last attempt: exit code 3" in found.summary
    bench.advance(3.0)
    bench.cancel()
    bench.status(ended("j1.0.3", None, signal=15))
    assert kinds(explained(bench, "j1"))[-3:] == ["job-place", "job-cancel", "job-end"]
    assert explained(bench, "j1").summary.startswith("Job j1 is cancelled")


def test_drained_and_lost_nodes_move_their_jobs() -> None:
    bench = Bench()
    bench.edge_up(node("n1"), node("n2"))
    bench.submit("j1")
    (first,) = bench.starts()
    at = facts(explained(bench, "j1").records[0])["node"]
    other = "n2" if at == "n1" else "n1"
    bench.status(running(first))
    bench.nodes(node(at, draining=True, cordoned=True), node(other))
    assert kinds(explained(bench, "j1")) == ["job-place", "job-evict"]
    bench.status(ended(first, None, signal=15))
    bench.advance(1.0)
    assert kinds(explained(bench, "j1")) == ["job-place", "job-evict", "job-end", "job-place"]
    bench.status(running(bench.starts()[-1]))
    bench.nodes(node(at), node(other, ready=False, dead=True))
    bench.advance(10.0)
    found = explained(bench, "j1")
    assert kinds(found)[-2:] == ["job-give-up", "job-place"]
    assert f"moved: node {other} lost" in found.summary


def test_a_node_of_two_sites() -> None:
    bench = Bench()
    bench.edge_up(node("n1", cpu=1000))
    bench.edge_up(node("n1", cpu=3000), session=2, edge="e2")
    bench.submit()
    bench.status(running("j1.0.1"), session=2)
    here, there = bench.central.explain("n1", [Subject.NODE], 20, bench.now)
    assert here.summary == (
        "Node n1 of e1 offers 1 CPU and 1.0 GiB to jobs; 0 attempts are assigned to it."
    )
    assert kinds(here) == []
    assert "1 attempts are assigned to it" in there.summary
    assert kinds(there) == ["job-place"]


def test_after_a_restart_and_for_what_is_unknown() -> None:
    bench = Bench()
    bench.edge_up(node())
    bench.submit()
    bench.status(ended("j1.0.1"))
    again = Bench(bench.disk)
    found = explained(again, "j1")
    assert found.summary.startswith("Job j1 is succeeded. Task t0")
    assert found.records == ()
    assert found.missing == (
        "no decision on it is kept: this master has restarted since, or they were overwritten",
    )
    for subjects, text in (
        (tuple(Subject), "central: no record of job 'j9' since this daemon started"),
        ((Subject.NODE,), "no record of node 'j9'"),
        ((Subject.SERVICE,), "a service is explained by its edge"),
    ):
        with pytest.raises(NotFound, match=text):
            again.central.explain("j9", subjects, 20, again.now)


def test_a_starving_task_that_is_moved_says_why() -> None:
    bench = Bench()
    usage = SideUsage()
    starved = NodeReport("n1", 0.0, usage, usage, be_satisfaction=0.01)
    bench.edge_up(node("n1", cpu=4000), node("n2"))
    bench.submit()
    (first,) = bench.starts()
    assert facts(explained(bench, "j1").records[0])["node"] == "n1"
    bench.status(running(first, bench.wall))
    for _ in range(32):
        bench.nodes(node("n1", cpu=4000, report=starved), node("n2"))
        bench.advance(1.0)
    found = explained(bench, "j1")
    assert kinds(found)[:2] == ["job-place", "job-evict"]
    assert "1% of the CPU that they ask for" in facts(found.records[1])["why"]
