"""What breaks comes back; nothing is lost twice, nothing runs twice, and books agree throughout."""

from __future__ import annotations

import io
import json
from collections import Counter
from dataclasses import replace

import pytest
from small import GIB, jobs, load, scenario, service, site

from tango.sim.outcome import Outcome
from tango.sim.run import simulate
from tango.sim.scenario import FailureKind, FailureRate, Policies, Scenario, ScheduledFailure
from tango.sim.topology import Topology


def logged(one: Scenario) -> tuple[Outcome, list[dict[str, object]]]:
    text = io.StringIO()
    outcome = simulate(one, log=text, check=True)
    return outcome, [json.loads(line) for line in text.getvalue().splitlines()]


def starts(lines: list[dict[str, object]]) -> Counter[object]:
    return Counter(line["attempt"] for line in lines if line["kind"] == "attempt-start")


def failing(*failures: ScheduledFailure | FailureRate, **fields: object) -> Scenario:
    return scenario(
        failures=failures,
        jobs=(jobs(1.0, work_cpu_s=3.0, retries=3, cpu_millis=300),),
        **{"services": (service(idempotent=True),), **fields},
    )


def test_a_node_that_is_off_is_done_without_and_taken_in_again() -> None:
    outcome, lines = logged(failing(ScheduledFailure(5.0, FailureKind.NODE, "a1", repair_s=5.0)))
    requests = outcome.report.requests
    assert requests.completed > 0.97 * requests.sent
    states = [(line["node"], line["state"]) for line in lines if line["kind"] == "node-state"]
    assert ("a1", "dead") in states
    assert states[-1] == ("a1", "up")
    assert max(starts(lines).values()) == 1, "an attempt ran twice"
    assert outcome.report.jobs.succeeded >= 12
    assert outcome.report.jobs.failed == 0
    # Its replicas have moved, and tasks come to it again.
    mine = [line for line in lines if line["daemon"] == "worker a1"]
    again = [line["at"] for line in mine if line["kind"] == "attempt-start"]
    assert [at for at in again if at > 15.0]  # type: ignore[operator]
    moved = [line for line in lines if line["kind"] == "replica-place" and line["node"] == "a2"]
    assert [line for line in moved if line["at"] > 10.0]  # type: ignore[operator]


def test_a_worker_that_is_killed_adopts_what_runs() -> None:
    outcome, lines = logged(failing(ScheduledFailure(5.0, FailureKind.WORKER, "a1", repair_s=0.5)))
    requests = outcome.report.requests
    assert requests.completed > 0.97 * requests.sent
    assert max(starts(lines).values()) == 1
    ends = Counter(line["attempt"] for line in lines if line["kind"] == "attempt-end")
    assert max(ends.values()) == 1
    # Tasks went on while nobody watched: none was given up.
    assert not [line for line in lines if line["kind"] == "job-give-up"]


def test_an_edge_that_is_killed_comes_back_with_its_services() -> None:
    outcome, lines = logged(failing(ScheduledFailure(5.0, FailureKind.EDGE, "a", repair_s=2.0)))
    requests = outcome.report.requests
    # Nobody listens for two seconds of twenty.
    assert requests.failed == pytest.approx(200, rel=0.35)
    assert requests.completed + requests.late + requests.rejected == requests.sent - requests.failed
    assert requests.completed > 0.85 * requests.sent
    assert max(starts(lines).values()) == 1
    assert outcome.report.jobs.failed == 0
    assert outcome.report.jobs.succeeded >= 14


def test_services_go_on_without_the_central_master_and_jobs_after_it() -> None:
    outcome, lines = logged(failing(ScheduledFailure(5.0, FailureKind.CENTRAL, repair_s=5.0)))
    requests = outcome.report.requests
    assert requests.completed == requests.sent
    assert max(starts(lines).values()) == 1
    placed = [line["at"] for line in lines if line["kind"] == "job-place"]
    assert not [at for at in placed if 10.0 < at < 15.0]  # type: ignore[operator]
    assert outcome.report.jobs.submitted == 20
    # Some ended while it was away; those submitted meanwhile come all at once.
    assert outcome.report.jobs.succeeded >= 8
    assert [at for at in placed if 15.0 < at < 18.0]  # type: ignore[operator]


def two_sites(*failures: ScheduledFailure, delays: float = 0.0) -> Scenario:
    return scenario(
        topology=Topology((site("a", 1, cpu=1000), site("b", 2)), 1),
        services=(service(cpu_s=0.02, deadline_s=0.1),),
        loads=(load(100.0, sites=("a",)),),
        policies=Policies("least-loaded"),
        failures=failures,
    )


def test_a_partition_of_two_sites_ends_forwarding_until_it_is_mended() -> None:
    whole, _ = logged(two_sites())
    outcome, lines = logged(two_sites(ScheduledFailure(5.0, FailureKind.LINK, "a", "b", 5.0)))
    forwards = [line["at"] for line in lines if line["kind"] == "forward"]
    assert [at for at in forwards if at < 10.0]  # type: ignore[operator]
    # Offers are no older than a second; what was under way when it broke is all there is.
    assert not [at for at in forwards if 11.5 < at < 15.0]  # type: ignore[operator]
    assert [at for at in forwards if at > 17.0]  # type: ignore[operator]
    assert outcome.report.requests.completed < whole.report.requests.completed
    assert outcome.report.requests.sent == whole.report.requests.sent


def test_a_site_that_is_off_takes_its_users_with_it_and_no_others() -> None:
    off = two_sites(ScheduledFailure(5.0, FailureKind.SITE, "b", repair_s=5.0))
    off = replace(off, loads=(*off.loads, load(20.0, sites=("b",))))
    outcome, lines = logged(off)
    requests = outcome.report.requests
    assert requests.failed == pytest.approx(100, rel=0.6)
    ends = Counter(
        line["request"] for line in lines if line["kind"] == "end" and line["daemon"] == "edge a"
    )
    assert max(ends.values()) == 1


def test_a_link_to_a_node_that_is_cut_for_a_moment_delays_and_loses_nothing() -> None:
    short, _ = logged(failing(ScheduledFailure(5.0, FailureKind.LINK, "a", "a1", repair_s=0.3)))
    requests = short.report.requests
    assert requests.failed == 0
    assert requests.completed > 0.95 * requests.sent
    long, lines = logged(failing(ScheduledFailure(5.0, FailureKind.LINK, "a", "a1", repair_s=6.0)))
    assert long.report.requests.completed > 0.9 * long.report.requests.sent
    assert max(starts(lines).values()) == 1


def test_failures_at_a_rate_come_again_and_again() -> None:
    one = failing(
        FailureRate(FailureKind.NODE, mtbf_s=8.0, mttr_s=2.0),
        FailureRate(FailureKind.WORKER, mtbf_s=6.0, mttr_s=0.5),
        FailureRate(FailureKind.EDGE, mtbf_s=10.0, mttr_s=1.0),
        FailureRate(FailureKind.CENTRAL, mtbf_s=7.0, mttr_s=1.0),
        duration_s=30.0,
        loads=(load(50.0, seconds=30.0),),
    )
    outcome, lines = logged(one)
    assert max(starts(lines).values()) == 1
    downs = [line for line in lines if line["kind"] == "node-state" and line["state"] == "down"]
    assert len(downs) > 5
    requests = outcome.report.requests
    assert requests.sent == requests.completed + requests.late + requests.rejected + requests.failed
    assert requests.completed > 0.3 * requests.sent


def test_nothing_is_ever_beyond_the_memory_of_a_machine() -> None:
    """Jobs that take all that a node gives, and a service that comes and goes with failures."""
    one = failing(
        ScheduledFailure(5.0, FailureKind.EDGE, "a", repair_s=1.0),
        topology=Topology((site("a", 1, memory=1 * GIB),)),
        services=(service(memory_bytes=2**28, replicas=2),),
    )
    outcome, _ = logged(replace(one, jobs=(jobs(0.5, work_cpu_s=20.0, memory_bytes=2**28),)))
    assert outcome.report.jobs.failed == 0
