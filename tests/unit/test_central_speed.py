"""What a handle() costs with a long queue: no event may walk through all jobs."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator

import pytest
from central_bench import EPOCH, SERVER, node, spec

from tango.algorithms.batch.most_free import MostFree
from tango.controllers.central import CentralController
from tango.model.commands import CentralCommand, Persist, Solve
from tango.model.events import BatchSolved, CancelJob, CentralEvent, EdgeUp, Persisted, SubmitJob
from tango.model.messages import EdgeHello, EdgeState
from tango.model.settings import CentralSettings

N_WAITING = 10_000


class Busy:
    """A central master without room, and the CPU time of each handle; nothing is validated."""

    def __init__(self, n_nodes: int = 20) -> None:
        self.central = CentralController(CentralSettings(SERVER), incarnation=1)
        self.now = 0.0
        self.ops = 0
        nodes = tuple(node(f"n{i}", cpu=2000, lc_held_millis=1900) for i in range(n_nodes))
        state = EdgeState(nodes, (), ())
        self.feed(EdgeUp(1, EdgeHello("e1", 1, "", ""), state, EPOCH))

    def feed(self, event: CentralEvent) -> tuple[float, list[CentralCommand]]:
        begin = time.thread_time()
        commands = self.central.handle(event, self.now)
        return time.thread_time() - begin, commands

    def submit(self) -> list[float]:
        """All handles of one submit until it is answered, and those of a solve that it causes."""
        self.now += 0.001
        self.ops += 1
        event = SubmitJob(self.ops, f"j{self.ops}", f"s{self.ops}", spec(), EPOCH + self.now)
        return self.drain(event)

    def drain(self, event: CentralEvent) -> list[float]:
        costs = []
        waiting = [event]
        while waiting:
            cost, commands = self.feed(waiting.pop())
            costs.append(cost)
            for command in commands:
                if isinstance(command, Persist):
                    waiting.append(Persisted(command.persist_id))
                elif isinstance(command, Solve):
                    plan = MostFree().place(command.snapshot)
                    waiting.append(BatchSolved(command.solve_id, plan, 0.0, EPOCH + self.now))
        return costs


@pytest.fixture
def busy() -> Iterator[Busy]:
    busy = Busy()
    for _ in range(N_WAITING):
        busy.submit()
    gc.collect()
    gc.disable()
    yield busy
    gc.enable()


def test_ten_thousand_waiting_jobs_do_not_slow_the_next_one(busy: Busy) -> None:
    assert busy.central.counts().pending == N_WAITING
    submits = sorted(cost for _ in range(300) for cost in busy.submit())
    cancels = []
    for number in range(50, 10_000, 50):
        cancels += busy.drain(CancelJob(10**6 + number, f"j{number}", EPOCH + busy.now))
    cancels.sort()
    for name, costs in (("submit", submits), ("cancel", cancels)):
        p50, p99 = costs[len(costs) // 2], costs[int(len(costs) * 0.99)]
        print(f"{name}: p50 {p50 * 1e6:.0f} us, p99 {p99 * 1e6:.0f} us, max {costs[-1] * 1e6:.0f}")
        assert p99 < 0.001
    begin = time.thread_time()
    assert len(busy.central.jobs(limit=1000)) == 1000
    assert time.thread_time() - begin < 0.05
