"""Runs a scenario with everything in it; prints its decision log. Run with several hash seeds."""

from __future__ import annotations

import sys

from small import jobs, load, scenario, service, site

from tango.sim.run import simulate
from tango.sim.scenario import FailureKind, FailureRate, Policies, Scenario, ScheduledFailure
from tango.sim.topology import Delays, Topology


def eventful() -> Scenario:
    """Two sites, two services, jobs, forwarding, jitter, and a failure of each kind."""
    seconds = 8.0
    return scenario(
        topology=Topology((site("a"), site("b"), site("c", 1)), 2, delays=Delays(jitter=0.2)),
        services=(service(), service("api", 0.02, idempotent=True)),
        duration_s=seconds,
        loads=(load(60.0, seconds=seconds), load(120.0, "api", seconds, sites=("a",))),
        jobs=(jobs(0.5, seconds, work_cpu_s=1.0, memory_bytes=2**28),),
        failures=(
            ScheduledFailure(1.0, FailureKind.NODE, "a1", repair_s=2.0),
            ScheduledFailure(2.0, FailureKind.EDGE, "b", repair_s=1.0),
            ScheduledFailure(3.0, FailureKind.CENTRAL, repair_s=1.0),
            ScheduledFailure(3.5, FailureKind.LINK, "a", "c", repair_s=2.0),
            ScheduledFailure(4.0, FailureKind.SITE, "c", repair_s=1.0),
            FailureRate(FailureKind.WORKER, mtbf_s=5.0, mttr_s=0.5),
        ),
        policies=Policies(traffic="dss-lc", follow_quota=True),
    )


if __name__ == "__main__":
    simulate(eventful(), log=sys.stdout)
