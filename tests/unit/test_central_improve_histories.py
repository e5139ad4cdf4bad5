"""Better plans in random histories with crashes, drains, lost streams and slow disks.

What `central_world` checks at each step holds throughout: no node holds and keeps more than it has,
of no task two attempts are wanted at once, and the books say what is on disk. Beside that, nothing
is stopped for a better plan before its new place is on disk, and at the end nothing is under way.
"""

from __future__ import annotations

import random
from collections import Counter

import pytest
from central_world import Edge, Node, World
from test_central_bounds import RULE

from tango.controllers.central.bound_carry import BETTER, Carrier
from tango.model.improvement import ImproveView, MoveState
from tango.model.job import AttemptState, Near
from tango.model.placements import BoundRecord

NEAR = Near(node="e1/n1", within_s=0.020)
ACTIONS = {
    "crowd": 4, "submit": 2, "begin": 8, "end": 3, "improve": 7, "advance": 4, "drain": 0.5,
    "undrain": 3, "crash": 0.5, "connect": 3, "disconnect": 0.5, "die": 0.5, "link": 3, "hold": 2,
    "release": 4, "cancel": 0.5, "far": 0.2, "near": 1,
}  # fmt: skip


class Wide(World):
    """Five nodes. stopped: how many tasks, for a better plan; compared with what is on disk."""

    def __init__(self) -> None:
        super().__init__(RULE)
        names = {"e1": ("n1", "n2", "n3"), "e2": ("n1", "n2")}
        self.edges = [Edge(edge, [Node(name) for name in nodes]) for edge, nodes in names.items()]
        self.stopped = 0
        for edge, node in self.places():
            edge.link(node)
        for edge in self.edges:
            self.connect(edge)

    def stops(self, name: str, target: str, reason: str) -> None:
        """Central is about to mark this task as one that is stopped."""
        self.stopped += reason.startswith(BETTER)
        kept = self.bench.kept["bound", name]
        assert isinstance(kept, BoundRecord)
        assert kept.node == target, "stopped before its new place is on disk"
        if kept.backup:
            assert ("reservation", kept.backup) in self.bench.kept


def crowd(world: World, rng: random.Random) -> None:
    """Some begin while most nodes are out of service: better plans are to be had afterwards."""
    places = world.places()
    for edge, node in places:
        edge.drain(node, on=True)
    for edge, node in rng.sample(places, 2):
        edge.drain(node, on=False)
    world.flow()
    for _ in range(2):
        world.submit_bound([NEAR], [True], 100, 1)
        world.bench.advance(0.2)
        world.flow()
    for edge, node in places:
        edge.drain(node, on=False)
    for pick in [at for at, one in enumerate(world.live()) if not one[2].started_at]:
        world.step(pick, 0)


def lived(seed: int, n_steps: int) -> tuple[Counter[MoveState], int]:
    """One history; what became of moves, and how many tasks were stopped for them."""
    world = Wide()
    stop = Carrier._stop

    def checked(self: Carrier, name: str, target: str, reason: str) -> None:
        world.stops(name, target, reason)
        stop(self, name, target, reason)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Carrier, "_stop", checked)
        return _lived(world, random.Random(seed), n_steps)


def _lived(world: Wide, rng: random.Random, n_steps: int) -> tuple[Counter[MoveState], int]:
    seen: dict[tuple[int, int], ImproveView] = {}
    plans = 0
    for _ in range(n_steps):
        edge, node = rng.choice(world.places())
        (action,) = rng.choices(list(ACTIONS), list(ACTIONS.values()))
        match action:
            case "submit" if world.jobs < 14:
                near = [rng.choice((NEAR, NEAR, None)) for _ in range(rng.choice((1, 1, 2)))]
                world.submit_bound(near, [True] * len(near), rng.choice((100, 300)), 1)
            case "crowd" if world.jobs < 12:
                crowd(world, rng)
            case "begin" | "end":
                wanted = AttemptState.STARTING if action == "begin" else AttemptState.RUNNING
                picks = [at for at, one in enumerate(world.live()) if one[2].state is wanted]
                if picks:
                    world.step(rng.choice(picks), 0)
            case "improve":
                plans += 1
                world.bench.improve(rng.choice((0, 1, 10)), apply=rng.random() < 0.8)
            case "drain" | "undrain":
                edge.drain(node, on=action == "drain")
            case "crash":
                world.crash(rng.randrange(3))
            case "connect" if edge.session is None:
                world.connect(edge)
            case "disconnect":
                world.disconnect(edge)
            case "die":
                edge.die(node)
            case "link" if not node.linked:
                edge.link(node)
            case "hold":
                world.held.add(rng.choice(("disk", "policy", "e1", "e2")))
            case "release":
                world.held.clear()
            case "cancel":
                world.cancel(rng.randrange(14))
            case "far" | "near":
                edge.rtt_s[node.name] = 0.050 if action == "far" else 0.001
                for _ in range(4):
                    edge.say(edge.told())
                    world.bench.advance(1.0)
            case "advance":
                world.bench.advance(rng.choice((0.1, 1.0, 3.0)))
        world.observe()
        world.flow()
        view = world.bench.central.improvement
        if view is not None:
            seen[world.crashes, plans] = view
    world.held.clear()
    world.settle()
    view = world.bench.central.improvement
    assert view is None or view.done
    states = Counter(move.state for view in seen.values() for move in view.moves)
    return states, world.stopped


def test_better_plans_in_random_histories() -> None:
    states: Counter[MoveState] = Counter()
    stopped = 0
    for seed in range(10):
        found, n_stopped = lived(seed, 40)
        states += found
        stopped += n_stopped
    assert states[MoveState.MOVED] >= 3, "nothing of note has happened"
    assert stopped >= 3
