"""The offline plan for pods that run, as moves that can be done one wave after another.

`delay_replan` says where pods would best be. Here it is tried how much of that can be had by moves
in which a pod is stopped at one node and begins anew at another, while every state in between is a
good one: no node beyond its capacity, placeholders large enough, no backup given up for a move.
What cannot be had so is left out, and so is what goes beyond the number of moves that is allowed.

Other backups for pods that stay cost nothing, so they come first: each pod, the largest ones before
the others, gets the one for which placeholders grow least. That is our own rule, not the paper's.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace

import numpy as np

from tango.algorithms.placement.arrays import Bools, Ints
from tango.algorithms.placement.delay_books import OUTSIDE, Bound
from tango.algorithms.placement.delay_bound import DelayBound
from tango.algorithms.placement.delay_replan import planned
from tango.algorithms.placement.delay_wishes import arrived, moved
from tango.algorithms.placement.placeholders import NOTHING, Need, need_of
from tango.algorithms.placement.placer import Placer
from tango.algorithms.placement.pod import Pod
from tango.algorithms.placement.room import Room
from tango.model.improvement import BoundTotals, Improvement, Wish

# Moves that are looked at one by one whether all is as good without them.
MOST_WEIGHED = 32
NO_BETTER = "no better plan was found than what is there"
NO_MOVES = "no better plan was found in which no task is stopped; none was allowed to be"

Waves = tuple[tuple[Wish, ...], ...]


@dataclass(frozen=True, slots=True)
class _Way:
    """Books as they are at its end, and how they came to be so. moves: (pod, node, backup)."""

    here: DelayBound
    waves: Waves
    moves: tuple[Wish, ...] = ()

    @property
    def rank(self) -> tuple[tuple[int, ...], int]:
        """The better state, then the fewer moves."""
        return totals(self.here).rank(), -len(self.moves)


def totals(here: DelayBound) -> BoundTotals:
    """Of the state as it is."""
    known = here.bound.values()
    size = NOTHING
    for one in here.placeholders.sizes.values():
        size = size.plus(one)
    return BoundTotals(
        tasks=len(known),
        placed=sum(bool(one.node) for one in known),
        unprotected=sum(bool(one.node) and one.pod.protected and not one.backup for one in known),
        outside=sum(one.warning == OUTSIDE for one in known),
        reserved_millis=size.cpu_millis,
        reserved_bytes=size.memory_bytes,
    )


def improvement(
    here: DelayBound, max_moves: int, stay: Collection[str], targets: Collection[str]
) -> Improvement:
    """What may be done to `here`, which stays as it is. Takes its time: not on a daemon's loop.

    stay: pods that are not to be moved; nobody is that another one wants to be near to. targets:
    nodes where something can be started now.
    """
    near = {one.pod.near for one in here.bound.values()}
    movable = {
        name for name, one in here.bound.items() if one.node and name not in near.union(stay)
    }
    stays = best = _rebacked(_Way(copied(here), ()))
    for way in _ways(stays, movable, targets, max_moves):
        if way.rank > best.rank:
            best = way
    best = _fewest(best, stays)
    before, after = totals(here), totals(best.here)
    if not after.better_than(before):
        return Improvement(before, before, why_not=NO_BETTER if max_moves else NO_MOVES)
    return Improvement(before, after, best.waves)


def copied(here: DelayBound) -> DelayBound:
    """Books of their own that say the same; who moves in them holds room at both ends."""
    room = Room(here.room.cluster)
    room.open = here.room.open.copy()
    room.delays = here.room.delays
    copy = DelayBound(Placer(room, here.placer.profile, here.placer.plugins))
    copy.makes_room = here.makes_room
    copy.stays_without = here.stays_without
    for held in here.room.held.values():
        room.restore(held)
    copy.bound = dict(here.bound)
    # Each takes a while to leave.
    copy.runs_on = {
        name: here.room.index_of(one.node) for name, one in here.bound.items() if one.node
    } | here.runs_on
    copy.placeholders.sizes = dict(here.placeholders.sizes)
    for name, host in here.placeholders.host_of.items():
        copy.placeholders.cover(here.bound[name].pod, here.room.held[name].node, host)
    return copy


# ---- other backups


def _rebacked(way: _Way) -> _Way:
    """The same, with other backups for pods where they are; as it was where that is no better."""
    anew = copied(way.here)
    for host in sorted(anew.placeholders.sizes):
        for name in anew.placeholders.drop(host):
            anew.bound[name] = replace(anew.bound[name], backup="")
    wanting = [one.pod for one in anew.bound.values() if one.node and one.pod.protected]
    radius = {pod.name: _others(anew, pod) for pod in wanting}
    # Of equal ones the host that is one for most: it will be shared.
    shared = np.sum([*radius.values()], axis=0) if radius else np.zeros(0, np.int64)
    known = way.here.bound
    for pod in sorted(wanting, key=lambda pod: _first_to_cover(known[pod.name])):
        _cover_least(anew, pod, radius[pod.name], shared)
    anew.mend()
    if any(anew.bound[name].node != one.node for name, one in way.here.bound.items()):
        return way  # a pod that waited has found a node, which is not for this to do
    if any(one.backup and not anew.bound[name].backup for name, one in known.items()):
        return way  # nobody loses one
    if not totals(anew).better_than(totals(way.here)):
        return way
    wave = tuple(
        Wish(name, one.node, one.backup, one.warning)
        for name, one in sorted(anew.bound.items())
        if one.backup != way.here.bound[name].backup
    )
    return _Way(anew, (*way.waves, wave), way.moves)


def _first_to_cover(one: Bound) -> tuple[bool, int, int, str]:
    """Who has a backup now, then the largest."""
    return not one.backup, -one.pod.memory_bytes, -one.pod.cpu_millis, one.pod.name


def _others(here: DelayBound, pod: Pod) -> Bools:
    """Nodes where its backup may be."""
    radius = here.placer.candidates(pod, full_too=True)
    radius[here.room.held[pod.name].node] = False
    return radius


def _cover_least(here: DelayBound, pod: Pod, radius: Bools, shared: Ints) -> None:
    """By the host that grows least for it, if there is any with room."""
    node, places = here.room.held[pod.name].node, here.placeholders
    best: tuple[tuple[int, ...], int, Need] | None = None
    for host in np.flatnonzero(radius).tolist():
        size = places.sizes.get(host, NOTHING)
        grown = size.most(places.load(host, node).plus(need_of(pod)))
        more = grown.minus(size)
        key = (more.memory_bytes, more.cpu_millis, -int(shared[host]), -size.memory_bytes, host)
        if (best is None or key < best[0]) and places.may_grow(host, grown):
            best = key, host, grown
    if best is not None:
        _, host, grown = best
        places.resize(host, grown)
        places.cover(pod, node, host)
        name = here.room.cluster.names[host]
        here.bound[pod.name] = replace(here.bound[pod.name], backup=name, warning="")


# ---- moves


def _ways(
    start: _Way, movable: Collection[str], targets: Collection[str], max_moves: int
) -> Iterator[_Way]:
    """The offline plan, for pods that would rather stay and for such that do not care, as far as
    so many moves go, and as far as fewer go."""
    nodes = {name: one.node for name, one in start.here.bound.items() if one.node}
    for staying in (nodes, {}):
        plan = planned(start.here, staying)
        wanted = [
            Wish(name, plan.bound[name].node, plan.bound[name].backup)
            for name in sorted(movable, key=_larger_first(start.here))
            if plan.bound[name].node in targets and plan.bound[name].node != nodes[name]
        ]
        limit = min(max_moves, len(wanted))
        while limit:
            yield _rebacked(_moved(start, wanted, limit))
            limit //= 2


def _larger_first(here: DelayBound) -> Callable[[str], tuple[int, str]]:
    return lambda name: (-here.bound[name].pod.memory_bytes, name)


def _moved(start: _Way, wanted: list[Wish], limit: int) -> _Way:
    """As many of these moves as can be made, each wave of them at once."""
    here, waves, left = copied(start.here), list(start.waves), list(wanted)
    done: list[Wish] = []
    while left and len(done) < limit:
        wave: list[Wish] = []
        for wish in left:
            if len(done) + len(wave) == limit:
                break
            granted = _granted(here, wish)
            if granted is not None:
                wave.append(replace(granted, warning=here.bound[wish.task].warning))
        if not wave:
            break
        gone = {wish.task for wish in wave}
        left = [wish for wish in left if wish.task not in gone]
        done += wave
        waves.append(tuple(wave))
        arrived(here)
    return _Way(here, tuple(waves), (*start.moves, *done))


def _granted(here: DelayBound, wish: Wish) -> Wish | None:
    """The move with the backup that was meant, or any that there is; None where it cannot be made,
    or would cost the pod the backup that it has."""
    one, index = here.bound[wish.task], here.room.cluster.index
    if wish.backup and moved(here, wish):
        return wish
    if one.backup:
        also = replace(wish, backup=one.backup)
        if moved(here, also):
            return also
        node = index[wish.node]
        if not here.placer.candidates(one.pod)[node]:
            return None
        others = here.placer.candidates(one.pod, full_too=True)
        others[node] = False
        for host in sorted(here.placeholders.sizes):
            if others[host] and here.placeholders.suffices(host, node, need_of(one.pod)):
                also = replace(wish, backup=here.room.cluster.names[host])
                return also if moved(here, also) else None
        return None
    bare = replace(wish, backup="")
    return bare if moved(here, bare) else None


def _fewest(best: _Way, start: _Way) -> _Way:
    """The same without the moves that bring nothing, one by one; not of very many."""
    if len(best.moves) > MOST_WEIGHED:
        return best
    for wish in best.moves[::-1]:
        fewer = [one for one in best.moves if one.task != wish.task]
        way = _rebacked(_moved(start, fewer, len(fewer))) if fewer else start
        if way.rank > best.rank:
            best = way
    return best
