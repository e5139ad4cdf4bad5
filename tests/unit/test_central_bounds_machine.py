"""Random histories as of `test_central_machine`, with tasks that have delay bounds and backups.

Beside all that holds there: what attempts hold and what is reserved for backups and for tasks on
their way is never more than a node has; and when all jobs have ended, nothing is reserved.
"""

from __future__ import annotations

from central_world import World
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from test_central_machine import PLACES, PORTS, CentralMachine

from tango.adapters.bound_rules import bound_rule
from tango.model.job import Near
from tango.model.placement_profile import DEFAULT

RULE = bound_rule(DEFAULT)
WITHIN = st.sampled_from((0.0, 0.003, 0.020))
NEAR = st.builds(Near, node=st.sampled_from(("e1/n1", "n2", "e2/n1")), within_s=WITHIN) | st.builds(
    Near, service=st.just("web"), within_s=WITHIN
)
NEAR_FIRST = st.builds(Near, task=st.just("t0"), within_s=WITHIN)


class BoundMachine(CentralMachine):
    def make_world(self) -> World:
        return World(RULE)

    @precondition(lambda self: self.world.jobs < 12)
    @rule(
        near=st.lists(st.none() | NEAR_FIRST, max_size=2),
        first=st.none() | NEAR,
        backups=st.lists(st.booleans(), min_size=3, max_size=3),
        cpu=st.sampled_from((100, 200, 300)),
        retries=st.integers(0, 2),
        cores=st.sampled_from((0, 0, 1, 2)),
        node=st.sampled_from(("", "", "n1", "n2")),
        ports=PORTS,
    )
    def submit_bound(
        self,
        near: list[Near | None],
        first: Near | None,
        backups: list[bool],
        cpu: int,
        retries: int,
        cores: int,
        node: str,
        ports: tuple[int, ...],
    ) -> None:
        bounds = [first, *near][: 2 // cores if cores else 3]
        if first is not None:
            # Whatever is measured, its node must be within its bound in the end.
            node = ""
        backed = backups[: len(bounds)]
        self.world.submit_bound(bounds, backed, cpu, retries, cores, node, ports)

    @rule(
        node=st.sampled_from((("e1", "n1"), ("e1", "n2"), ("e2", "n1"))),
        rtt_s=st.sampled_from((0.001, 0.050)),
    )
    def measure(self, node: tuple[str, str], rtt_s: float) -> None:
        """A node is so far from its edge for long."""
        edge = next(one for one in self.world.edges if one.name == node[0])
        edge.rtt_s[node[1]] = rtt_s
        for _ in range(4):
            edge.say(edge.told())
            self.world.bench.advance(1.0)
            self.world.flow()

    @rule(place=PLACES, on=st.booleans(), long=st.booleans())
    def replica(self, place: int, on: bool, long: bool) -> None:
        """A service has a ready replica on a node or not, for long perhaps."""
        edge, node = self.world.places()[place]
        edge.ready(node, "web", on)
        for _ in range(5 if long else 1):
            edge.say(edge.told())
            self.world.bench.advance(1.0)
            self.world.flow()

    @rule(max_moves=st.sampled_from((0, 1, 10)), apply=st.sampled_from((True, True, False)))
    def improve(self, max_moves: int, apply: bool) -> None:
        """A better plan for what runs; others may be on their way, and are not overrun by it."""
        self.world.bench.improve(max_moves, apply=apply)
        self.world.observe()


TestBounds = BoundMachine.TestCase
TestBounds.settings = settings(
    max_examples=30,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
