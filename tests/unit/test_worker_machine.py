"""Random histories of a worker: targets, requests, attempts, deaths, reconnects and restarts.

Whatever happens: no process key runs twice, no replica has two processes, groups are made before
and removed after their processes, no quota is ever above its parent's, and every dispatch of a
session is answered exactly once. When all is quiet every quota is exactly at base, and when all has
ended and is acknowledged, nothing is left.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from worker_world import MIB, SETTINGS, World, dispatch, service, task

from tango.model import events as ev
from tango.model.job import AttemptState
from tango.model.messages import (
    AttemptChanged,
    Dispatches,
    ForgetLogs,
    PublishedShares,
    ReplicaTarget,
)
from tango.model.request import Code
from tango.model.service import HealthCheck as Health
from tango.model.service import QuotaMode, ReplicaState, ServiceSpec

SELDOM = {"health": Health(interval_s=20.0)}
FRAIL = {"health": Health(interval_s=5.0, failures=1, start_timeout_s=3.0)}
FOLLOW = QuotaMode.FOLLOW
SPECS = {
    ("a", 1): service("a", quota=FOLLOW, concurrency=3, **SELDOM),
    ("a", 2): service("a", quota=FOLLOW, concurrency=2, quota_base_millis=200, **FRAIL),
    ("a", 3): service("a", concurrency=2, memory_bytes=32 * MIB, **SELDOM),
    ("b", 1): service("b", concurrency=2, **FRAIL),
    ("b", 2): service("b", quota=FOLLOW, quota_base_millis=100, concurrency=20, **SELDOM),
    ("b", 3): service("b", stop_grace_s=0.5, **FRAIL),
}
PICKS = st.integers(0, 7)
EXITS = st.sampled_from(((0, 0), (1, 0), (None, 9), (None, 0)))


class WorkerMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        # Few reports: they are not what this is about.
        self.world = World(settings=replace(SETTINGS, control_interval_ms=5000))
        self.world.connect()
        self.generations = {"a": 1, "b": 1}
        self.wanted = ["a-0", "a-1", "b-0"]
        self.requests = 0
        self.dispatched: Counter[str] = Counter()
        self.attempts = 0
        self.acknowledged: set[str] = set()
        self.aim()

    # ---- the edge

    @rule()
    def reconnect(self) -> None:
        self.world.disconnect()
        self.dispatched.clear()
        self.world.connect()
        self.aim()

    @rule()
    def disconnect(self) -> None:
        self.world.disconnect()
        self.dispatched.clear()

    @rule(
        name=st.sampled_from("ab"),
        number=st.integers(0, 2),
        keep=st.sampled_from((True, True, False)),
        new=st.sampled_from((False, False, False, True)),
    )
    def retarget(self, name: str, number: int, keep: bool, new: bool) -> None:
        if new:
            self.generations[name] = min(3, self.generations[name] + 1)
        replica_id = f"{name}-{number}"
        if keep != (replica_id in self.wanted):
            (self.wanted.append if keep else self.wanted.remove)(replica_id)
        self.aim()

    def aim(self) -> None:
        if self.world.session is None:
            return
        self.world.aim(
            *(
                ReplicaTarget(replica_id, self.generations[replica_id[0]], self.spec(replica_id[0]))
                for replica_id in self.wanted
            )
        )

    def spec(self, name: str) -> ServiceSpec:
        return SPECS[name, self.generations[name]]

    @rule(name=st.sampled_from("ab"), many=st.integers(1, 5), again=st.booleans())
    def dispatch(self, name: str, many: int, again: bool) -> None:
        if self.world.session is None:
            return
        fresh = [f"r{self.requests + number}" for number in range(many)]
        self.requests += many
        self.dispatched.update(fresh)
        repeated = sorted(self.world.forwards)[:1] if again else []
        requests = tuple(dispatch(one, name) for one in (*repeated, *fresh))
        self.world.say(Dispatches(requests))

    @rule(name=st.sampled_from("ab"), number=st.integers(0, 2), slots=st.integers(0, 4))
    def publish(self, name: str, number: int, slots: int) -> None:
        if self.world.session is not None:
            self.world.say(PublishedShares(((f"{name}-{number}", slots),), 2.0))

    @rule(pick=PICKS, code=st.sampled_from((Code.OK, Code.UNAVAILABLE)))
    def finish(self, pick: int, code: Code) -> None:
        ids = sorted(self.world.forwards)
        if ids:
            self.world.finish(ids[pick % len(ids)], code)

    @rule(pick=PICKS)
    def cancel(self, pick: int) -> None:
        ids = sorted(self.world.forwards)
        if ids and self.world.session is not None:
            self.world.cancel(ids[pick % len(ids)])

    @rule(deadline_s=st.sampled_from((0.0, 0.0, 2.0)), fresh=st.booleans(), pick=PICKS)
    def start_attempt(self, deadline_s: float, fresh: bool, pick: int) -> None:
        if self.world.session is None:
            return
        if fresh:
            self.attempts += 1
        number = self.attempts if fresh else pick % (self.attempts + 1)
        self.world.start_attempt(f"j.0.{number}", task(deadline_s=deadline_s))

    @rule(pick=PICKS)
    def forget_logs(self, pick: int) -> None:
        """Of attempts that are known, and of some that never were."""
        known = [status.attempt_id for status in self.world.controller.attempts()]
        if self.world.session is not None:
            self.world.say(ForgetLogs("n", (*known[pick:], "never.0.1", "no-attempt")))

    @rule(pick=PICKS)
    def stop_attempt(self, pick: int) -> None:
        if self.world.session is not None:
            self.world.stop_attempt(f"j.0.{pick % (self.attempts + 2)}")

    @rule()
    def acknowledge(self) -> None:
        if self.world.session is None:
            return
        ended = [
            one.attempt_id
            for one in self.world.controller.attempts()
            if one.state is AttemptState.ENDED
        ]
        self.acknowledged.update(ended)
        self.world.acknowledge(*ended)

    # ---- the node

    @rule(ok=st.sampled_from((True, True, True, False)), lasting=st.booleans(), pick=PICKS)
    def answer_start(self, ok: bool, lasting: bool, pick: int) -> None:
        world = self.world
        if not world.starts:
            return
        spec = world.starts[pick % len(world.starts)]
        if ok or spec.key in world.records:
            world.begin(spec)
        else:
            world.refuse(spec, "no", lasting=lasting)

    @rule(ending=EXITS)
    def end_before_its_start_is_answered(self, ending: tuple[int | None, int]) -> None:
        world = self.world
        if not world.starts:
            return
        spec = world.starts[0]
        if spec.key in world.forgotten or spec.key in world.records:
            world.begin(spec)
            return
        world.begin_unheard(spec)
        early = world.records[spec.key]
        world.end(spec.key, *ending)
        world.post(ev.ProcessStarted(spec.key, early, int(dict(early.meta)["port"])))

    @rule(ok=st.sampled_from((True, True, True, False)), pick=PICKS)
    def answer_check(self, ok: bool, pick: int) -> None:
        if self.world.checks:
            check = self.world.checks[pick % len(self.world.checks)]
            self.world.answer(check, "" if ok else "refused")

    @rule(pick=PICKS, ending=EXITS, oom=st.booleans(), stopped=st.booleans())
    def end(self, pick: int, ending: tuple[int | None, int], oom: bool, stopped: bool) -> None:
        keys = sorted(self.world.stops) if stopped else self.world.running()
        if not keys:
            return
        key = keys[pick % len(keys)]
        if oom:
            self.world.groups[self.world.specs[key].group].oom_kills += 1
        self.world.end(key, *ending)

    @rule(began=st.booleans(), dies=st.integers(0, 3), ending=EXITS)
    def restart_worker(self, began: bool, dies: int, ending: tuple[int | None, int]) -> None:
        world = self.world
        world.disconnect()
        self.dispatched.clear()
        for spec in list(world.starts):
            if began and spec.key not in world.records:
                world.begin_unheard(spec)
        for key in world.running()[:dies]:
            world.die(key, *ending)
        world.boot()

    @rule(seconds=st.sampled_from((0.01, 0.2, 1.0, 7.0, 70.0)))
    def advance(self, seconds: float) -> None:
        self.world.advance(seconds)

    @rule(auto=st.booleans())
    def obey(self, auto: bool) -> None:
        """From now on everything that is asked is done at once, or nothing is."""
        self.world.auto = auto
        if auto:
            self.smooth()

    def smooth(self) -> None:
        world = self.world
        for spec in list(world.starts):
            world.begin(spec)
        for key in list(world.stops):
            world.end(key, None, 15)
        for check in list(world.checks):
            world.answer(check)

    # ---- what always holds

    @invariant()
    def nothing_runs_twice(self) -> None:
        assert all(times == 1 for times in self.world.begun.values())

    @invariant()
    def answers_and_requests_in_flight_are_the_dispatches(self) -> None:
        world = self.world
        assert all(times == 1 for times in world.answers.values())
        assert set(world.controller.in_flight()) == set(world.forwards)
        for request_id in self.dispatched:
            assert (request_id in world.answers) != (request_id in world.forwards)

    def teardown(self) -> None:
        world = self.world
        self.reconnect()
        world.auto = True
        for _ in range(3):
            self.smooth()
            for request_id in sorted(world.forwards):
                world.finish(request_id)
            world.advance(70.0)
        self.all_as_wanted()
        world.aim()
        for key in world.running():
            world.end(key)
        self.acknowledge()
        world.advance(2.0)
        self.nothing_is_left()

    def all_as_wanted(self) -> None:
        world = self.world
        assert [one.replica_id for one in world.controller.replicas()] == sorted(self.wanted)
        sums: Counter[str] = Counter()
        for status in world.controller.replicas():
            assert status.state is ReplicaState.READY
            assert status.generation == self.generations[status.service]
            spec = self.spec(status.service)
            base = spec.quota_base_millis if spec.quota is QuotaMode.FOLLOW else -1
            assert world.groups[f"lc/{status.service}/{status.replica_id}"].quota == base
            sums[status.service] += base
        for name, total in sums.items():
            assert world.groups[f"lc/{name}"].quota == max(total, -1)

    def nothing_is_left(self) -> None:
        world = self.world
        assert sorted(world.groups) == ["", "be", "lc"]
        assert world.records == {}
        assert world.controller.attempts() == ()
        assert world.controller.replicas() == ()
        world.sent.clear()
        world.advance(30.0)
        assert world.said(AttemptChanged) == []
        for attempt_id in sorted(self.acknowledged):
            world.start_attempt(attempt_id)
        assert all(times == 1 for times in world.begun.values())


WorkerMachine.TestCase.settings = settings(
    max_examples=40,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=(HealthCheck.too_slow,),
)
TestWorkerMachine = WorkerMachine.TestCase
