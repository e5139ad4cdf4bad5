"""In which order pods move from where they are to where they should be: no step exceeds a node.

A pod that moves is started at its target before it is stopped at its source, so it holds both
meanwhile. Where that cannot be done, for each waits for the other's room, it goes by way of a third
node, and only where there is none it is stopped first. Room reserved for backups is given up
only where a move waits for it, and taken anew at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from tango.algorithms.placement.placeholders import NOTHING, Need


@dataclass(frozen=True, slots=True)
class Shift:
    """One pod. source: where it runs, "" for nowhere; target: where it shall run, "" likewise.

    fixed: what no two pods of a node may have at once, such as ("port", 80).
    """

    pod: str
    need: Need
    source: str
    target: str
    fixed: frozenset[tuple[str, int]] = frozenset()


@dataclass(frozen=True, slots=True)
class Start:
    """The pod runs nowhere; start it there."""

    pod: str
    node: str


@dataclass(frozen=True, slots=True)
class Stop:
    """Stop the pod there. to_return: it is started elsewhere later in the plan: downtime."""

    pod: str
    node: str
    to_return: bool = False


@dataclass(frozen=True, slots=True)
class Move:
    """Start it at the target; once it runs, stop it at the source."""

    pod: str
    source: str
    target: str


@dataclass(frozen=True, slots=True)
class Reserve:
    """From here on so much is kept free on the node; nothing happens there."""

    node: str
    size: Need


Step = Start | Stop | Move | Reserve


@dataclass(frozen=True, slots=True)
class Reserved:
    """What is kept free on a node, before and after."""

    before: Need
    after: Need


def no_detour(_: Shift) -> Iterable[str]:
    """Nowhere."""
    return ()


def move_plan(
    free: Mapping[str, Need],
    shifts: Iterable[Shift],
    reserved: Mapping[str, Reserved],
    *,
    taken: Iterable[tuple[str, tuple[str, int]]] = (),
    detours: Callable[[Shift], Iterable[str]] = no_detour,
) -> tuple[Step, ...]:
    """Steps to be done one after another, each whole before the next.

    free: by node, beside all that is there before and all that stays. The state after must fit;
    AssertionError where it does not. taken: (node, fixed) of pods that stay. detours: nodes where
    a pod may be for a while, best first.
    """
    return _Planning(free, shifts, reserved, taken).plan(detours)


class _Planning:
    """The state after the steps so far."""

    def __init__(
        self,
        free: Mapping[str, Need],
        shifts: Iterable[Shift],
        reserved: Mapping[str, Reserved],
        taken: Iterable[tuple[str, tuple[str, int]]],
    ) -> None:
        self._free = dict(free)
        self._left = {
            one.pod: one
            for one in sorted(shifts, key=lambda one: (one.need.memory_bytes, one.pod))
            if one.source != one.target
        }
        self._reserved = dict(reserved)
        self._sizes = {node: both.before for node, both in reserved.items()}
        self._taken = {*taken} | {
            (one.source, fixed) for one in self._left.values() if one.source for fixed in one.fixed
        }
        self._steps: list[Step] = []

    def plan(self, detours: Callable[[Shift], Iterable[str]]) -> tuple[Step, ...]:
        detoured: set[str] = set()
        for one in list(self._left.values()):
            if not one.target:
                self._stop(one)
        while self._left:
            if not (self._go_all() or self._give_up_room() or self._detour(detours, detoured)):
                self._park()
        for node in sorted(self._reserved):
            self._resize(node, self._sizes[node].least(self._reserved[node].after))
        for node in sorted(self._reserved):
            self._resize(node, self._reserved[node].after)
        return tuple(self._steps)

    def _go_all(self) -> bool:
        """Whatever can go straight to its target; the smallest first."""
        going = [one for one in self._left.values() if self._fits(one, one.target)]
        for one in going:
            if self._fits(one, one.target):
                self._go(one, one.target)
                del self._left[one.pod]
        return bool(going)

    def _give_up_room(self) -> bool:
        """Of reserved room that will not be there in the end, where a pod waits for it."""
        for one in self._left.values():
            both = self._reserved.get(one.target)
            if both is None:
                continue
            size = self._sizes[one.target].least(both.after)
            if size != self._sizes[one.target]:
                self._resize(one.target, size)
                return True
        return False

    def _detour(self, detours: Callable[[Shift], Iterable[str]], detoured: set[str]) -> bool:
        """One that runs, to a node that is neither: each pod once."""
        for one in self._left.values():
            if one.pod in detoured or not one.source:
                continue
            for node in detours(one):
                if node not in (one.source, one.target) and self._fits(one, node):
                    detoured.add(one.pod)
                    self._go(one, node)
                    self._left[one.pod] = replace(one, source=node)
                    return True
        return False

    def _park(self) -> None:
        one = next((one for one in self._left.values() if one.source), None)
        assert one is not None, f"no room at {[one.target for one in self._left.values()]}"
        self._stop(one, to_return=True)

    def _fits(self, one: Shift, node: str) -> bool:
        held = any((node, fixed) in self._taken for fixed in one.fixed)
        kept = self._sizes.get(node, NOTHING).ports
        held = held or any(kind == "port" and number in kept for kind, number in one.fixed)
        return one.need.within(self._free[node]) and not held

    def _go(self, one: Shift, node: str) -> None:
        self._free[node] = self._free[node].minus(one.need)
        self._taken |= {(node, fixed) for fixed in one.fixed}
        if not one.source:
            self._steps.append(Start(one.pod, node))
            return
        self._steps.append(Move(one.pod, one.source, node))
        self._release(one)

    def _stop(self, one: Shift, *, to_return: bool = False) -> None:
        self._steps.append(Stop(one.pod, one.source, to_return))
        self._release(one)
        if to_return:
            self._left[one.pod] = replace(one, source="")
        else:
            del self._left[one.pod]

    def _release(self, one: Shift) -> None:
        self._free[one.source] = self._free[one.source].plus(one.need)
        self._taken -= {(one.source, fixed) for fixed in one.fixed}

    def _resize(self, node: str, size: Need) -> None:
        before = self._sizes[node]
        if size == before:
            return
        self._free[node] = self._free[node].plus(before).minus(size)
        assert NOTHING.within(self._free[node]), f"no room at {node} for what is reserved"
        self._sizes[node] = size
        self._steps.append(Reserve(node, size))
