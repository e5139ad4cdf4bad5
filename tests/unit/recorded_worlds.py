"""Worlds whose controllers are recorded: what began them, every event with its time, and a log."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import central_bench
import worker_world
from edge_world import EdgeWorld, service, settings, start

from tango.adapters.bound_rules import bound_rule
from tango.adapters.policies import batch_policy, traffic_policy
from tango.adapters.recording import RecordingWriter
from tango.controllers.central import CentralController
from tango.controllers.edge import EdgeController
from tango.controllers.worker import WorkerController
from tango.model.decision import line
from tango.model.job import Near
from tango.model.placement_profile import DEFAULT
from tango.model.plan import marks_of
from tango.model.round_trips import EdgeTrip
from tango.model.service import QuotaMode
from tango.model.settings import CentralSettings, RecordSettings
from tango.model.starts import CentralStart, EdgeStart, Life, Start, WorkerStart

Events = list[tuple[float, Any]]


class Bug:
    """A controller that raises."""

    def handle(self, event: object, now: float) -> float:
        return 1 / 0


@contextlib.contextmanager
def taped(kind: Any) -> Iterator[Callable[[Any], Events]]:
    """Every controller of that kind is taped meanwhile; what is yielded gives the tape of one."""
    tapes: dict[Any, Events] = {}
    handle = kind.handle

    def tape(controller: Any, event: Any, now: float) -> Any:
        tapes.setdefault(controller, []).append((now, event))
        return handle(controller, event, now)

    kind.handle = tape
    try:
        yield tapes.__getitem__
    finally:
        kind.handle = handle


def log_of(controller: Any) -> list[str]:
    return [line(record) for record in controller.decisions.since(0)]


def edge_story(policy: str = "least-loaded") -> tuple[Start, Events, list[str]]:
    """Two services on four nodes, queues, rejections, a task, a drain, a node that goes."""
    with taped(EdgeController) as tape:
        world = EdgeWorld(seed=3, traffic_policy=policy)
        world.policy = traffic_policy(policy)
        workers = [world.worker(f"n{number}") for number in range(4)]
        world.central_up()
        for name in ("web", "api"):
            world.apply(service(name, replicas=4, concurrency=2, cpu_per_request_millis=90))
        for number in range(80):
            world.call(
                ("web", "api")[number % 2], f"r{number}", deadline_s=0.05, body=b"x" * number
            )
            if number % 9 == 0:
                world.advance(0.01)
                for worker in workers:
                    worker.done(service_s=0.008)
        world.central_says(start("j1.0.1", "n1"))
        world.cordon("n3", drain=True)
        world.roll()
        workers[2].down()
        world.advance(1.0)
        while any(worker.serving for worker in workers):
            for worker in workers:
                worker.done(service_s=0.008)
            world.advance(0.01)
    begun = EdgeStart(settings(traffic_policy=policy), incarnation=7, seed=3)
    return begun, tape(world.controller), log_of(world.controller)


def central_story(policy: str = "most-free") -> tuple[Start, Events, list[str]]:
    with taped(CentralController) as tape:
        bench = central_bench.Bench(policy=batch_policy(policy))
        bench.central.policy = policy
        for number in range(6):
            job = central_bench.spec(cpu=900, retries=1)
            if policy == "node":
                named = (replace(task, node=f"n{number % 2}") for task in job.tasks)
                job = replace(job, tasks=tuple(named))
            bench.submit(f"j{number}", job)
        bench.submit("urgent", central_bench.spec(cpu=1900, priority=9))
        bench.edge_up(*(central_bench.node(f"n{number}") for number in range(2)))
        first, *others = bench.starts()
        bench.refuse(first)
        for attempt in others:
            bench.status(central_bench.running(attempt))
        bench.status(central_bench.ended(others[0], 3))
        bench.cancel("j2")
        bench.advance(5.0)
    plain = CentralSettings(central_bench.SERVER, batch_policy=policy, max_jobs_waiting=1000)
    begun = CentralStart(plain, incarnation=1, seed=7, **marks_of(bench.policy))
    return begun, tape(bench.central), log_of(bench.central)


def bounds_story() -> tuple[Start, Events, list[str]]:
    """Tasks with bounds and backups; a plan that comes late, a node that dies, a bound broken."""
    rule = bound_rule(DEFAULT)
    near = Near("n0", "", 0.005)
    with taped(CentralController) as tape:
        bench = central_bench.Bench(bound_rule=rule)

        def tell(rtt_s: float, *, dead: bool = False) -> None:
            views = [central_bench.node(f"n{number}") for number in range(3)]
            views[0] = replace(views[0], dead=dead, ready=not dead)
            trips = [EdgeTrip(f"e1/n{number}", rtt_s * number / 2 + 0.001) for number in range(3)]
            if bench.central.edge_views():
                bench.nodes(*views, trips=tuple(trips))
            else:
                bench.edge_up(*views, trips=tuple(trips))
            bench.advance(1.0)

        tell(0.001)
        for number in range(4):
            job = central_bench.spec(cpu=700, n_tasks=1 + number % 2)
            tasks = [replace(task, near=near, backup=True) for task in job.tasks]
            bench.submit(f"j{number}", replace(job, tasks=tuple(tasks)))
            bench.advance(0.2)
        for attempt in bench.starts():
            bench.status(central_bench.running(attempt))
        bench.hold_solves = True
        bench.submit("late", replace(job, tasks=tuple(tasks)))
        bench.advance(0.2)
        bench.cancel("j1")
        tell(0.001, dead=True)
        bench.hold_solves = False
        while bench.solves:
            bench.solve()
        bench.advance(6.0)
        for _ in range(4):
            tell(0.050)
    plain = CentralSettings(central_bench.SERVER, max_jobs_waiting=1000)
    begun = CentralStart(plain, incarnation=1, seed=7, **marks_of(bench.policy))
    return begun, tape(bench.central), log_of(bench.central)


def worker_story() -> tuple[Start, Events, list[str]]:
    with taped(WorkerController) as tape:
        world = worker_world.World()
        world.connect()
        spec = worker_world.service(quota=QuotaMode.FOLLOW, concurrency=8, quota_base_millis=100)
        world.aim(*(worker_world.target(spec, number) for number in range(2)))
        world.dispatch(*(f"r{number}" for number in range(9)))
        for number in range(9):
            world.finish(f"r{number}")
        world.start_attempt("j1.0.1")
        world.end("j1.0.1", 3)
        key = next(key for key in world.running() if key.startswith("hello-0"))
        world.end(key, 1)
        world.advance(3.0)
    begun = WorkerStart(
        world.settings,
        incarnation=world.incarnation,
        seed=7,
        key="k",
        capacity=worker_world.CAPACITY,
        enforcement=worker_world.Enforcement.CGROUP,
        features=world.features,
    )
    return begun, tape(world.controller), log_of(world.controller)


STORIES: dict[str, Callable[[], tuple[Start, Events, list[str]]]] = {
    "edge": edge_story,
    "central": central_story,
    "bounds": bounds_story,
    "worker": worker_story,
}


def recorded(folder: Path, begun: Start, events: Events, **bounds: Any) -> Path:
    """The file of a recording of these."""
    life = Life("edge site-a", begun.incarnation, events[0][0], 1_700_000_000.5)
    writer = RecordingWriter(RecordSettings(str(folder), **bounds), life, begun, "0.1")
    writer.add(events)
    writer.close()
    return writer.path
