"""Which sizes of nodes are known, to tell what can never fit: of all, and of those that will do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tango.model.affinity import NodeTerms, barred
from tango.model.cluster import NodeCapacity, NodeView

# (millicores, bytes, cores), of a task or a node.
Size = tuple[int, int, int]
# Different terms whose nodes are remembered until the nodes change.
MAX_KEPT = 256


@dataclass(frozen=True, slots=True)
class Shapes:
    """sizes: how many of the nodes have them. largest: capacities that no other of these nodes
    exceeds in both CPU and memory."""

    sizes: Counter[Size]
    largest: tuple[NodeCapacity, ...]


class NodeShapes:
    """views: the nodes that are known; those of sites that are away count, for they may come back.

    O(nodes) for the first that asks for certain terms after the nodes have changed.
    """

    def __init__(self, views: Callable[[], Iterable[NodeView]]) -> None:
        self._views = views
        self._all: Shapes | None = None
        self._by_terms: dict[NodeTerms | None, Shapes] = {}

    def forget(self) -> None:
        """The nodes have changed."""
        self._all = None
        self._by_terms.clear()

    def of_all(self) -> Shapes:
        """Whatever they bar."""
        if self._all is None:
            self._all = _shapes(self._views())
        return self._all

    def open_to(self, terms: NodeTerms | None) -> Shapes:
        """Of the nodes that do not bar who says this of them."""
        found = self._by_terms.get(terms)
        if found is None:
            if len(self._by_terms) >= MAX_KEPT:
                self._by_terms.clear()
            able = (one for one in self._views() if not barred(terms, one.labels, one.taints))
            found = self._by_terms[terms] = _shapes(able)
        return found


def size_of(view: NodeView) -> Size:
    """What the node has in all."""
    return view.capacity.cpu_millis, view.capacity.memory_bytes, len(view.cores)


def _shapes(views: Iterable[NodeView]) -> Shapes:
    sizes = Counter(size_of(view) for view in views)
    most_memory = -1
    largest: list[NodeCapacity] = []
    for cpu, memory, _ in sorted(sizes, reverse=True):
        if memory > most_memory:
            most_memory = memory
            largest.append(NodeCapacity(cpu, memory))
    return Shapes(sizes, tuple(largest))
