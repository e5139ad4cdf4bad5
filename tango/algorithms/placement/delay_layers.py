"""Delays for large topologies: at each of a few layers, nodes in sets of pairwise delay <= layer.

Instead of N^2 delays it keeps one set's number per node and layer, 80 kB a layer at 20,000 nodes.
A bound finds a subset of its exact radius, never a node outside. Toka, J. Grid Computing 2021 takes
the largest clique of what is left, again and again; finding it is NP-hard, so here it is grown
greedily, from the node that has most others within the layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from tango.algorithms.placement.arrays import Bools, Floats, Ints, frozen
from tango.algorithms.placement.delays import Delays
from tango.model.errors import InvalidField

MAX_LAYERS = 64
# Candidates of a set whose pairs are all looked at.
MOST_COUNTED = 512

Use = Literal["largest", "all"]


class LayeredDelays:
    """Delays, coarse: from a node to another the smallest layer at which they share a set.

    use: which layers a bound looks at, the largest that is no larger than it ("largest", as in the
    paper) or each of these ("all": no node less, more of them found; see docs/placement.md).
    Raises InvalidField for layers that do not rise from above 0.
    """

    def __init__(self, delays: Delays, layers_s: Sequence[float]) -> None:
        layers = tuple(layers_s)
        rising = all(a < b for a, b in zip((0.0, *layers), layers, strict=False))
        if not layers or len(layers) > MAX_LAYERS or not rising or layers[-1] == float("inf"):
            problem = f"{list(layers[:8])} do not rise from above 0"
            raise InvalidField("delays.layers", problem, f"1 to {MAX_LAYERS}, each above the last")
        self.size = delays.size
        self.layers_s = layers
        self._sets = np.array([_partition(delays, layer) for layer in layers], np.int32)

    def row(self, reference: int) -> Floats:
        """See Delays."""
        row = np.full(self.size, np.inf)
        for layer, sets in zip(self.layers_s[::-1], self._sets[::-1], strict=True):
            row[sets == sets[reference]] = layer
        row[reference] = 0.0
        return frozen(row)

    def radius(self, reference: int, bound_s: float, use: Use = "all") -> Bools:
        """The nodes that a bound finds, the reference among them."""
        if use == "all":
            within: Bools = self.row(reference) <= bound_s
            return within
        found = np.zeros(self.size, np.bool_)
        usable = [at for at, layer in enumerate(self.layers_s) if layer <= bound_s]
        if usable:
            sets = self._sets[usable[-1]]
            found |= sets == sets[reference]
        found[reference] = True
        return found

    def sets(self, layer: int) -> Ints:
        """Each node's set at this layer, counted from 0."""
        sets: Ints = self._sets[layer].astype(np.int64)
        return sets


def _partition(delays: Delays, layer_s: float) -> Ints:
    """Each node's set. N rows of delays are read twice."""
    size = delays.size
    left = np.ones(size, np.bool_)
    degree = np.fromiter(
        (np.count_nonzero(delays.row(node) <= layer_s) for node in range(size)), np.int64, size
    )
    sets: Ints = np.full(size, -1, np.int64)
    number = 0
    while left.any():
        # Ties go to the first name: the same topology, the same sets.
        seed = int(np.argmax(np.where(left, degree, -1)))
        for node in _clique(delays, layer_s, left, seed):
            sets[node] = number
            left[node] = False
            degree -= delays.row(node) <= layer_s
        number += 1
    return sets


def _clique(delays: Delays, layer_s: float, left: Bools, seed: int) -> list[int]:
    """Nodes that are left, all within the layer of each other, the seed among them.

    Grown by who has most others of those that can still join, then by the nearest to the seed; by
    the nearest alone while there are too many to be counted each time.
    """
    row = delays.row(seed)
    found = [seed]
    among = left & (row <= layer_s)
    among[seed] = False
    joining = np.flatnonzero(among)
    joining = joining[np.argsort(row[joining], kind="stable")]
    while len(joining) > MOST_COUNTED:
        nearest = int(joining[0])
        found.append(nearest)
        rest = joining[1:]
        joining = rest[delays.row(nearest)[rest] <= layer_s]
    if not len(joining):
        return found
    near = np.array([delays.row(node)[joining] <= layer_s for node in joining.tolist()])
    open_ = np.ones(len(joining), np.bool_)
    counts = near.sum(axis=1)
    while open_.any():
        # They are sorted by delay, and of equal ones the first is taken.
        at = int(np.argmax(np.where(open_, counts, -1)))
        found.append(int(joining[at]))
        stay = open_ & near[at]
        stay[at] = False
        counts -= near[:, open_ & ~stay].sum(axis=1)
        open_ = stay
    return found
