"""Quotas that follow requests, and reported usage, against the real kernel's own counters."""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest
from cluster_at_work import SITE, ClusterAtWork, burner, get, port_of, ready, until

from tango.adapters.cgroup_detect import detect
from tango.adapters.cgroup_driver import CgroupDriver
from tango.algorithms.quota.follow import QuotaFollower
from tango.model.cgroup import GroupTarget
from tango.model.cluster import GroupReport, NodeReport
from tango.model.request import Code
from tango.sdk.client import Client

pytestmark = [pytest.mark.e2e, pytest.mark.alone]

REPLICA = "lc/hello/r-1"
CHANGES_PER_S = 200
SECONDS = 3.0
LISTING_S = 1.3
# 100m to 1100m on two cores: what the burners want is more than any quota.
BASE, PER_REQUEST, LIMIT = 100, 250, 4
BURN = "while True: pass"


@pytest.fixture
def cgroups() -> Iterator[CgroupDriver]:
    """A root of this test alone, with enough weight to get what its quota allows."""
    found = detect(f"tango-test-{os.getpid()}/quota")
    if found.cgroups is None:
        pytest.skip(f"no control groups here: {found.reason}")
    outer = detect(f"tango-test-{os.getpid()}").cgroups
    assert outer is not None
    with found.cgroups as made, outer:
        try:
            outer.apply("", GroupTarget(weight=10_000))
            made.create(REPLICA)
            yield made
        finally:
            outer.remove("")


@contextlib.contextmanager
def saturated(cgroups: CgroupDriver, group: str, processes: int) -> Iterator[None]:
    """Processes in the group that use all the CPU they get."""
    burners = [subprocess.Popen([sys.executable, "-I", "-S", "-c", BURN]) for _ in range(processes)]
    try:
        for process in burners:
            cgroups.move(group, process.pid)
        yield
    finally:
        for process in burners:
            process.kill()
            process.wait()


def alternating(_: random.Random, before: int) -> int:
    return 0 if before else LIMIT


def by_one(_: random.Random, before: int) -> int:
    return before + 1 if before < 2 else before - 1


def walking(drawn: random.Random, before: int) -> int:
    return max(0, min(LIMIT, before + drawn.choice((-1, 1))))


def jumping(drawn: random.Random, _: int) -> int:
    return drawn.randint(0, LIMIT)


class Replica:
    """One replica's group on the kernel, its quota's integral, and its used CPU."""

    def __init__(self, cgroups: CgroupDriver) -> None:
        self.cgroups = cgroups
        self.writes = 0
        self.granted_s = 0.0
        self._quota = 0.0
        self._at = time.monotonic()
        self._used_s = 0.0

    def apply(self, writes: list[tuple[str, GroupTarget]]) -> None:
        for group, target in writes:
            assert self.cgroups.apply(group, target) == ()
            self.writes += group == REPLICA
        self._settle()
        # What the kernel says, not what was meant.
        millis = self.cgroups.read(REPLICA).quota_millis
        assert millis is not None
        self._quota = millis / 1000

    def begin(self) -> None:
        self._settle()
        self.granted_s = 0.0
        self._used_s = self.cgroups.usage(REPLICA).cpu_s

    def used_s(self) -> float:
        self._settle()
        return self.cgroups.usage(REPLICA).cpu_s - self._used_s

    def _settle(self) -> None:
        now = time.monotonic()
        self.granted_s += self._quota * (now - self._at)
        self._at = now


def changing(
    replica: Replica,
    next_in_flight: Callable[[random.Random, int], int],
    change: Callable[[int, float], list[tuple[str, GroupTarget]]],
    seconds: float,
) -> float:
    """In-flight counts 200 times a second; used over granted CPU time."""
    drawn = random.Random(7)
    in_flight = changes = 0
    replica.begin()
    begun = time.monotonic()
    while (now := time.monotonic()) < begun + seconds:
        # All that are due by now, so that a busy machine does not make it slower.
        for _ in range(int((now - begun) * CHANGES_PER_S) - changes):
            in_flight = next_in_flight(drawn, in_flight)
            changes += 1
            replica.apply(change(in_flight, time.monotonic()))
        time.sleep(0.5 / CHANGES_PER_S)
    assert changes >= 0.9 * seconds * CHANGES_PER_S
    return replica.used_s() / replica.granted_s


@pytest.mark.parametrize("pattern", [alternating, by_one, walking, jumping])
def test_a_saturating_service_stays_within_a_tenth_of_its_average_quota(
    cgroups: CgroupDriver, pattern: Callable[[random.Random, int], int]
) -> None:
    burst = cgroups.features().burst
    follower = QuotaFollower(cpus=len(os.sched_getaffinity(0)), burst=burst)
    replica = Replica(cgroups)

    def change(in_flight: int, now: float) -> list[tuple[str, GroupTarget]]:
        return [*follower.due(now), *follower.set_in_flight(REPLICA, in_flight, now)]

    rule = follower.rule(BASE, PER_REQUEST, LIMIT)
    replica.apply(follower.add({REPLICA: rule}, time.monotonic()))
    with saturated(cgroups, REPLICA, 3):
        ratio = changing(replica, pattern, change, SECONDS)
    assert ratio <= 1.1, f"{replica.writes} writes"
    # It did get about what it was granted, or the first line would say nothing.
    assert ratio > 0.6


def test_a_quota_written_at_every_change_would_not_hold(cgroups: CgroupDriver) -> None:
    replica = Replica(cgroups)

    def change(in_flight: int, _: float) -> list[tuple[str, GroupTarget]]:
        millis = BASE + in_flight * PER_REQUEST
        return [(REPLICA, GroupTarget(quota_millis=millis, period_us=10_000))]

    replica.apply(change(0, 0.0))
    with saturated(cgroups, REPLICA, 3):
        ratio = changing(replica, alternating, change, 1.0)
    assert ratio > 1.1


async def test_reported_usage_agrees_with_the_kernel_and_with_known_work(
    cluster: ClusterAtWork, client: Client
) -> None:
    calls, cpu_ms = 60, 20.0
    view = await ready(client, burner("burning", "--cpu-ms", str(cpu_ms), concurrency=1))
    (replica,) = view.replicas
    port = port_of(view)

    async def settled() -> tuple[NodeReport, GroupReport]:
        """A report whose groups, too, were looked at after the replica had come to rest."""
        # Groups come with every tenth report; in between they stand as they were.
        after = time.time() + LISTING_S
        found: list[tuple[NodeReport, GroupReport]] = []

        async def told() -> bool:
            (node,) = [node for node in await client.nodes() if node.edge == SITE]
            report = node.report
            if report is None or report.at_s < after:
                return False
            groups = [g for g in report.groups if g.group.endswith(replica.status.replica_id)]
            found.extend((report, group) for group in groups)
            return bool(found)

        await until(told, "a listing report")
        return found[0]

    node_before, before = await settled()
    for _ in range(calls):
        reply = await client.call("burning", site=SITE)
        assert (reply.code, reply.http_status) == (Code.OK, 200)
    node_after, after = await settled()

    reported_s = after.cpu_s - before.cpu_s
    (cpuacct,) = [
        path for path in cluster.groups(f"a1/{after.group}") if path.parts[4] == "cpuacct"
    ]
    kernel_s = int((cpuacct / "cpuacct.usage").read_text()) / 1e9 - before.cpu_s
    assert reported_s == pytest.approx(kernel_s, rel=0.05)
    # Beside the work that it was told to do, the replica parses requests and answers health checks.
    work_s = calls * cpu_ms / 1000
    assert work_s * 0.95 <= reported_s <= work_s * 1.25
    assert node_after.lc.cpu_s - node_before.lc.cpu_s == pytest.approx(reported_s, rel=0.05)
    assert "burned_cpu_s" in get(port, "/stats")
