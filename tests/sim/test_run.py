"""simulate(): every request ends once, jobs run, and what was asked for comes back."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import islice

import pytest
from small import GIB, MIB, jobs, load, scenario, service, site

from tango.model.errors import InvalidField
from tango.sim.loads import (
    Distribution,
    JobArrival,
    JobLoad,
    JobShape,
    RequestLoad,
    TracedRequest,
    TraceLoad,
)
from tango.sim.outcome import Outcome, Progress
from tango.sim.run import simulate
from tango.sim.scenario import Policies, Scenario
from tango.sim.topology import Delays, NodeShape, PairDelay, Position, Site, Topology, distance_km
from tango.workload.arrival import Arrival
from tango.workload.patterns import PatternSpec


def conserved(outcome: Outcome) -> None:
    """completed + late + rejected + failed == sent is checked by RequestCounts itself."""
    requests = outcome.report.requests
    assert requests.sent > 0
    assert requests.sent == sum(each.requests.sent for each in outcome.report.services.values())


def test_an_easy_load_is_served_in_time() -> None:
    outcome = simulate(scenario(), check=True)
    conserved(outcome)
    requests = outcome.report.requests
    assert requests.completed == requests.sent
    # 5 ms of work, two ways of 1.2 ms each, and what the processes take.
    assert outcome.report.latency_ms.p50 == pytest.approx(8.1, abs=0.3)
    used = sum(node.lc_cpu_seconds for node in outcome.report.nodes.values())
    assert used == pytest.approx(0.005 * requests.sent, rel=0.01)
    assert not outcome.problems
    assert not outcome.stopped


def test_work_and_its_distribution_count() -> None:
    def twice(rng: object) -> object:
        return (Arrival(index * 0.05, 2.0) for index in range(100))

    constant = simulate(scenario(loads=(RequestLoad("web", twice),)))  # type: ignore[arg-type]
    assert constant.report.latency_ms.p50 == pytest.approx(13.1, abs=0.3)
    random = simulate(scenario(services=(service(distribution=Distribution.EXPONENTIAL),)))
    assert random.report.latency_ms.p50 is not None
    assert random.report.latency_ms.p99 is not None
    # The median of an exponential time is ln 2 of its mean, the 99th percentile ln 100.
    assert random.report.latency_ms.p50 == pytest.approx(3.1 + 5 * math.log(2), rel=0.1)
    assert random.report.latency_ms.p99 > 20


def test_overload_is_rejected_at_arrival_or_ends_in_another_way_once() -> None:
    small = scenario(
        topology=Topology((site("a", 1, cpu=1000),)),
        services=(service(cpu_s=0.02, replicas=2),),
        loads=(load(200.0),),
    )
    outcome = simulate(small, check=True)
    conserved(outcome)
    requests = outcome.report.requests
    assert requests.rejected > requests.sent / 2
    # One core serves 50 a second.
    assert requests.completed + requests.late < 50 * 22
    assert requests.completed > 50 * 20 * 0.8


def test_a_replica_that_is_given_more_than_it_has_threads_for_makes_them_wait() -> None:
    together = service(cpu_s=0.02, replicas=1, concurrency=4, cpu_per_request_millis=100)

    def four(rng: object) -> object:
        return iter([Arrival(0.0)] * 4)

    base = scenario(services=(together,), loads=(RequestLoad("web", four),))  # type: ignore[arg-type]
    assert simulate(base).report.latency_ms.max == pytest.approx(80 + 3, abs=2)
    wide = replace(base, services=(replace(together, threads=4),))
    # Four threads on two cores.
    assert simulate(wide).report.latency_ms.max == pytest.approx(40 + 3, abs=2)


def test_streams_of_each_site_and_one_stream_for_all() -> None:
    two = Topology((site("a"), site("b")))
    each = simulate(scenario(topology=two, policies=Policies("least-loaded", forwarding=False)))
    turns = simulate(scenario(topology=two, loads=(load(100.0, each=False),)))
    assert each.report.requests.sent == pytest.approx(4000, rel=0.1)
    assert turns.report.requests.sent == pytest.approx(2000, rel=0.1)


def test_a_trace_says_where_its_requests_arrive() -> None:
    two = Topology((site("a"), site("b")))

    def rows(rng: object) -> object:
        for index in range(200):
            yield TracedRequest(index * 0.01, "web", "b" if index % 4 else "a", 1.0, 0.5)

    outcome = simulate(scenario(topology=two, loads=(TraceLoad(rows),)))  # type: ignore[arg-type]
    assert outcome.report.requests.completed == 200
    lc = {name: node.lc_cpu_seconds for name, node in outcome.report.nodes.items()}
    assert lc["b1"] + lc["b2"] == pytest.approx(0.75, rel=0.02)
    assert lc["a1"] + lc["a2"] == pytest.approx(0.25, rel=0.02)


def test_warm_up_is_not_reported_but_is_in_the_timeline() -> None:
    outcome = simulate(scenario(warmup_s=10.0))
    assert outcome.report.requests.sent == pytest.approx(1000, rel=0.15)
    assert outcome.report.duration_s == 10.0
    assert len(outcome.timeline) == 20
    assert sum(interval.sent for interval in outcome.timeline) == pytest.approx(2000, rel=0.1)
    assert all(interval.qos == 1.0 for interval in outcome.timeline[:-1])
    assert outcome.timeline[5].lc_share == pytest.approx(0.125, rel=0.4)


def test_jobs_run_to_their_end_beside_services() -> None:
    outcome = simulate(scenario(jobs=(jobs(tasks=2, work_cpu_s=1.0),)), check=True)
    conserved(outcome)
    ended = outcome.report.jobs
    assert ended.submitted == 20
    assert ended.succeeded >= 17
    assert ended.failed == 0
    assert ended.cpu_seconds == pytest.approx(2.0 * ended.succeeded, rel=0.15)
    # BE yields: the services' latency is what it is without jobs.
    assert outcome.report.latency_ms.p99 == pytest.approx(
        simulate(scenario()).report.latency_ms.p99, rel=0.2
    )


def test_a_trace_of_jobs_of_different_shape() -> None:
    def rows(rng: object) -> object:
        yield JobArrival(0.0, JobShape(0.5, cpu_millis=200))
        yield JobArrival(1.0, JobShape(0.5, tasks=3, cpu_millis=200))
        # More memory than it declared: the kernel ends it.
        yield JobArrival(2.0, JobShape(0.5, cpu_millis=200, used_share=1.5))

    outcome = simulate(scenario(jobs=(JobLoad(rows),)), check=True)  # type: ignore[arg-type]
    assert outcome.report.jobs.submitted == 3
    assert outcome.report.jobs.succeeded == 2
    assert outcome.report.jobs.failed == 1


def test_memory_that_services_need_is_taken_from_jobs() -> None:
    """Each request needs 300 MiB of a node that BE has filled; the machine has some to spare."""
    node = NodeShape("a1", 2000, GIB, machine_memory_bytes=2 * GIB)
    tight = scenario(
        topology=Topology((Site("a", (node,)),)),
        services=(
            service(
                cpu_s=0.02, replicas=2, memory_bytes=64 * MIB, memory_per_request_bytes=300 * MIB
            ),
        ),
        loads=(load(20.0),),
        jobs=(jobs(1.0, work_cpu_s=60.0, cpu_millis=100, memory_bytes=200 * MIB),),
    )
    outcome = simulate(tight, check=True)
    conserved(outcome)
    assert outcome.report.jobs.evictions > 0
    assert outcome.report.jobs.failed == 0
    assert outcome.report.requests.completed > 0.9 * outcome.report.requests.sent


def overloaded_neighbour(delay_s: float) -> Scenario:
    """Site a gets four times what it can serve; b has nothing to do."""
    delays = Delays(pairs=(PairDelay("a", "b", delay_s),))
    return scenario(
        topology=Topology((site("a", 1, cpu=1000), site("b", 2, cpu=2000)), 1, delays=delays),
        services=(service(cpu_s=0.02, replicas=4, deadline_s=0.1),),
        loads=(load(150.0, sites=("a",)),),
        policies=Policies("least-loaded"),
    )


def test_overload_goes_to_a_near_neighbour_and_not_to_a_far_one() -> None:
    near = simulate(overloaded_neighbour(0.005), check=True)
    far = simulate(overloaded_neighbour(0.060), check=True)
    alone = simulate(
        replace(overloaded_neighbour(0.005), policies=Policies("least-loaded", forwarding=False))
    )
    for outcome in (near, far, alone):
        conserved(outcome)
    assert near.report.requests.completed > 2 * alone.report.requests.completed
    assert near.report.nodes["b1"].lc_cpu_seconds > 5
    assert far.report.nodes["b1"].lc_cpu_seconds == 0
    assert alone.report.nodes["b1"].lc_cpu_seconds == 0
    assert far.report.requests.completed == pytest.approx(alone.report.requests.completed, rel=0.05)


def test_progress_stops_it_early_and_the_report_is_of_what_was() -> None:
    seen: list[Progress] = []

    def stop(progress: Progress) -> bool:
        seen.append(progress)
        return progress.at_s >= 5.0

    outcome = simulate(scenario(), progress=stop)
    conserved(outcome)
    assert outcome.stopped
    assert outcome.report.duration_s == pytest.approx(5.0, abs=0.3)
    assert outcome.report.requests.completed == outcome.report.requests.sent
    assert [each.at_s for each in seen] == sorted(each.at_s for each in seen)
    early = simulate(scenario(), progress=lambda progress: True)
    assert early.stopped
    assert early.report.requests.sent == 0


def test_arrivals_are_read_as_they_come_and_never_all() -> None:
    read = 0

    def endless(rng: object) -> object:
        nonlocal read
        at_s = 0.0
        while True:
            read += 1
            at_s += 0.01
            yield Arrival(at_s)

    outcome = simulate(scenario(loads=(RequestLoad("web", endless),)))  # type: ignore[arg-type]
    assert outcome.report.requests.sent == pytest.approx(2000, abs=2)
    assert read <= outcome.report.requests.sent + 2


def test_an_error_of_a_trace_is_raised() -> None:
    def broken(rng: object) -> object:
        yield Arrival(0.1)
        raise InvalidField("arrival", "is broken", where="trace.csv:2")

    with pytest.raises(InvalidField, match=r"trace.csv:2"):
        simulate(scenario(loads=(RequestLoad("web", broken),)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"duration_s": 0.0}, "duration_s"),
        ({"topology": Topology(())}, "sites"),
        ({"services": (service(), service())}, r"services\[1\].name"),
        ({"services": (service(cpu_s=0.0),)}, r"services\[0\].cpu_s"),
        ({"loads": (load(1.0, "nobody"),)}, r"loads\[0\].service"),
        ({"loads": (load(1.0, sites=("x",)),)}, r"loads\[0\].sites"),
        ({"policies": Policies("no-such-policy")}, "traffic_policy"),
        ({"jobs": (JobLoad(lambda rng: iter(()), JobShape(1.0)),)}, r"jobs\[0\].shape"),
        (
            {"topology": Topology((site("a"), Site("b", (NodeShape("a1", 1000, GIB),))))},
            "sites.b.nodes.a1.name",
        ),
    ],
)
def test_what_is_wrong_with_a_scenario_is_said(change: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidField, match=field):
        simulate(scenario(**change))


def test_distances_are_great_circles() -> None:
    paris, melbourne = Position(48.8566, 2.3522), Position(-37.8136, 144.9631)
    assert distance_km(paris, melbourne) == pytest.approx(16_790, rel=0.005)
    assert distance_km(paris, paris) == 0.0


def test_patterns_are_drawn_from_the_seed() -> None:
    one = simulate(scenario(loads=(RequestLoad("web", PatternSpec("bursty", 50.0, 20.0)),)))
    same = simulate(scenario(loads=(RequestLoad("web", PatternSpec("bursty", 50.0, 20.0)),)))
    other = simulate(
        scenario(seed=1, loads=(RequestLoad("web", PatternSpec("bursty", 50.0, 20.0)),))
    )
    assert one.report == same.report
    assert one.timeline == same.timeline
    assert one.report.requests != other.report.requests
    assert list(islice(one.timeline, 3)) != list(islice(other.timeline, 3))


def test_a_service_that_finds_no_room_is_said() -> None:
    large = service("large", memory_bytes=8 * GIB, replicas=1)
    outcome = simulate(scenario(services=(service(), large)))
    assert len(outcome.problems) == 1
    assert outcome.problems[0].startswith("large at a: 0 of 1 replicas ready")


def test_how_time_is_cut_into_windows_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sites go forward one after the other, for as long as no message can be on its way."""
    near = overloaded_neighbour(0.008)
    whole = simulate(near)
    assert whole.report.nodes["b1"].lc_cpu_seconds > 0
    monkeypatch.setattr("tango.sim.world.LONGEST_WINDOW_S", 0.0013)
    assert simulate(near).report == whole.report
