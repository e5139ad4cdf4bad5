#!/usr/bin/env python3
"""Times CentralController.handle() with delay bounds and backups: fake edges, a fake clock.

CPU time. Sites tell their nodes and round trips once a second; some jobs come, one node dies.
Plans are made by the rule itself, beside the clock of `handle`, and answered after as long as they
took.
"""

from __future__ import annotations

import argparse
import gc
import heapq
import itertools
import json
import random
import sys
import time
from collections import defaultdict
from typing import Any

from tango.adapters.bound_rules import bound_rule
from tango.algorithms.batch.most_free import MostFree
from tango.controllers.central import CentralController
from tango.daemons.lifecycle import tune_collector
from tango.model import events as ev
from tango.model.bounds import BoundSnapshot
from tango.model.cluster import NodeCapacity, NodeView
from tango.model.commands import CentralCommand, Persist, SendEdge, Solve
from tango.model.events import CentralEvent
from tango.model.job import AttemptState, AttemptStatus, JobSpec, Near, TaskSpec
from tango.model.messages import (
    AttemptChanged,
    EdgeHello,
    EdgeState,
    NodesChanged,
    StartAttempt,
    StopAttempt,
)
from tango.model.placement_profile import DEFAULT
from tango.model.round_trips import EdgeTrip
from tango.model.settings import CentralSettings, ServerSettings

EPOCH = 1_700_000_000.0
GIB = 2**30
CPU, MEMORY = 8000, 32 * GIB


class Site:
    """An edge that admits all that it is told to start."""

    def __init__(self, number: int, nodes: int, others: int, rng: random.Random) -> None:
        self.name, self.session = f"s{number:03}", number + 1
        self.nodes = [f"n{index:03}" for index in range(nodes)]
        self.held: dict[str, dict[str, TaskSpec]] = {node: {} for node in self.nodes}
        self.dead: set[str] = set()
        self._others = [f"s{other:03}" for other in range(others) if other != number]
        self._far = {other: rng.uniform(0.002, 0.060) for other in self._others}
        self._rng = rng

    def told(self) -> NodesChanged:
        """Its nodes as they are, and what it measured, with jitter."""
        views = tuple(self._view(node) for node in self.nodes)
        jitter = self._rng.uniform
        near = tuple(EdgeTrip(f"{self.name}/{node}", jitter(0.0009, 0.0011)) for node in self.nodes)
        far = tuple(EdgeTrip(one, self._far[one] * jitter(0.99, 1.01)) for one in self._others)
        return NodesChanged(views, (*near, *far))

    def _view(self, node: str) -> NodeView:
        held = self.held[node].values()
        return NodeView(
            node,
            self.name,
            ready=node not in self.dead,
            dead=node in self.dead,
            capacity=NodeCapacity(CPU, MEMORY),
            be_held_millis=sum(task.cpu_millis for task in held),
            be_memory_bytes=sum(task.memory_bytes for task in held),
            be_tasks=len(held),
            lc_held_millis=self._rng.randrange(0, 1000),
        )


class World:
    """Everything around the controller."""

    def __init__(self, sites: int, nodes: int, seed: int) -> None:
        server = ServerSettings("127.0.0.1:7400", "", "")
        self.rule = bound_rule(DEFAULT)
        self.controller = CentralController(
            CentralSettings(server), incarnation=1, bound_rule=self.rule
        )
        self.rng = random.Random(seed)
        self.sites = [Site(number, nodes, sites, self.rng) for number in range(sites)]
        self.by_session = {site.session: site for site in self.sites}
        # A site in place of an event: its word, as it is when its turn comes.
        self.events: list[tuple[float, int, CentralEvent | Site]] = []
        self.order = itertools.count()
        self.timings: defaultdict[str, list[int]] = defaultdict(list)
        self.solves: list[int] = []
        self.timer = float("inf")
        self.jobs = 0

    def at(self, when: float, event: CentralEvent) -> None:
        heapq.heappush(self.events, (when, next(self.order), event))

    def handle(self, event: CentralEvent, now: float) -> None:
        name = type(event).__name__
        if isinstance(event, ev.EdgeSaid):
            name = type(event.message).__name__
        begun = time.thread_time_ns()
        commands = self.controller.handle(event, now)
        wake_at = self.controller.wake_at
        self.timings[name].append(time.thread_time_ns() - begun)
        for command in commands:
            self.perform(command, now)
        if wake_at is not None and wake_at < self.timer:
            self.timer = max(now, wake_at)
            self.at(self.timer, ev.Tick())

    def perform(self, command: CentralCommand, now: float) -> None:
        if isinstance(command, Persist):
            self.at(now + 0.001, ev.Persisted(command.persist_id))
        elif isinstance(command, Solve) and isinstance(command.snapshot, BoundSnapshot):
            begun = time.thread_time_ns()
            plan = self.rule.plan(command.snapshot)  # type: ignore[union-attr]
            spent = time.thread_time_ns() - begun
            self.solves.append(spent)
            done: Any = ev.BoundsSolved(command.solve_id, plan, spent / 1e9, EPOCH + now)
            self.at(now + spent / 1e9, done)
        elif isinstance(command, Solve):
            plan = MostFree().place(command.snapshot)  # type: ignore[arg-type]
            self.at(now, ev.BatchSolved(command.solve_id, plan, 0.0, EPOCH + now))
        elif isinstance(command, SendEdge):
            site, message = self.by_session[command.session], command.message
            if isinstance(message, StartAttempt):
                site.held[message.node][message.attempt_id] = message.spec
                status = AttemptStatus(
                    message.attempt_id, AttemptState.RUNNING, message.node, started_at=EPOCH + now
                )
                self.say(now + 0.01, site, AttemptChanged(status))
            elif isinstance(message, StopAttempt):
                for node, held in site.held.items():
                    if held.pop(message.attempt_id, None) is not None and node not in site.dead:
                        ended = AttemptStatus(
                            message.attempt_id, AttemptState.ENDED, node, signal=15
                        )
                        self.say(now + 0.01, site, AttemptChanged(ended))

    def say(self, when: float, site: Site, message: Any) -> None:
        self.at(when, ev.EdgeSaid(site.session, message, EPOCH + when))

    def tell(self, when: float, site: Site) -> None:
        heapq.heappush(self.events, (when, next(self.order), site))

    def submit(self, when: float) -> None:
        """A job of one task near to some node, with a backup."""
        self.jobs += 1
        site = self.rng.choice(self.sites)
        near = Near(f"{site.name}/{self.rng.choice(site.nodes)}", "", 0.015)
        task = TaskSpec(
            "main", ("x",), cpu_millis=self.rng.randrange(200, 2000),
            memory_bytes=self.rng.randrange(1, 8) * GIB, near=near, backup=True,
        )  # fmt: skip
        job_id = f"j{self.jobs}"
        self.at(
            when, ev.SubmitJob(self.jobs, job_id, job_id, JobSpec("job", (task,)), EPOCH + when)
        )

    def run(self, until: float) -> None:
        while self.events and self.events[0][0] <= until:
            now, _, event = heapq.heappop(self.events)
            if isinstance(event, Site):
                event = ev.EdgeSaid(event.session, event.told(), EPOCH + now)
            if isinstance(event, ev.Tick) and now >= self.timer:
                self.timer = float("inf")
            self.handle(event, now)


def bench(sites: int, nodes: int, tasks: int, seconds: float, seed: int) -> dict[str, Any]:
    """Microseconds by event type, once all tasks run; plans in milliseconds."""
    world = World(sites, nodes, seed)
    for site in world.sites:
        told = site.told()
        state = EdgeState(told.nodes, (), tuple(site.nodes), told.trips)
        world.at(0.1, ev.EdgeUp(site.session, EdgeHello(site.name, 1, "", ""), state, EPOCH))
    for index in range(tasks):
        world.submit(12.0 + index * 0.01)
    quiet = 20.0 + tasks * 0.02
    for second in range(1, int(quiet + seconds) + 1):
        for site in world.sites:
            world.tell(second + world.rng.random(), site)
    world.run(quiet)
    running = world.controller.counts().running
    world.timings.clear()
    world.solves.clear()
    for index in range(20):
        world.submit(quiet + index * 0.1)
    busiest = max(
        ((site, node) for site in world.sites for node in site.nodes),
        key=lambda one: len(one[0].held[one[1]]),
    )
    busiest[0].dead.add(busiest[1])
    gc.collect()
    world.run(quiet + seconds)
    world.controller.validate()
    report: dict[str, Any] = {
        name: figures(values) for name, values in sorted(world.timings.items())
    }
    report["(all)"] = figures([ns for values in world.timings.values() for ns in values])
    report["(plan, ms)"] = {
        name: value if name == "count" else value / 1000
        for name, value in figures(world.solves).items()
    }
    report["running"] = [running, world.controller.counts().running]
    return report


def figures(values: list[int]) -> dict[str, float]:
    """Of nanoseconds, in microseconds."""
    if not values:
        return {"count": 0}
    values = sorted(values)
    return {
        "count": len(values),
        "p50": round(values[len(values) // 2] / 1000, 1),
        "p99": round(values[int(len(values) * 0.99)] / 1000, 1),
        "max": round(values[-1] / 1000, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sites", type=int, default=50)
    parser.add_argument("--nodes", type=int, default=20, help="of each site")
    parser.add_argument("--tasks", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    tune_collector()
    found = bench(asked.sites, asked.nodes, asked.tasks, asked.seconds, asked.seed)
    json.dump(found, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
