#!/usr/bin/env python3
"""Times EdgeController.handle() by event type: 10 nodes, 5 services, open-loop load, fake clock."""

from __future__ import annotations

import argparse
import gc
import heapq
import itertools
import json
import random
import time
from collections import defaultdict
from collections.abc import Callable

from tango.algorithms.traffic.least_loaded import LeastLoaded
from tango.controllers.edge import EdgeController
from tango.model.cluster import Enforcement, NodeCapacity
from tango.model.commands import EdgeCommand, Persist, Reply, SendWorker, Solve
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
from tango.model.request import CallRequest, Code, RequestDone
from tango.model.service import ReplicaState, ReplicaStatus, ServiceSpec
from tango.model.settings import EdgeSettings, ServerSettings

NODES = 10
SERVICES = 5
SERVICE_S = 0.01
COST_S = 0.0001


class World:
    """A fake site around one controller; every handle() is timed."""

    def __init__(self, seed: int, clock: Callable[[], int] = time.perf_counter_ns) -> None:
        self.clock = clock
        settings = EdgeSettings(ServerSettings("127.0.0.1:7410", "", ""), "bench")
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
    requests: int, rate: float, seed: int, clock: Callable[[], int]
) -> dict[str, dict[str, float]]:
    """Microseconds by event type, with counts; the load phase only."""
    world = World(seed, clock)
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
    report = {name: figures(values) for name, values in sorted(world.timings.items())}
    report["(all)"] = figures([ns for values in world.timings.values() for ns in values])
    report["(policy, outside handle)"] = figures(world.solve_ns)
    report["(replies)"] = dict(world.replies)
    return report


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
    arguments = parser.parse_args()
    clock = time.thread_time_ns if arguments.cpu else time.perf_counter_ns
    gc.collect()
    gc.freeze()
    rows = bench(arguments.requests, arguments.rate, arguments.seed, clock)
    for name, row in rows.items():
        print(f"{name:28} {json.dumps(row)}")


if __name__ == "__main__":
    main()
