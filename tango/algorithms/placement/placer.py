"""Places pods one after another: filter, score, reserve; each sees the room that is then left.

All nodes are looked at for every pod, as arrays: about 0.04 us per node and decision with all
plugins (`tango bench placement`). Ties go to the first name, so the same input gives the same plan.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np

from tango.algorithms.placement.arrays import Bools, Floats
from tango.algorithms.placement.decision import Chosen, Plan, packed
from tango.algorithms.placement.plugin import Filter, Plugin, Reserve, Score, made
from tango.algorithms.placement.pod import Pod
from tango.algorithms.placement.room import Room
from tango.model.errors import AlreadyExists, InvalidField
from tango.model.placement_profile import Profile

CLOSED = "gone or cordoned"
Removed = list[tuple[str, str, int, bytes]]


def largest_first(pods: Sequence[Pod]) -> list[Pod]:
    """The order in which a gang looks for room: cores, CPU, memory, then as given."""
    return sorted(pods, key=lambda pod: (-pod.cores, -pod.cpu_millis, -pod.memory_bytes))


def as_given(pods: Sequence[Pod]) -> list[Pod]:
    """The order of the gang itself."""
    return list(pods)


class Placer:
    """One profile at work on one room. plugins: by name, as `placement_plugins` finds them."""

    def __init__(self, room: Room, profile: Profile, plugins: Mapping[str, Plugin]) -> None:
        self.room = room
        self.profile = profile
        self.plugins = plugins
        found = made(profile, room, plugins)
        self._filters = [
            (use.plugin, one) for use, one in found if isinstance(one, Filter) and use.filters
        ]
        self._scores = [
            (use.plugin, use.weight, one)
            for use, one in found
            if isinstance(one, Score) and use.weight > 0
        ]
        self._reserves = [(use.plugin, one) for use, one in found if isinstance(one, Reserve)]
        size = room.cluster.size
        self._keep: Bools = np.empty(size, np.bool_)
        self._next: Bools = np.empty(size, np.bool_)
        self._total: Floats = np.empty(size)
        self._weighted: Floats = np.empty(size)
        self._marks: list[Floats] = [np.empty(size) for _ in self._scores]

    @property
    def filters(self) -> tuple[str, ...]:
        """The plugins that filter, in their order."""
        return tuple(name for name, _ in self._filters)

    # ---- one pod

    def look(self, pod: Pod) -> Chosen:
        """Where the pod would go; nothing is taken."""
        chosen, _ = self._look(pod)
        return chosen

    def place(self, pod: Pod) -> Chosen:
        """Where the pod goes; it is there from now on. Raises AlreadyExists."""
        if pod.name in self.room.held:
            raise AlreadyExists(f"{pod.name} is placed already")
        refused: list[tuple[int, str, str]] = []
        chosen, node = self._look(pod)
        while chosen.node and (why := self._reserve(pod, node)):
            refused.append((node, *why))
            chosen, node = self._look(pod, refused)
        if not chosen.node:
            return chosen
        held = self.room.take(pod, node)
        return replace(chosen, cores=held.cores) if held.cores else chosen

    def end(self, name: str) -> None:
        """The pod has ended. Raises NotFound."""
        held = self.room.give(name)
        self._unreserve(held.pod, held.node)

    # ---- several

    def place_gang(
        self,
        pods: Sequence[Pod],
        order: Callable[[Sequence[Pod]], list[Pod]] = largest_first,
        missed: Callable[[Pod], None] | None = None,
    ) -> tuple[Chosen, ...] | Chosen:
        """All of them, in the order of placing; or what the one met for which there is no room.

        Then nothing is taken; `missed` is called with that one while the others are still there.
        A pod may be near another one of the gang, which then goes first. Raises InvalidField where
        two have one name.
        """
        names = {pod.name for pod in pods}
        if len(names) != len(pods):
            raise InvalidField("gang", "two of its pods have one name", "names are unique")
        placed: list[Chosen] = []
        whole = False
        try:
            for pod in leaders_first(order(pods), names):
                chosen = self.place(pod)
                if not chosen.node:
                    if missed is not None:
                        missed(pod)
                    return chosen
                placed.append(chosen)
            whole = True
        finally:  # also where a plugin raises
            if not whole:
                for earlier in reversed(placed):
                    held = self.room.undo(earlier.pod)
                    self._unreserve(held.pod, held.node)
        return tuple(placed)

    def place_all(
        self,
        gangs: Sequence[tuple[str, Sequence[Pod]]],
        order: Callable[[Sequence[Pod]], list[Pod]] = largest_first,
    ) -> Plan:
        """(name, pods) of gangs, in this order, each whole or not at all; later ones may overtake.

        Sort them by priority before: the order is the caller's.
        """
        chosen: list[Chosen] = []
        unplaced = []
        for name, pods in gangs:
            found = self.place_gang(pods, order)
            if isinstance(found, Chosen):
                unplaced.append((name, found))
            else:
                chosen += found
        return Plan(tuple(chosen), tuple(unplaced))

    # ---- what others build on

    def marks(self, pod: Pod) -> Floats:
        """The score of each node, -1 where it is filtered out."""
        keep, _, left = self._filtered(pod, ())
        if not left:
            return np.full(self.room.cluster.size, -1.0)
        self._scored(pod, keep)
        return self._total.copy()

    def candidates(
        self, pod: Pod, *, full_too: bool = False, without: Collection[str] = ()
    ) -> Bools:
        """Nodes that pass the filters but those named; full_too: also who only lacks room now."""
        keep: Bools = self.room.open.copy()
        for name, one in self._filters:
            if name not in without and not (full_too and one.of_room):
                for _, stays in one.keeps(pod):
                    keep &= stays
        return keep

    # ---- inside

    def _look(self, pod: Pod, refused: Sequence[tuple[int, str, str]] = ()) -> tuple[Chosen, int]:
        keep, removed, left = self._filtered(pod, refused)
        size = self.room.cluster.size
        if not left:
            return Chosen(pod.name, "", removed=tuple(removed), looked=size), -1
        said = self._scored(pod, keep)
        total, names = self._total, self.room.cluster.names
        best = int(total.argmax())
        score = float(total[best])
        if left == 1:
            scores = tuple((name, weight, float(mark[best]), 0.0) for name, weight, mark in said)
            self._check(scores)
            whole = Chosen(pod.name, names[best], (), score, "", 0.0, scores, tuple(removed), size)
            return whole, best
        total[best] = -2.0
        other = int(total.argmax())
        scores = tuple(
            (name, weight, float(mark[best]), float(mark[other])) for name, weight, mark in said
        )
        self._check(scores)
        whole = Chosen(
            pod.name, names[best], (), score, names[other], float(total[other]), scores,
            tuple(removed), size,
        )  # fmt: skip
        return whole, best

    def _filtered(
        self, pod: Pod, refused: Sequence[tuple[int, str, str]]
    ) -> tuple[Bools, Removed, int]:
        keep, after = self._keep, self._next
        np.copyto(keep, self.room.open)
        removed: Removed = []
        left = int(np.count_nonzero(keep))
        if left < len(keep):
            removed.append(("", CLOSED, len(keep) - left, packed(~keep)))
        for name, one in self._filters:
            for why, stays in one.keeps(pod):
                np.logical_and(keep, stays, out=after)
                count = int(np.count_nonzero(after))
                if count != left:
                    removed.append((name, why, left - count, packed(keep != after)))
                    keep, after, left = after, keep, count
                    if not left:
                        return keep, removed, 0
        for node, name, why in refused:
            only = np.zeros(len(keep), np.bool_)
            only[node] = True
            keep[node] = False
            removed.append((name, why, 1, packed(only)))
        return keep, removed, left - len(refused)

    def _scored(self, pod: Pod, keep: Bools) -> list[tuple[str, float, Floats]]:
        """The weighted mean to `_total`, -1 where filtered out; answers with who had a say."""
        total, weighted = self._total, self._weighted
        total.fill(0.0)
        said = []
        weights = 0.0
        for (name, weight, one), mark in zip(self._scores, self._marks, strict=True):
            if one.scores(pod, keep, mark):
                np.multiply(mark, weight, out=weighted)
                np.add(total, weighted, out=total)
                weights += weight
                said.append((name, weight, mark))
        if weights:
            np.multiply(total, 1.0 / weights, out=total)
        np.copyto(total, -1.0, where=np.logical_not(keep, out=self._spare(keep)))
        return said

    def _spare(self, keep: Bools) -> Bools:
        return self._next if keep is self._keep else self._keep

    def _check(self, scores: tuple[tuple[str, float, float, float], ...]) -> None:
        for name, _, mine, other in scores:
            # Rounding may step over the edge; NaN fails both comparisons.
            if not (-1e-6 <= mine <= 100.000001 and -1e-6 <= other <= 100.000001):
                problem = f"scored {mine} and {other}"
                raise InvalidField(f"{self.profile.name}.{name}", problem, "scores are 0 to 100")

    def _reserve(self, pod: Pod, node: int) -> tuple[str, str] | None:
        """(plugin, why) of the first that refuses; the others have given back then.

        The room comes first: a profile without `fit` or `cores` must not put pods where none fits.
        """
        lacking = self.room.lack(pod, node)
        if lacking:
            return "", f"without {lacking}"
        for at, (name, one) in enumerate(self._reserves):
            why = one.reserve(pod, node)
            if why:
                for _, earlier in reversed(self._reserves[:at]):
                    earlier.unreserve(pod, node)
                return name, why
        return None

    def _unreserve(self, pod: Pod, node: int) -> None:
        for _, one in reversed(self._reserves):
            one.unreserve(pod, node)


def leaders_first(pods: list[Pod], names: set[str]) -> list[Pod]:
    """Each pod behind the one of its gang that it wants to be near; in a ring, as they came."""
    done: set[str] = set()
    ordered: list[Pod] = []
    waiting = pods
    while waiting:
        now = [pod for pod in waiting if pod.near not in names or pod.near in done] or waiting
        ordered += now
        done.update(pod.name for pod in now)
        waiting = [pod for pod in waiting if pod.name not in done]
    return ordered
