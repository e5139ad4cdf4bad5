"""Books of delay bounds, and nodes that do what they say step by step, counting what they hold."""

from __future__ import annotations

import random
from collections.abc import Iterable

from hypothesis import strategies as st

from tango.adapters.policies import placement_plugins, policy_names
from tango.algorithms.placement.cluster import Cluster, NodeRow
from tango.algorithms.placement.delay_books import BoundBooks
from tango.algorithms.placement.delay_bound import DelayBound
from tango.algorithms.placement.delay_records import BoundJournal
from tango.algorithms.placement.delays import MatrixDelays
from tango.algorithms.placement.move_plan import Move, Reserve, Start, Step, Stop
from tango.algorithms.placement.placeholders import NOTHING, Need, need_of
from tango.algorithms.placement.placer import Placer
from tango.algorithms.placement.pod import Pod
from tango.algorithms.placement.room import Room
from tango.model.placement_profile import Profile, Use

PLUGINS = placement_plugins(policy_names("tango.placement"))
PROFILE = Profile("edge", (Use("affinity"), Use("delay"), Use("fit"), Use("cores")))


def delays(size: int, seed: int) -> MatrixDelays:
    rng = random.Random(seed)
    places = [(rng.random(), rng.random()) for _ in range(size)]
    return MatrixDelays(
        [[((x - u) ** 2 + (y - v) ** 2) ** 0.5 for u, v in places] for x, y in places]
    )


def made(rows: list[NodeRow], seed: int) -> DelayBound:
    return DelayBound(Placer(Room(Cluster(rows, delays=delays(len(rows), seed))), PROFILE, PLUGINS))


def copied(here: DelayBound) -> DelayBound:
    """The same by way of its records, as after a restart."""
    room = Room(here.room.cluster)
    room.delays = here.room.delays
    room.open = here.room.open.copy()
    after = DelayBound(Placer(room, PROFILE, PLUGINS))
    journal = BoundJournal(here)
    kept = journal.writes()
    records = {
        kind: {write.key: write.value for write in kept if write.kind == kind}  # type: ignore[union-attr]
        for kind in ("bound", "reservation")
    }
    changed = BoundJournal(after).resume(records["bound"], records["reservation"])  # type: ignore[arg-type]
    assert changed == ()
    return after


@st.composite
def clusters(draw: st.DrawFn) -> list[NodeRow]:
    rows = [
        NodeRow(f"n{number}", 1000 * draw(st.integers(1, 8)), draw(st.integers(1, 12)))
        for number in range(draw(st.integers(1, 6)))
    ]
    return [*rows, NodeRow("sky", 64000, 64, cloud=True)]


class Nodes:
    """What really runs where, and what is reserved; every step is checked against capacity."""

    def __init__(self, here: BoundBooks) -> None:
        self._cluster = here.room.cluster
        self.runs: dict[str, str] = {}
        self.reserved: dict[str, Need] = {}
        self.pods: dict[str, Pod] = {}
        self.downtime: list[str] = []

    def know(self, pods: Iterable[Pod]) -> None:
        self.pods.update((pod.name, pod) for pod in pods)

    def lose(self, nodes: Iterable[str]) -> None:
        gone = set(nodes)
        self.runs = {pod: node for pod, node in self.runs.items() if node not in gone}
        self.reserved = {node: size for node, size in self.reserved.items() if node not in gone}

    def do(self, steps: Iterable[Step]) -> None:
        for step in steps:
            match step:
                case Start(pod, node):
                    assert pod not in self.runs, "started twice"
                    self.runs[pod] = node
                case Stop(pod, node, to_return):
                    assert self.runs.pop(pod) == node
                    self.downtime += [pod] * to_return
                case Move(pod, source, target):
                    assert self.runs[pod] == source != target
                    self._check(also=(pod, target))
                    self.runs[pod] = target
                case Reserve(node, size):
                    self.reserved[node] = size
                    if size == NOTHING:
                        del self.reserved[node]
            self._check()

    def _check(self, also: tuple[str, str] | None = None) -> None:
        """Capacity, with one pod at two places at once while it moves."""
        held = {row.name: self.reserved.get(row.name, NOTHING) for row in self._rows()}
        cores = {row.name: [] for row in self._rows()}  # type: ignore[var-annotated]
        for pod, node in [*self.runs.items(), *([also] if also else [])]:
            held[node] = held[node].plus(need_of(self.pods[pod]))
            cores[node] += [*self.pods[pod].ports, *self.pods[pod].cpuset]
        for node, size in self.reserved.items():
            cores[node] += size.ports
        for at, row in enumerate(self._rows()):
            assert (
                held[row.name]
                ._replace(ports=frozenset())
                .within(Need(row.cpu_millis, row.memory_bytes, int(self._cluster.cores[at])))
            ), row.name
            assert len(set(cores[row.name])) == len(cores[row.name]), row.name

    def _rows(self) -> tuple[NodeRow, ...]:
        return self._cluster.nodes

    def check_is(self, here: BoundBooks) -> None:
        """Reality and books agree."""
        assert self.runs == {name: one.node for name, one in here.bound.items() if one.node}
        names = here.room.cluster.names
        sizes = {names[host]: size for host, size in here.placeholders.sizes.items()}
        assert self.reserved == {node: size for node, size in sizes.items() if size != NOTHING}
