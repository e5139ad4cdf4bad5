"""The worker's reports: when counters are read, sums and rates of the sides, mismatches."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from worker_world import SETTINGS, WALL, World, service, target, task

from tango.model import commands as cmd
from tango.model import events as ev
from tango.model.cgroup import Mismatch
from tango.model.cluster import NodeReport
from tango.model.messages import ReportUsage
from tango.model.service import QuotaMode


@pytest.fixture
def world() -> World:
    world = World()
    world.connect()
    return world


def reports(world: World) -> list[NodeReport]:
    return [message.report for message in world.said(ReportUsage)]


def test_sides_each_control_interval_and_groups_each_listing_interval(world: World) -> None:
    world.aim(target(service()))
    world.start_attempt("j.0.1")
    world.advance(2.0)
    world.sent.clear()
    world.log.clear()
    world.advance(3.0)
    assert len(reports(world)) == 30
    listings = [report for report in reports(world) if report.groups]
    assert len(listings) == 3
    names = {group.group for group in listings[0].groups}
    assert names == {"lc/hello/hello-0", "be/j.0.1"}
    samples = [command.groups for command in world.commands(cmd.SampleUsage)]
    assert samples.count(("lc", "be")) == 27


def test_intervals_come_from_the_settings() -> None:
    settings = replace(SETTINGS, control_interval_ms=50, listing_interval_ms=200)
    world = World(settings=settings)
    world.connect()
    world.sent.clear()
    world.advance(2.0)
    assert len(reports(world)) == 40


def test_sums_are_the_kernels_and_rates_are_over_the_interval(world: World) -> None:
    world.start_attempt("j.0.1")
    world.dispatch("a")
    for step in range(10):
        world.groups["lc"].cpu_s = 5.0 + step * 0.025
        world.groups["be"].cpu_s = step * 0.1
        world.advance(0.1)
    report = reports(world)[-1]
    assert report.at_s == pytest.approx(WALL + world.now)
    assert report.lc.cpu_s == pytest.approx(5.225)
    assert report.lc.cpu_millis == 250
    assert report.be.cpu_millis == 1000
    assert report.be.memory_bytes == world.controller.latest_report.be.memory_bytes  # type: ignore[union-attr]
    assert report.be_tasks == 1


def test_a_sample_for_an_end_does_not_disturb_the_rate(world: World) -> None:
    world.start_attempt("j.0.1")
    world.start_attempt("j.0.2")
    world.advance(1.0)
    world.groups["be"].cpu_s += 0.001
    world.now += 0.0001
    world.end("j.0.1")
    assert reports(world)[-1].be.cpu_millis == 0


def test_cpu_of_ended_groups_is_not_lost(world: World) -> None:
    world.start_attempt("j.0.1")
    world.groups["be"].cpu_s = 3.0
    world.end("j.0.1")
    world.acknowledge("j.0.1")
    world.advance(1.0)
    assert reports(world)[-1].be.cpu_s == 3.0
    world.boot()
    assert world.controller.latest_report is not None
    assert world.controller.latest_report.be.cpu_s == 3.0


def test_listings_show_quota_targets(world: World) -> None:
    world.aim(target(service(quota=QuotaMode.FOLLOW, quota_base_millis=100, concurrency=2)))
    world.start_attempt("j.0.1")
    world.dispatch("a")
    world.advance(1.1)
    listing = next(report for report in reversed(reports(world)) if report.groups)
    quotas = {group.group: group.quota_millis for group in listing.groups}
    assert quotas == {"lc/hello/hello-0": 200, "be/j.0.1": -1}
    assert listing.in_flight == 1


def test_throttling_of_a_removed_group_stays_in_its_sides_sum(world: World) -> None:
    world.aim(target(service(quota=QuotaMode.FOLLOW)))
    group = "lc/hello/hello-0"
    world.post(ev.UsageSampled((ev.GroupUsed(group, 1.0, 0, 4, 0.75, 0),), world.wall))
    assert reports(world)[-1].lc.throttled_s == 0.75
    world.aim()
    world.advance(0.2)
    assert reports(world)[-1].lc.throttled_s == 0.75
    assert reports(world)[-1].be.throttled_s == 0


@given(
    st.lists(
        st.tuples(
            st.sampled_from(("aim", "start", "end", "read", "wait")),
            st.integers(0, 2),
            st.floats(0, 1e6),
        ),
        max_size=40,
    )
)
def test_throttled_time_is_the_sum_of_all_groups_whatever_happens(
    steps: list[tuple[str, int, float]],
) -> None:
    """`validate`, after each event, compares what is kept with a sum made anew."""
    world = World()
    world.connect()
    wanted: set[int] = set()
    live: list[str] = []
    for number, (what, which, throttled_s) in enumerate(steps):
        if what == "aim":
            wanted ^= {which}
            world.aim(*(target(service(), one) for one in sorted(wanted)))
        elif what == "start":
            live.append(f"j.{number}.1")
            world.start_attempt(live[-1])
        elif what == "end" and live:
            world.end(live[0])
            world.acknowledge(live.pop(0))
        elif what == "read":
            groups = (f"lc/hello/hello-{which}", *(f"be/{name}" for name in live[:1]))
            used = [ev.GroupUsed(group, 1.0, 0, 4, throttled_s, 0) for group in groups]
            world.post(ev.UsageSampled(tuple(used), world.wall))
        else:
            world.advance(0.7)
    world.advance(0.2)
    assert reports(world)


def test_mismatches_are_reported_until_the_value_is_set_again(world: World) -> None:
    world.aim(target(service(quota=QuotaMode.FOLLOW, concurrency=2)))
    group = "lc/hello/hello-0"
    quota = Mismatch(group, "quota_millis", "50", "100")
    memory = Mismatch(group, "memory_max_bytes", "1", "unavailable")
    world.post(ev.GroupApplied(group, (quota, memory)))
    world.post(ev.GroupApplied(group, (quota,)))
    world.advance(0.2)
    assert reports(world)[-1].mismatches == (memory, quota)
    notes = [note for note in world.commands(cmd.Note) if note.event == "group_target_not_met"]
    assert len(notes) == 2
    world.dispatch("a")
    world.advance(0.2)
    assert reports(world)[-1].mismatches == (memory,)
    world.finish("a")
    world.aim()
    world.advance(0.2)
    assert reports(world)[-1].mismatches == ()
    world.post(ev.GroupApplied(group, (quota,)))
    world.advance(0.2)
    assert reports(world)[-1].mismatches == ()


def test_mismatches_are_bounded(world: World) -> None:
    fields = tuple(Mismatch("lc", f"field{n}", "1", "2") for n in range(300))
    world.post(ev.GroupApplied("lc", fields))
    world.advance(0.2)
    kept = reports(world)[-1].mismatches
    assert len(kept) == 256
    assert kept[-1] == fields[-1]


def test_reports_are_made_while_the_edge_is_away(world: World) -> None:
    world.disconnect()
    world.sent.clear()
    world.advance(1.0)
    assert reports(world) == []
    assert world.controller.latest_report is not None
    assert world.controller.latest_report.at_s == pytest.approx(world.wall, abs=0.11)


def test_a_lost_supervisor_is_in_every_report_until_it_is_back(world: World) -> None:
    world.post(ev.RuntimeDown("it closed the connection"))
    world.advance(0.15)
    assert reports(world)[-1].problem == "supervisor down: it closed the connection"
    world.post(ev.RuntimeUp(renewed=True, adopted=2, lost=1))
    world.advance(0.15)
    assert reports(world)[-1].problem == ""


def test_a_machine_short_of_memory_is_told(world: World) -> None:
    reserve = world.settings.memory_reserve_bytes
    for available, short in ((reserve + 1, 0), (reserve - 5, 5), (None, 0)):
        world.post(ev.UsageSampled((), world.wall, available))
        assert reports(world)[-1].memory_short_bytes == short


def test_be_that_is_held_down_on_a_busy_node_is_told(world: World) -> None:
    world.start_attempt("j.0.1", task(cpu_millis=1000))
    for _ in range(200):
        world.groups["lc"].cpu_s += 0.195
        world.groups["be"].cpu_s += 0.005
        world.advance(0.1)
    assert reports(world)[-1].be_satisfaction == pytest.approx(0.05, abs=0.02)
    for _ in range(200):
        world.groups["be"].cpu_s += 0.1
        world.advance(0.1)
    assert reports(world)[-1].be_satisfaction > 0.98


def test_be_has_a_cap_only_where_it_is_asked_for(world: World) -> None:
    for _ in range(50):
        world.groups["lc"].cpu_s += 0.1
        world.advance(0.1)
    assert world.groups["be"].quota == -1
    capped = World(settings=replace(SETTINGS, cap_be=True))
    capped.connect()
    for _ in range(50):
        capped.groups["lc"].cpu_s += 0.1
        capped.advance(0.1)
    assert capped.groups["be"].quota == pytest.approx(1000, abs=100)
    capped.groups["lc"].cpu_s += 0.2
    capped.advance(0.1)
    assert capped.groups["be"].quota <= 100
    writes = [write for write in capped.groups.quota_writes if write[1] == "be"]
    assert len(writes) <= 8
