"""Whole cores after any sequence of submit, finish, fail, cancel, drain, leave, switch and restart:
none is booked twice, none leaks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from central_bench import Bench, ended, running
from cores_bench import asks, free, named, worker
from hypothesis import given, settings
from hypothesis import strategies as st

from tango.adapters.policies import batch_policy
from tango.model.cluster import NodeView
from tango.model.events import PolicySwitched
from tango.model.messages import NodesChanged, StartAttempt, StopAttempt
from tango.model.plan import marks_of

STRATEGIES = (
    "first-fit", "best-fit", "first-fit-decreasing", "best-fit-decreasing", "node", "priority",
    "most-free",
)  # fmt: skip
SIZES = {"w1": 4, "w2": 3, "w3": 2}
LOST_S = 30.0


class Site:
    """One edge at work: what it was told, what runs where, which nodes are away or drained."""

    def __init__(self, policy: str) -> None:
        self.policy = policy
        self.live: dict[str, StartAttempt] = {}
        self.away: set[str] = set()
        self.draining: set[str] = set()
        self.bench = Bench(policy=batch_policy(policy), max_overtaken=2)
        self.session = 0
        self.dial()

    def views(self) -> tuple[NodeView, ...]:
        return tuple(self._view(name) for name in SIZES)

    def _view(self, name: str) -> NodeView:
        here = [one for one in self.live.values() if one.node == name]
        cores = [core for one in here for core in one.cores]
        assert len(cores) == len(set(cores)), f"{name}: a core of two attempts"
        assert len(cores) <= SIZES[name]
        return worker(
            name,
            SIZES[name],
            ready=name not in self.away,
            dead=name in self.away,
            cordoned=name in self.draining,
            draining=name in self.draining,
            be_held_millis=sum(one.spec.cpu_millis for one in here),
            be_memory_bytes=sum(one.spec.memory_bytes for one in here),
            be_tasks=len(here),
            be_cores=tuple(sorted(cores)),
        )

    def dial(self) -> None:
        self.session += 1
        attempts = tuple(running(one) for one in self.live)
        self.bench.edge_up(*self.views(), session=self.session, attempts=attempts)
        self.go_on()

    def restart(self) -> None:
        """kill -9 of the central master; what it has on disk stays."""
        old = self.bench
        self.bench = Bench(old.disk, policy=batch_policy(self.policy), max_overtaken=2)
        self.bench.now = old.now
        self.dial()

    def say(self) -> None:
        self.bench.say(NodesChanged(self.views()), self.session)

    def end(self, attempt_id: str, exit_code: int | None) -> None:
        if self.live[attempt_id].node in self.away:
            return
        del self.live[attempt_id]
        self.bench.status(
            ended(attempt_id, exit_code, signal=15 * (exit_code is None)), self.session
        )

    def switch(self, policy: str) -> None:
        self.policy = policy
        self.bench.policy = batch_policy(policy)
        self.bench.feed(PolicySwitched(policy, **marks_of(self.bench.policy)))

    def go_on(self, seconds: float = 0.3) -> None:
        """Carry out what was sent, until nothing more is."""
        for _ in range(100):
            self.say()
            self.bench.advance(seconds)
            sent, self.bench.sent = self.bench.sent, []
            for _, message in sent:
                if isinstance(message, StartAttempt) and message.node not in self.away:
                    self.live[message.attempt_id] = message
                    self.bench.status(running(message.attempt_id), self.session)
                elif isinstance(message, StopAttempt) and message.attempt_id in self.live:
                    self.end(message.attempt_id, None)
            self.views()
            if not any(isinstance(one, StartAttempt | StopAttempt) for _, one in sent):
                return
        raise AssertionError("starts and stops without end")


def draw_job(draw: Any) -> Any:
    priority = draw(st.integers(0, 2))
    name = draw(st.sampled_from(["", "", *SIZES]))
    if not name:
        sizes = draw(st.lists(st.integers(0, 4), min_size=1, max_size=3))
        job = asks(*sizes, priority=priority)
    elif draw(st.booleans()):
        job = named(name, cores=draw(st.integers(1, SIZES[name])))
    else:
        ids = st.sets(st.integers(0, SIZES[name] - 1), min_size=1)
        job = named(name, tuple(sorted(draw(ids))))
    return replace(job, priority=priority, retries=draw(st.integers(0, 1)))


@given(policy=st.sampled_from(STRATEGIES), data=st.data())
@settings(max_examples=120, deadline=None)
def test_cores_come_and_go(policy: str, data: st.DataObject) -> None:
    draw = data.draw
    site = Site(policy)
    jobs = 0
    kinds = ["submit"] * 4 + ["finish", "fail", "cancel", "drain", "leave", "switch", "restart"]
    for _ in range(draw(st.integers(1, 12))):
        event = draw(st.sampled_from(kinds))
        if event == "submit":
            jobs += 1
            site.bench.submit(f"j{jobs}", draw_job(draw))
        elif event in ("finish", "fail") and site.live:
            site.end(draw(st.sampled_from(sorted(site.live))), int(event == "fail"))
        elif event == "cancel" and jobs:
            site.bench.cancel(f"j{draw(st.integers(1, jobs))}")
        elif event == "drain":
            site.draining ^= {draw(st.sampled_from(sorted(SIZES)))}
        elif event == "leave":
            site.away ^= {draw(st.sampled_from(sorted(SIZES)))}
            site.go_on(LOST_S)
        elif event == "switch":
            site.switch(draw(st.sampled_from(STRATEGIES)))
        elif event == "restart":
            site.restart()
        site.go_on()
    site.away.clear()
    site.draining.clear()
    # What ran on a node that was given up is nobody's: it is stopped when the node is back.
    site.dial()
    for number in range(1, jobs + 1):
        site.bench.cancel(f"j{number}")
    site.go_on(2.0)
    assert not site.live
    for name, count in SIZES.items():
        offer = free(site.bench, name)
        assert offer is not None
        assert offer[:2] == ((1 << count) - 1, count * 1000), f"{name}: something leaked"
