#!/usr/bin/env python3
"""Times EdgeController.handle() by event type: 10 nodes, 5 services, open-loop load, fake clock.

--records: what decision records cost of it, from interleaved runs with and without them.
"""

from __future__ import annotations

import argparse
import gc
import heapq
import itertools
import json
import random
import statistics
import time
from collections import defaultdict
from collections.abc import Callable

from tango.algorithms.traffic.least_loaded import LeastLoaded
from tango.controllers.decisions import Decisions
from tango.controllers.edge import EdgeController
from tango.daemons.lifecycle import tune_collector
from tango.model.cluster import Enforcement, NodeCapacity
from tango.model.commands import EdgeCommand, Persist, Reply, SendWorker, Solve
from tango.model.decision import ROUTE, line
from tango.model.events import (
    ApplyService,
    CallArrived,
    EdgeEvent,
    Persisted,
    RouteSolved,
    Tick,
    WorkerSaid,
    WorkerUp,
)
from tango.model.messages import (
    Dispatches,
    NodeTargets,
    ReplicaChanged,
    RequestsDone,
    WorkerHello,
    WorkerState,
)
from tango.model.plan import Route
from tango.model.request import CallRequest, Code, RequestDone
from tango.model.service import ReplicaState, ReplicaStatus, ServiceSpec
from tango.model.settings import DecisionSettings, EdgeSettings, ServerSettings

NODES = 10
SERVICES = 5
SERVICE_S = 0.01
COST_S = 0.0001
RING = 4096


class World:
    """A fake site around one controller; every handle() is timed."""

    def __init__(
        self, seed: int, clock: Callable[[], int] = time.perf_counter_ns, ring: int = RING
    ) -> None:
        self.clock = clock
        server = ServerSettings("127.0.0.1:7410", "", "")
        settings = EdgeSettings(server, "bench", decisions=DecisionSettings(ring))
        self.controller = EdgeController(settings, incarnation=1, seed=seed)
        self.random = random.Random(seed)
        self.policy = LeastLoaded()
        self.events: list[tuple[float, int, EdgeEvent]] = []
        self.order = itertools.count()
        self.timings: defaultdict[str, list[int]] = defaultdict(list)
        self.solve_ns: list[int] = []
        self.replies: defaultdict[str, int] = defaultdict(int)
        self.timer = float("inf")

    def at(self, when: float, event: EdgeEvent) -> None:
        heapq.heappush(self.events, (when, next(self.order), event))

    def handle(self, event: EdgeEvent, now: float) -> None:
        name = type(event).__name__
        if isinstance(event, WorkerSaid):
            name = type(event.message).__name__
        elif isinstance(event, RouteSolved):
            name += " (1)" if sum(r.count for r in event.plan.routes) <= 1 else " (more)"
        begun = self.clock()
        commands = self.controller.handle(event, now)
        wake_at = self.controller.wake_at
        self.timings[name].append(self.clock() - begun)
        for command in commands:
            self.perform(command, now)
        if wake_at is not None and wake_at < self.timer:
            self.timer = wake_at
            self.at(wake_at, Tick())

    def perform(self, command: EdgeCommand, now: float) -> None:
        if isinstance(command, Solve):
            begun = self.clock()
            plan = self.policy.route(command.snapshot)  # type: ignore[arg-type]
            self.solve_ns.append(self.clock() - begun)
            self.at(now + COST_S, RouteSolved(command.solve_id, plan, COST_S))
        elif isinstance(command, Reply):
            self.replies[command.reply.outcome.value] += 1
        elif isinstance(command, Persist):
            self.at(now, Persisted(command.persist_id))
        elif isinstance(command, SendWorker) and isinstance(command.message, Dispatches):
            for request in command.message.requests:
                spent = self.random.uniform(0.5, 1.5) * SERVICE_S
                done = RequestDone(request.request_id, Code.OK, 200, service_s=spent)
                self.at(now + spent, WorkerSaid(command.session, RequestsDone((done,))))
        elif isinstance(command, SendWorker) and isinstance(command.message, NodeTargets):
            for target in command.message.replicas:
                name, generation = target.spec.name, target.generation
                ready = ReplicaState.READY
                status = ReplicaStatus(target.replica_id, name, generation, ready, 80)
                self.at(now, WorkerSaid(command.session, ReplicaChanged(status)))

    def run(self, until: float) -> None:
        while self.events and self.events[0][0] <= until:
            now, _, event = heapq.heappop(self.events)
            if isinstance(event, Tick) and now >= self.timer:
                self.timer = float("inf")
            self.handle(event, now)


def bench(
    requests: int, rate: float, seed: int, clock: Callable[[], int], ring: int = RING
) -> dict[str, dict[str, float]]:
    """Microseconds by event type, with counts; the load phase only."""
    return summary(loaded(requests, rate, seed, clock, ring))


def loaded(requests: int, rate: float, seed: int, clock: Callable[[], int], ring: int) -> World:
    """A world after its load."""
    world = World(seed, clock, ring)
    for index in range(NODES):
        capacity = NodeCapacity(8000, 16 * 2**30)
        hello = WorkerHello(f"n{index}", "k", 1, capacity, Enforcement.NONE, "0")
        world.at(0.0, WorkerUp(index, hello, WorkerState((), (), ())))
    for index in range(SERVICES):
        spec = ServiceSpec(
            f"s{index}",
            ("x",),
            replicas=NODES,
            concurrency=4,
            deadline_s=0.1,
            priority=index % 2,
        )
        world.at(0.1, ApplyService(index, spec))
    world.run(0.5)
    world.timings.clear()
    at = 0.5
    for index in range(requests):
        at += world.random.expovariate(rate)
        world.at(at, CallArrived(CallRequest(f"r{index}", f"s{index % SERVICES}", body=b"x" * 100)))
    world.run(at + 1)
    world.controller.validate()
    assert sum(world.replies.values()) == requests, world.replies
    return world


def summary(world: World) -> dict[str, dict[str, float]]:
    report = {name: figures(values) for name, values in sorted(world.timings.items())}
    report["(all)"] = figures([ns for values in world.timings.values() for ns in values])
    report["(policy, outside handle)"] = figures(world.solve_ns)
    report["(replies)"] = dict(world.replies)
    return report


def records(
    requests: int, rate: float, seed: int, repeats: int, clock: Callable[[], int]
) -> dict[str, object]:
    """Cost of decision records: interleaved runs of the same load with and without them.

    path_us: handle() and policy of a whole request without records; added_us: by records, and
    share of it: of the least of all runs, for other programs only ever add time, and as the
    median over pairs with its quartiles. events_us: added to the first quartile of a handle() of
    that kind, likewise. record_us: one record by itself; line_us: formatting one for a log.
    """
    totals: dict[int, list[float]] = {RING: [], 0: []}
    quartiles: dict[int, dict[str, float]] = {RING: {}, 0: {}}
    for repeat in range(repeats):
        for ring in (RING, 0) if repeat % 2 else (0, RING):
            gc.collect()
            world = loaded(requests, rate, seed, clock, ring)
            spent = sum(sum(values) for values in world.timings.values()) + sum(world.solve_ns)
            totals[ring].append(spent / requests / 1000)
            for name, values in world.timings.items():
                quartile = sorted(values)[len(values) // 4] / 1000
                least = quartiles[ring].get(name, quartile)
                quartiles[ring][name] = min(least, quartile)
            if ring:
                kept = world.controller.decisions
                per_request = kept.last / requests
                lines = kept.since(0)
    begun = clock()
    for record in lines:
        line(record)
    line_us = (clock() - begun) / len(lines) / 1000
    least = {ring: min(values) for ring, values in totals.items()}
    shares = [a / b - 1 for a, b in zip(totals[RING], totals[0], strict=True)]
    return {
        "repeats": repeats,
        "requests": requests,
        "path_us": {"least": least[0], "median": statistics.median(totals[0])},
        "added_us": least[RING] - least[0],
        "share": {
            "least": least[RING] / least[0] - 1,
            "pairs": statistics.quantiles(shares, n=4),
        },
        "events_us": {
            name: quartiles[RING][name] - without for name, without in quartiles[0].items()
        },
        "records_per_request": per_request,
        "record_us": one_record_us(clock),
        "line_us": line_us,
    }


def one_record_us(clock: Callable[[], int]) -> float:
    """Adding one record of a route to a full ring, the loop around it taken off."""
    decisions = Decisions(RING)
    route, count = Route("s", "n", 1), 200_000
    spans = []
    for add in (decisions.request, Decisions(0).request):
        begun = clock()
        for _ in range(count):
            add(ROUTE, 1.0, "r", "s", "n", "p", route, None, None, 9, 0.1, 0.2, 0.3)
        spans.append(clock() - begun)
    return (spans[0] - spans[1]) / count / 1000


def figures(values: list[int]) -> dict[str, float]:
    """n, p50, p99 and the largest, in microseconds."""
    ordered = sorted(values)
    return {
        "n": len(ordered),
        "p50_us": ordered[len(ordered) // 2] / 1000,
        "p99_us": ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)] / 1000,
        "max_us": ordered[-1] / 1000,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--rate", type=float, default=3000.0, help="requests per second")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cpu", action="store_true", help="CPU time: for a busy machine")
    parser.add_argument("--records", action="store_true", help="what decision records cost")
    parser.add_argument(
        "--repeats", type=int, default=24, help="pairs of runs with --records, 2 or more"
    )
    arguments = parser.parse_args()
    clock = time.thread_time_ns if arguments.cpu else time.perf_counter_ns
    tune_collector()
    if arguments.records:
        found = records(
            arguments.requests, arguments.rate, arguments.seed, arguments.repeats, clock
        )
        print(json.dumps(found, indent=2))
        return
    rows = bench(arguments.requests, arguments.rate, arguments.seed, clock)
    for name, row in rows.items():
        print(f"{name:28} {json.dumps(row)}")


if __name__ == "__main__":
    main()
