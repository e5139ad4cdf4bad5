"""The edge controller under random events: its books agree after each, and every call ends once."""

from __future__ import annotations

from dataclasses import replace

from edge_world import MIB, EdgeWorld, FakeWorker, service, start
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tango.model import events as ev
from tango.model.job import AttemptState, AttemptStatus
from tango.model.messages import (
    AckEnds,
    AttemptChanged,
    ReplicaChanged,
    StartAttempt,
    StopAttempt,
    WorkerPing,
    WorkerPong,
    WorkerState,
)
from tango.model.peers import GuestSaid, GuestUp, PeerHello, PeerPing
from tango.model.plan import Route, TrafficPlan
from tango.model.rebalance import RebalanceRule
from tango.model.request import Code
from tango.model.routes import ReplicaTally
from tango.model.service import QuotaMode, ReplicaState, ServiceSpec

NODES = ("n1", "n2", "n3")
SERVICES = ("a", "b")

specs = st.builds(
    service,
    st.sampled_from(SERVICES),
    replicas=st.sampled_from((3, 4, 2, 0)),
    concurrency=st.integers(1, 3),
    cpu_per_request_millis=st.sampled_from((100, 300, 700)),
    memory_bytes=st.sampled_from((32 * MIB, 100 * MIB)),
    memory_per_request_bytes=st.sampled_from((0, 50 * MIB)),
    deadline_s=st.sampled_from((0.05, 0.5)),
    timeout_s=st.sampled_from((0.5, 3.0)),
    priority=st.integers(0, 1),
    idempotent=st.booleans(),
    max_queue=st.sampled_from((100, 3, 0)),
    port=st.sampled_from((0, 0, 80)),
    quota=st.sampled_from((QuotaMode.NONE, QuotaMode.NONE, QuotaMode.FOLLOW)),
)
RULE = RebalanceRule(settle_s=0.1, patience_s=2.0, min_gain=1.0)
nodes = st.sampled_from(NODES)
names = st.sampled_from(SERVICES)


class EdgeMachine(RuleBasedStateMachine):
    """Events in any order; EdgeWorld validates the books and the commands after each."""

    @initialize(
        first=specs,
        second=specs,
        persist=st.booleans(),
        solve=st.booleans(),
        local=st.sets(st.sampled_from(NODES)),
    )
    def begin(
        self, first: ServiceSpec, second: ServiceSpec, persist: bool, solve: bool, local: set[str]
    ) -> None:
        self.world = EdgeWorld(max_queue=20, rebalance=RULE, loopback="here")
        self.all = {
            name: FakeWorker(self.world, name, cpu, memory * MIB)
            for name, cpu, memory in zip(NODES, (1000, 500, 100), (600, 300, 1000), strict=True)
        }
        self.attempts = 0
        self.followers: list[int] = []
        self.strangers = 0
        self.guests = 0
        self.world.central_up()
        for worker in self.all.values():
            worker.loopback = "here" if worker.node in local else "elsewhere"
            worker.up()
        self.world.apply(replace(first, name="a"))
        self.world.apply(replace(second, name="b"))
        self.world.auto_persist = persist
        self.world.auto_solve = solve

    def live(self, name: str) -> FakeWorker | None:
        worker = self.all[name]
        return worker if self.world.workers.get(worker.session) is worker else None

    # ---- services

    @rule(spec=specs, ready=st.booleans())
    def apply(self, spec: ServiceSpec, ready: bool) -> None:
        self.world.apply(spec, ready=ready)

    @rule(name=names, spec=specs, back=st.booleans())
    def delete(self, name: str, spec: ServiceSpec, back: bool) -> None:
        self.world.delete(name)
        if back:
            self.world.apply(replace(spec, name=name))

    @precondition(lambda self: self.world.persists)
    @rule(fails=st.booleans())
    def persist(self, fails: bool) -> None:
        self.world.persist("disk full" if fails else "")

    @rule(name=nodes, drain=st.booleans(), off=st.booleans())
    def cordon(self, name: str, drain: bool, off: bool) -> None:
        self.world.cordon(name, drain=drain and not off, off=off)
        self.world.controller.drain_view(name)

    @rule(slow=st.booleans())
    def leave(self, slow: bool) -> None:
        """Replicas that shall go take their time, or go at once."""
        self.world.auto_gone = not slow

    # ---- workers

    @rule(name=nodes, forgets=st.booleans(), stranger=st.booleans(), restarts=st.booleans())
    def up(self, name: str, forgets: bool, stranger: bool, restarts: bool) -> None:
        worker = self.all[name]
        if forgets:
            for request_id in list(worker.serving)[::2]:
                del worker.serving[request_id]
        if restarts:
            worker.incarnation += 1
        state = worker.state()
        if stranger:
            self.strangers += 1
            ids = (*state.in_flight, f"stranger-{self.strangers}")
            state = WorkerState(state.replicas, state.attempts, ids)
        worker.up(state=state)

    @rule(name=nodes)
    def down(self, name: str) -> None:
        worker = self.live(name)
        if worker is not None:
            del self.world.workers[worker.session]
            worker.down()

    @rule(name=nodes, state=st.sampled_from(ReplicaState))
    def replica(self, name: str, state: ReplicaState) -> None:
        worker = self.live(name)
        if worker is not None and worker.replicas:
            replica_id = min(worker.replicas)
            worker.replicas[replica_id] = replace(worker.replicas[replica_id], state=state)
            worker.say(ReplicaChanged(worker.replicas[replica_id]))

    @rule(count=st.integers(1, 4))
    def served(self, count: int) -> None:
        """The common thing, made likely: calls that end well."""
        for worker in self.all.values():
            if worker.serving and self.live(worker.node):
                worker.done(*list(worker.serving)[:count], service_s=0.01)
        if self.world.direct:
            self.world.answer(*list(self.world.direct)[:count], service_s=0.01)

    @rule(
        name=nodes,
        count=st.integers(1, 4),
        code=st.sampled_from((Code.OK, Code.OK, Code.UNAVAILABLE, Code.CANCELLED, Code.INTERNAL)),
        ran=st.booleans(),
    )
    def done(self, name: str, count: int, code: Code, ran: bool) -> None:
        worker = self.live(name)
        if worker is not None:
            ids = (*list(worker.serving)[:count], "never-heard-of")
            worker.done(*ids, code=code, ran=ran or code is Code.OK, service_s=0.01)
        if self.world.direct:
            direct = list(self.world.direct)[:count]
            self.world.answer(*direct, code=code, ran=ran or code is Code.OK, service_s=0.01)

    @rule(name=nodes, way_s=st.sampled_from((0.0, 0.001, 0.02)))
    def pong(self, name: str, way_s: float) -> None:
        """A worker answers the pings that came with its reports."""
        worker = self.live(name)
        if worker is not None:
            worker.report()
            pings = worker.told(WorkerPing)
            self.world.advance(way_s)
            for ping in pings:
                if self.live(name):
                    worker.say(WorkerPong(ping.number))

    @rule()
    def guest(self) -> None:
        """Another site dials, and asks for an offer."""
        self.guests += 1
        session = 5000 + self.guests
        hello = PeerHello("site-b", self.guests, "0")
        self.world.do(GuestUp(session, hello))
        self.world.do(GuestSaid(session, PeerPing(1, wants_offer=True)))

    # ---- calls

    @rule(
        name=st.sampled_from((*SERVICES, *SERVICES, *SERVICES, "ghost")),
        count=st.integers(1, 6),
        deadline_s=st.sampled_from((0.0, 0.0, 1.0, 0.01, -1.0)),
        stream=st.booleans(),
        origin=st.sampled_from(("", "", "", "site-b")),
    )
    def call(self, name: str, count: int, deadline_s: float, stream: bool, origin: str) -> None:
        for _ in range(count):
            self.world.call(name, deadline_s=deadline_s, stream=stream, origin=origin)

    @precondition(lambda self: self.world.open_calls)
    @rule(again=st.booleans(), which=st.integers(0, 50))
    def cancel_or_repeat(self, again: bool, which: int) -> None:
        waiting = list(self.world.open_calls)
        request_id = waiting[which % len(waiting)]
        if again:
            self.world.call("a", request_id=request_id)
        else:
            self.world.cancel(request_id)

    @precondition(lambda self: self.world.solves)
    @rule(how=st.sampled_from(("good", "good", "failed", "wild")))
    def solve(self, how: str) -> None:
        if how == "good":
            self.world.solve()
            return
        solve_id = self.world.solves.popleft().solve_id
        if how == "failed":
            self.world.do(ev.SolveFailed(solve_id, "boom"))
        else:
            routes = tuple(Route(name, node, 5) for name in (*SERVICES, "x") for node in NODES)
            self.world.do(ev.RouteSolved(solve_id, TrafficPlan(routes), 0.0))

    @rule(seconds=st.sampled_from((0.002, 0.02, 0.3)))
    def wait(self, seconds: float) -> None:
        self.world.advance(seconds)

    @rule()
    def wait_in_silence(self) -> None:
        self.world.reporting = False
        self.world.advance(4.0)
        self.world.reporting = True
        self.world.reported_at = self.world.now

    @rule(name=names, count=st.integers(1, 6))
    def call_and_route(self, name: str, count: int) -> None:
        """The common thing, made likely: calls that get as far as a replica."""
        for worker in self.all.values():
            if self.live(worker.node):
                worker.ready()
        for _ in range(count):
            self.world.call(name)
        self.world.advance(0.002)
        while self.world.solves:
            self.world.solve()

    # ---- followers of published routes

    @rule(name=st.sampled_from((*SERVICES, "x")), passive=st.booleans())
    def follow(self, name: str, passive: bool) -> None:
        if len(self.followers) < 4:
            self.followers.append(self.world.follow(name, passive=passive))

    @precondition(lambda self: self.followers)
    @rule(
        which=st.integers(0, 3),
        wanted=st.integers(0, 9),
        busy=st.integers(0, 4),
        stale=st.booleans(),
        last=st.sampled_from((False, False, False, True)),
    )
    def report(self, which: int, wanted: int, busy: int, stale: bool, last: bool) -> None:
        follower = self.followers[which % len(self.followers)]
        tables = self.world.tables[follower]
        slots = self.world.slots(follower) if tables else {}
        tallies = [ReplicaTally(name, min(busy, most)) for name, most in slots.items()]
        version = tables[0].version if stale and tables else None
        self.world.report(follower, wanted, *tallies, version=version, last=last)
        self.world.advance(0.06)

    @precondition(lambda self: self.followers)
    @rule(which=st.integers(0, 3))
    def unfollow(self, which: int) -> None:
        follower = self.followers.pop(which % len(self.followers))
        self.world.do(ev.FollowEnded(follower))

    # ---- BE

    @rule(
        name=nodes,
        cpu=st.sampled_from((50, 400)),
        memory=st.sampled_from((10, 300)),
        ports=st.sampled_from(((), (80,), (80, 90))),
    )
    def start(self, name: str, cpu: int, memory: int, ports: tuple[int, ...]) -> None:
        self.attempts += 1
        message = start(f"j{self.attempts}", name, cpu, memory * MIB)
        message = replace(message, spec=replace(message.spec, ports=ports))
        self.world.central_says(message)

    @rule(number=st.integers(1, 6), stop=st.booleans())
    def stop_or_acknowledge(self, number: int, stop: bool) -> None:
        name = f"j{number}"
        self.world.central_says(StopAttempt(name) if stop else AckEnds((name,)))

    @rule(name=nodes, state=st.sampled_from(AttemptState))
    def attempt(self, name: str, state: AttemptState) -> None:
        worker = self.live(name)
        if worker is not None:
            for message in worker.told(StartAttempt):
                status = AttemptStatus(
                    message.attempt_id,
                    state,
                    cpu_millis=message.spec.cpu_millis,
                    memory_bytes=message.spec.memory_bytes,
                    ports=message.spec.ports,
                )
                worker.attempts[message.attempt_id] = status
                worker.say(AttemptChanged(status))

    @rule(up=st.booleans())
    def central(self, up: bool) -> None:
        if up:
            self.world.central_up()
        else:
            self.world.do(ev.CentralDown(900, "cut"))

    @invariant()
    def moves(self) -> None:
        assert len(self.world.controller.books.moving) <= RULE.max_moves

    def teardown(self) -> None:
        """Let everything end: every call has its one reply, nothing is held any more."""
        world = self.world
        world.auto_persist = world.auto_solve = world.reporting = world.auto_gone = True
        while world.persists:
            world.persist()
        while world.solves:
            world.solve()
        for worker in self.all.values():
            worker.up()
        for name in NODES:
            world.cordon(name, off=True)
        for follower in self.followers:
            world.do(ev.FollowEnded(follower))
        for _ in range(300):
            for worker in self.all.values():
                if worker.serving:
                    worker.done()
            if world.direct:
                world.answer()
            world.advance(0.02)
        world.advance(4000 if world.open_calls else 0)
        assert world.open_calls == {}
        counts = world.controller.counts
        ends = counts.completed + counts.late + counts.rejected + counts.failed
        arrived = sum(isinstance(event, ev.CallArrived) for event, _ in world.log)
        assert counts.sent == ends == arrived
        for node in world.controller.node_views():
            assert node.lc_held_millis == 0
            assert node.ready
        self.rolled_out()

    def rolled_out(self) -> None:
        """Nothing stands in the way any more: every service is what was declared last."""
        world = self.world
        for _ in range(20):
            world.advance(1.1)
            world.roll()
        for view in world.controller.service_views():
            assert len(view.replicas) == view.spec.replicas
            placed = [one for one in view.replicas if one.node]
            # Its fixed port may be another's everywhere, or there be fewer nodes: it serves on.
            new = all(one.status.generation == view.generation for one in placed)
            why = ("port 80 is taken by", "its port is fixed, so a node takes only one")
            assert new or any(one in view.reason for one in why), view.reason
            assert view.ready == len(placed)
            assert view.ready == view.spec.replicas or "no room" in view.reason
        running = [name for worker in self.all.values() for name in worker.replicas]
        wanted = [
            one.status.replica_id
            for view in world.controller.service_views()
            for one in view.replicas
            if one.node
        ]
        assert sorted(running) == sorted(wanted), "a replica runs twice, or nowhere"


TestEdgeMachine = EdgeMachine.TestCase
TestEdgeMachine.settings = settings(
    max_examples=25,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
