"""The way from one state of delay bounds to another, as steps; see `move_plan`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from tango.algorithms.placement.delay_books import Bound, BoundBooks
from tango.algorithms.placement.move_plan import Reserved, Shift, Step, move_plan
from tango.algorithms.placement.placeholders import NOTHING, Need, need_of
from tango.algorithms.placement.pod import Pod


@dataclass(frozen=True, slots=True)
class BoundState:
    """Where pods and placeholders were, by name."""

    bound: Mapping[str, Bound]
    sizes: Mapping[str, Need]


def state_of(here: BoundBooks) -> BoundState:
    """As the books say now."""
    names = here.room.cluster.names
    sizes = {names[host]: size for host, size in here.placeholders.sizes.items()}
    return BoundState(dict(here.bound), sizes)


def changed(before: BoundState, after: BoundState) -> list[str]:
    """Pods of which the two say different things, by name."""
    old, new = before.bound, after.bound
    # Most are the very same object, and comparing those by value would take milliseconds.
    found = [name for name, one in new.items() if (was := old.get(name)) is not one and was != one]
    found += old.keys() - new.keys()
    return sorted(found)


def steps_between(before: BoundState, here: BoundBooks, after: BoundState) -> tuple[Step, ...]:
    """From one to the other; both are states of these books, whose room is in the one after.

    A pod whose node is down since counts as running nowhere, and what that node reserved is gone.
    """
    room, names = here.room, here.room.cluster.names
    live = {name for name, up in zip(names, room.open.tolist(), strict=True) if up}
    shifts = [
        _shift(before.bound.get(name), after.bound.get(name), live)
        for name in changed(before, after)
    ]
    shifts = [one for one in shifts if one.source != one.target]
    if not shifts and before.sizes == after.sizes:
        return ()
    columns = (room.cpu.tolist(), room.memory.tolist(), room.cores.tolist())
    free = dict(zip(names, map(Need, *columns), strict=True))
    reserved = {}
    for name in before.sizes.keys() | after.sizes.keys():
        size = before.sizes.get(name, NOTHING) if name in live else NOTHING
        reserved[name] = Reserved(size, after.sizes.get(name, NOTHING))
        free[name] = free[name].plus(reserved[name].after).minus(size)
    # From what is free afterwards to what was before.
    for one in shifts:
        if one.target:
            free[one.target] = free[one.target].plus(one.need)
        if one.source:
            free[one.source] = free[one.source].minus(one.need)
    taken: list[tuple[str, tuple[str, int]]] = []
    if any(one.fixed for one in shifts):
        moved = {one.pod for one in shifts}
        taken = [
            (names[held.node], fixed)
            for name, held in room.held.items()
            if name not in moved
            for fixed in _fixed(held.pod)
        ]
    return move_plan(free, shifts, reserved, taken=taken, detours=_detours(here, after))


def _shift(old: Bound | None, new: Bound | None, live: set[str]) -> Shift:
    known = new or old
    assert known is not None
    source = old.node if old is not None and old.node in live else ""
    target = new.node if new is not None else ""
    # Ports are among what is fixed.
    need = need_of(known.pod)._replace(ports=frozenset())
    return Shift(known.pod.name, need, source, target, _fixed(known.pod))


def _fixed(pod: Pod) -> frozenset[tuple[str, int]]:
    ports = {("port", port) for port in pod.ports}
    return frozenset(ports | {("core", core) for core in pod.cpuset})


def _detours(here: BoundBooks, after: BoundState) -> Callable[[Shift], Iterable[str]]:
    """Where a pod may be meanwhile: within its bound, too; full nodes are sorted out later."""

    def nodes(shift: Shift) -> Iterable[str]:
        one = after.bound[shift.pod]
        names = here.room.cluster.names
        among = here.placer.candidates(one.pod, full_too=True)
        return [names[at] for at in here.ranked(among)]

    return nodes
