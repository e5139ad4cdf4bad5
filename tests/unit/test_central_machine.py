"""Random histories of the central master, with crashes, lost streams, failing disks and reboots.

Whatever happens: no acknowledged job is lost, no attempt id means two things or runs again after
its end was stored, nothing is acknowledged or started before it is on disk, no node is given more
than it has, nor one fixed port twice, and once everything is back every job ends and nothing is
left over.
"""

from __future__ import annotations

from central_world import World
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

EDGES = st.integers(0, 1)
PLACES = st.integers(0, 2)
PICKS = st.integers(0, 7)
PORTS = st.sampled_from(((), (), (80,), (80,), (80, 90)))


class CentralMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = self.make_world()
        for edge, node in self.world.places():
            edge.link(node)
        for edge in self.world.edges:
            self.world.connect(edge)
        for n_tasks, cpu in ((1, 400), (2, 400), (3, 100)):
            self.world.submit(n_tasks, cpu, retries=1, priority=0)

    def make_world(self) -> World:
        return World()

    @precondition(lambda self: self.world.jobs < 10)
    @rule(
        n_tasks=st.integers(1, 3),
        cpu=st.sampled_from((100, 400, 900)),
        retries=st.integers(0, 2),
        priority=st.integers(0, 1),
        cores=st.sampled_from((0, 0, 1, 1, 2)),
        node=st.sampled_from(("", "", "n1")),
        ports=PORTS,
    )
    def submit(
        self,
        n_tasks: int,
        cpu: int,
        retries: int,
        priority: int,
        cores: int,
        node: str,
        ports: tuple[int, ...],
    ) -> None:
        # More than fits even when nothing else runs would wait for ever.
        many = n_tasks if node != "n1" else 1 if ports else min(n_tasks, 1 + (cpu < 900))
        self.world.submit(
            min(many, 2 // cores) if cores else many, cpu, retries, priority, cores, node, ports
        )

    @rule(place=PLACES, port=st.sampled_from((80, 90)), on=st.booleans())
    def serve(self, place: int, port: int, on: bool) -> None:
        """A replica with a fixed port comes to a node, or goes."""
        edge, node = self.world.places()[place]
        edge.serve(node, port, on)

    @precondition(lambda self: self.world.jobs)
    @rule(pick=PICKS)
    def cancel(self, pick: int) -> None:
        self.world.cancel(pick)

    @precondition(lambda self: self.world.live())
    @rule(pick=PICKS, place=PICKS, dumps=st.sampled_from((True, True, False)))
    def migrate(self, pick: int, place: int, dumps: bool) -> None:
        self.world.migrate(pick, place, dumps)

    @precondition(lambda self: self.world.live())
    @rule(pick=PICKS)
    def fail_start(self, pick: int) -> None:
        self.world.fail_start(pick)

    @rule(ok=st.sampled_from((True, True, True, False)))
    def write(self, ok: bool) -> None:
        self.world.write(ok)

    @rule(how=st.sampled_from(("first", "first", "last", "fails")))
    def solve(self, how: str) -> None:
        self.world.solve(how)

    @rule(seconds=st.sampled_from((0.01, 0.3, 2.0, 11.0)))
    def advance(self, seconds: float) -> None:
        self.world.bench.advance(seconds)
        self.world.observe()

    @rule(edge=EDGES, up=st.booleans(), many=st.booleans())
    def deliver(self, edge: int, up: bool, many: bool) -> None:
        while self.world.deliver(self.world.edges[edge], up=up) and many:
            pass

    @rule(what=st.sampled_from(("disk", "policy", "e1", "e2")), held=st.booleans())
    def hold(self, what: str, held: bool) -> None:
        """What is not held goes on by itself after every rule."""
        (self.world.held.add if held else self.world.held.discard)(what)

    @precondition(lambda self: self.world.live())
    @rule(picks=st.lists(PICKS, min_size=1, max_size=5), exit_code=st.sampled_from((0, 0, 1)))
    def step(self, picks: list[int], exit_code: int) -> None:
        for pick in picks:
            self.world.step(pick, exit_code)

    @rule(
        what=st.sampled_from(
            (
                "connect",
                "disconnect",
                "restart",
                "restart and connect",
                "link",
                "unlink",
                "reboot",
                "crash",
                "die",
                "drain",
                "undrain",
            )
        ),
        place=PLACES,
        n_written=st.integers(0, 3),
    )
    def disturb(self, what: str, place: int, n_written: int) -> None:
        edge, node = self.world.places()[place]
        match what:
            case "connect":
                self.world.connect(edge)
            case "disconnect":
                self.world.disconnect(edge)
            case "restart":
                self.world.restart(edge)
            case "restart and connect":
                # As a rule central hears of it before the nodes have dialled in.
                self.world.restart(edge)
                self.world.connect(edge)
            case "link":
                edge.link(node)
            case "unlink":
                edge.unlink(node)
            case "reboot":
                self.world.reboot(edge, node)
            case "die":
                edge.die(node)
            case "drain" | "undrain":
                edge.drain(node, what == "drain")
            case _:
                self.world.crash(n_written)

    @rule()
    def back(self) -> None:
        """Everything is there again, with a stream of its own where it had none."""
        for edge, node in self.world.places():
            if not node.linked:
                edge.link(node)
            edge.drain(node, on=False)
        for edge in self.world.edges:
            if edge.session is None:
                self.world.connect(edge)

    @invariant()
    def flow(self) -> None:
        self.world.flow()

    def teardown(self) -> None:
        self.world.settle()


CentralMachine.TestCase.settings = settings(
    max_examples=20,
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestCentralMachine = CentralMachine.TestCase
