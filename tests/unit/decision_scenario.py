"""One story for an edge, a central master and a worker; prints every record of it, line by line.

Run as a program in processes with different hash seeds: what it prints must be the same.
"""

from __future__ import annotations

from dataclasses import replace

import central_bench
import worker_world
from edge_world import MIB, EdgeWorld, service, start
from site_world import Net, Site

from tango.adapters.bound_rules import bound_rule
from tango.model import events as ev
from tango.model.decision import line
from tango.model.placement_profile import DEFAULT
from tango.model.reassurance import ReassuranceRule
from tango.model.rebalance import RebalanceRule
from tango.model.request import Code
from tango.model.service import QuotaMode
from tango.model.settings import DecisionSettings


def edge_lines() -> list[str]:
    world = EdgeWorld(
        seed=3,
        decisions=DecisionSettings(ring=60_000),
        rebalance=RebalanceRule(patience_s=5.0, min_gain=1.0),
        reassurance=ReassuranceRule(window_s=0.05, min_samples=2),
    )
    workers = [world.worker(f"n{number}", cpu=500 + 250 * number) for number in range(4)]
    world.central_up()
    for name in ("web", "api", "db"):
        world.apply(service(name, replicas=5, concurrency=2, cpu_per_request_millis=90))
    world.apply(service("big", memory_bytes=8192 * MIB), ready=False)
    for number in range(60):
        world.call(("web", "api", "db")[number % 3], f"r{number}", deadline_s=0.05)
        if number % 7 == 0:
            world.advance(0.01)
            for worker in workers:
                worker.done(service_s=0.008)
    world.call("nobody", "lost")
    while any(worker.serving for worker in workers):
        for worker in workers:
            worker.done(service_s=0.008)
        world.advance(0.01)
    world.call("web", "back")
    world.advance(0.01)
    (holder,) = [worker for worker in workers if "back" in worker.serving]
    holder.done("back", code=Code.UNAVAILABLE, ran=False, error="busy")
    world.central_says(start("j1.0.1", "n1"))
    world.central_says(start("j2.0.1", "n2", cpu_millis=99_000))
    for number in range(4):
        world.central_says(start(f"j3.{number}.1", "n0", memory=150 * MIB))
    world.apply(service("fat", replicas=4, memory_bytes=500 * MIB))
    world.cordon("n3", drain=True)
    world.roll()
    workers[2].down()
    world.advance(1.0)
    world.apply(service("web", replicas=2, concurrency=1))
    world.roll()
    world.delete("api")
    # Back in service: it gets replicas again, and one that does not start.
    world.cordon("n3", off=True)
    for _ in range(40):
        world.advance(0.5)
        world.roll()
    world.delete("fat")
    world.cordon("n3", drain=True)
    world.roll()
    world.cordon("n3", off=True)
    world.advance(30.0)
    return [line(record) for record in world.controller.decisions.since(0)]


def neighbours() -> tuple[Net, Site, Site]:
    """Two sites with a node and two slots each, 20 ms apart and warm, the first one overloaded.

    It forwards some of "x0", "x1" ..., and "twin", which the second one serves already.
    """
    net = Net()
    a, b = net.site("site-a", "site-b"), net.site("site-b")
    spec = service(cpu_per_request_millis=100, concurrency=2, deadline_s=0.15, timeout_s=1.0)
    for site in (a, b):
        site.serving(f"{site.name[-1]}1", 0.01)
        site.apply(spec)
    net.link("site-a", "site-b", 0.02)
    net.advance(0.5)
    for site in (a, b):
        for _ in range(5):
            site.call()
            net.advance(0.05)
    net.advance(1.0)
    next(iter(b.workers.values())).service_s = 0.1
    b.call(request_id="twin")
    a.call(request_id="x0")
    a.call(request_id="x1")
    a.call(request_id="twin")
    net.advance(0.5)
    next(iter(b.workers.values())).service_s = 0.01
    for number in range(2, 8):
        a.call(request_id=f"x{number}")
    net.advance(0.5)
    return net, a, b


def site_lines() -> list[str]:
    _, a, b = neighbours()
    return [line(record) for site in (a, b) for record in site.controller.decisions.since(0)]


def central_lines() -> list[str]:
    bench = central_bench.Bench(bound_rule=bound_rule(DEFAULT))
    for number in range(6):
        bench.submit(f"j{number}", central_bench.spec(cpu=900, retries=1))
    bench.submit("never", central_bench.spec(cpu=64_000))
    bench.edge_up(*(central_bench.node(f"n{number}") for number in range(2)))
    first, *others = bench.starts()
    bench.refuse(first)
    for attempt in others:
        bench.status(central_bench.running(attempt))
    able = [central_bench.node(f"n{number}", cpu=9000, checkpoints=True) for number in range(2)]
    bench.nodes(*able)
    moves = others[0].partition(".")[0]
    bench.migrate(moves, "n1" if bench.job(moves).tasks[0].node == "n0" else "n0")
    error = replace(central_bench.running(others[0]), checkpoint_try=1, checkpoint_error="no")
    bench.status(error)
    bench.nodes(central_bench.node("n0", draining=True, cordoned=True), central_bench.node("n1"))
    bench.status(central_bench.ended(others[0], 3))
    bench.cancel("j2")
    protected = replace(central_bench.spec().tasks[0], cpu_millis=100, backup=True)
    bench.submit("bound", replace(central_bench.spec(), tasks=(protected,)))
    bench.advance(5.0)
    bench.edge_up(session=2, incarnation=2, complete=())
    bench.advance(30.0)
    return [line(record) for record in bench.central.decisions.since(0)]


def worker_lines() -> list[str]:
    world = worker_world.World(settings=replace(worker_world.SETTINGS, cap_be=True))
    world.connect()
    spec = worker_world.service(quota=QuotaMode.FOLLOW, concurrency=8, quota_base_millis=100)
    world.aim(*(worker_world.target(spec, number) for number in range(2)))
    world.dispatch(*(f"r{number}" for number in range(9)))
    for number in range(9):
        world.finish(f"r{number}")
    world.dispatch("x", name="nobody")
    world.start_attempt("j1.0.1", replace(worker_world.task(), cpu_millis=50))
    world.start_attempt("j2.0.1")
    world.stop_attempt("j1.0.1", "cancelled")
    world.end("j2.0.1", 3)
    world.acknowledge("j2.0.1")
    world.start_attempt("j2.0.1")
    key = next(key for key in world.running() if key.startswith("hello-0"))
    world.end(key, 1)
    world.advance(3.0)
    world.aim()
    world.post(ev.Tick())
    return [line(record) for record in world.controller.decisions.since(0)]


def story() -> list[str]:
    return [*edge_lines(), *site_lines(), *central_lines(), *worker_lines()]


if __name__ == "__main__":
    print("\n".join(story()))
