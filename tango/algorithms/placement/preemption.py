"""Preemption: who must go so that pods fit that have no room; nothing is done about it here.

Per pod as kube-scheduler does it: on each node that only lacks room take out every pod of lower
priority, put back as many as still leave room, the highest priority first. Of the nodes the one
whose dearest victim is of the lowest priority, then with the fewest victims.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tango.algorithms.placement.placer import Placer, largest_first, leaders_first
from tango.algorithms.placement.pod import Pod
from tango.algorithms.placement.room import Held, Room
from tango.model.errors import Refused


@dataclass(frozen=True, slots=True)
class Preemption:
    """Victims in the order in which to stop them, lowest priority first; then the pods go there.

    Minimal: without any one of these victims the pods would not fit where they are to go.
    """

    victims: tuple[str, ...]
    places: tuple[tuple[str, str], ...]


def preemption(
    placer: Placer, pods: Sequence[Pod], may_go: Callable[[Pod], bool] = lambda pod: True
) -> Preemption | None:
    """What makes room for all of these pods; None if nothing does. The room is left as it was.

    may_go: whether a running pod may be a victim at all. Never one is that has not a lower
    priority than the pod that wants room, or that a pod of these wants to be near.
    """
    room = placer.room
    names = {pod.name for pod in pods} | {pod.near for pod in pods}
    gone: dict[str, Held] = {}
    placed: list[str] = []
    try:
        for pod in leaders_first(largest_first(pods), {pod.name for pod in pods}):
            found = placer.look(pod)
            if not found.node:
                victims = _victims(placer, pod, lambda one: one.name not in names and may_go(one))
                if victims is None:
                    return None
                for held in victims:
                    gone[held.pod.name] = room.give(held.pod.name)
                found = placer.look(pod)
            room.take(pod, room.index_of(found.node))
            placed.append(pod.name)
        places = tuple((name, room.node_of(name)) for name in placed)
        back = _spared(room, sorted(gone.values(), key=_dearest_first))
        victims = [held for name, held in gone.items() if name not in back]
        for name in back:
            room.give(name)
    finally:
        for name in reversed(placed):
            room.undo(name)
        for held in gone.values():
            room.restore(held)
    victims.sort(key=lambda held: (held.pod.priority, held.pod.name))
    return Preemption(tuple(held.pod.name for held in victims), places)


def _victims(placer: Placer, pod: Pod, may_go: Callable[[Pod], bool]) -> list[Held] | None:
    """Of the best node; None if no node would have room."""
    room = placer.room
    lower: dict[int, list[Held]] = {}
    cpu, memory = room.cpu.copy(), room.memory.copy()
    for held in room.held.values():
        if held.pod.priority < pod.priority and may_go(held.pod):
            lower.setdefault(held.node, []).append(held)
            cpu[held.node] += held.pod.cpu_millis
            memory[held.node] += held.pod.memory_bytes
    enough = (cpu >= pod.cpu_millis) & (memory >= pod.memory_bytes)
    enough &= placer.candidates(pod, full_too=True)
    options = [
        (victims[0].pod.priority, len(victims), node, victims)
        for node in np.flatnonzero(enough).tolist()
        if (victims := _of_node(room, pod, node, lower.get(node, [])))
    ]
    for *_, node, victims in sorted(options, key=lambda option: option[:3]):
        for held in victims:
            room.give(held.pod.name)
        # Filters that know of more than the room does may still say no.
        stays = bool(placer.candidates(pod)[node])
        for held in victims:
            room.restore(held)
        if stays:
            return victims
    return None


def _of_node(room: Room, pod: Pod, node: int, lower: list[Held]) -> list[Held]:
    """The least that must go there, dearest first; none if even all of them would not do."""
    ordered = sorted(lower, key=_dearest_first)
    for held in ordered:
        room.give(held.pod.name)
    victims: list[Held] = []
    if not room.lack(pod, node):
        for held in ordered:
            room.restore(held)
            if room.lack(pod, node):
                room.give(held.pod.name)
                victims.append(held)
    for held in ordered:
        if held.pod.name not in room.held:
            room.restore(held)
    return victims


def _spared(room: Room, ordered: Sequence[Held]) -> list[str]:
    """Those that fit beside the pods after all, put back: a later victim may have freed more."""
    back = []
    for held in ordered:
        try:
            room.restore(held)
        except Refused:
            continue
        back.append(held.pod.name)
    return back


def _dearest_first(held: Held) -> tuple[int, str]:
    return -held.pod.priority, held.pod.name
