"""The offline plan of pods that run already, and the steps that lead from here to there.

No pod loses its node: where the plan has no place for one, placeholders make room for it, since an
unprotected pod is better than none. The plan is taken only where it is better than what is there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tango.algorithms.placement.delay_books import BoundBooks
from tango.algorithms.placement.delay_bound import DelayBound
from tango.algorithms.placement.delay_offline import plan_offline
from tango.algorithms.placement.delay_shifts import state_of, steps_between
from tango.algorithms.placement.move_plan import Move, Step, Stop
from tango.algorithms.placement.placeholders import NOTHING, PREFIX, Need, need_of
from tango.algorithms.placement.placer import Placer
from tango.algorithms.placement.pod import Pod
from tango.algorithms.placement.room import Room


@dataclass(frozen=True, slots=True)
class Figures:
    """How good a state is. reserved: room held by placeholders."""

    placed: int
    protected: int
    reserved_bytes: int
    reserved_millis: int

    def better_than(self, other: Figures) -> bool:
        """More pods that run, then more with a backup, then less room for backups."""
        return self._rank() > other._rank()

    def _rank(self) -> tuple[int, int, int, int]:
        return self.placed, self.protected, -self.reserved_bytes, -self.reserved_millis


@dataclass(frozen=True, slots=True)
class Replan:
    """here: books as the plan leaves them, whose steps are done in order. why_not: no plan, why."""

    here: DelayBound
    steps: tuple[Step, ...]
    before: Figures
    after: Figures
    why_not: str = ""

    @property
    def moves(self) -> int:
        """How many times a pod is moved."""
        return sum(isinstance(step, Move) for step in self.steps)

    @property
    def interrupted(self) -> tuple[str, ...]:
        """Pods that do not run for a while, since two wait for each other's room."""
        return tuple(s.pod for s in self.steps if isinstance(s, Stop) and s.to_return)


def figures(here: BoundBooks) -> Figures:
    """Of the state as it is."""
    sizes = here.placeholders.sizes.values()
    return Figures(
        sum(bool(one.node) for one in here.bound.values()),
        sum(bool(one.backup) for one in here.bound.values()),
        sum(size.memory_bytes for size in sizes),
        sum(size.cpu_millis for size in sizes),
    )


def replan(here: DelayBound) -> Replan:
    """What the offline plan would do for the pods that are there, waiting ones too.

    `here` stays as it is. Takes as long as placing all of them: not on a daemon's loop.
    """
    before, why_not = figures(here), ""
    stay = {one.pod.name: one.node for one in here.bound.values() if one.node}
    best, after = here, before
    # Pods that stay where they are cost no move, and may be in the way of any better plan.
    for staying in (stay, {}):
        if best is not here:
            break
        scratch = planned(here, staying)
        gone = sorted(name for name in stay if not scratch.bound[name].node)
        found = figures(scratch)
        if gone:
            why_not = f"it has no node for {gone[0]}"
        elif found.better_than(after):
            best, after = scratch, found
    if best is here:
        return Replan(here, (), before, before, why_not or "it is no better than what is there")
    return Replan(best, steps_between(state_of(here), best, state_of(best)), before, after)


def planned(here: DelayBound, stay: Mapping[str, str]) -> DelayBound:
    """All pods that are there, in books of their own."""
    scratch = _emptied(here)
    pods = [one.pod for _, one in sorted(here.bound.items())]
    rejected = [answer.bound.pod for answer in plan_offline(scratch, pods, stay)]
    for pod in rejected:
        if not _squeezed(scratch, pod, here.bound[pod.name].node):
            scratch.wait(pod)
    scratch.mend()
    return scratch


def _emptied(here: DelayBound) -> DelayBound:
    """The same cluster, with what is held by others than these pods and their placeholders."""
    room = Room(here.room.cluster)
    room.open = here.room.open.copy()
    room.delays = here.room.delays
    scratch = DelayBound(Placer(room, here.placer.profile, here.placer.plugins))
    for name, held in here.room.held.items():
        if name not in here.bound and not name.startswith(PREFIX):
            room.restore(held)
    return scratch


def _squeezed(here: DelayBound, pod: Pod, current: str) -> bool:
    """Put it where a placeholder makes room for it, best where it is now."""
    radius = here.placer.candidates(pod, full_too=True)
    if not pod.near:
        radius &= here.room.cluster.cloud
    nodes = here.ranked(radius)
    if current:
        nodes.insert(0, here.room.index_of(current))
    return any(_put(here, pod, node) for node in nodes)


def _put(here: DelayBound, pod: Pod, node: int) -> bool:
    size = here.placeholders.sizes.get(node)
    if size is not None:
        room = here.room
        free = Need(int(room.cpu[node]), int(room.memory[node]), int(room.cores[node]))
        lacking = need_of(pod).minus(free).most(NOTHING)
        here.placeholders.resize(node, size.minus(lacking).most(NOTHING))
    if here.room.lack(pod, node):
        if size is not None:
            here.placeholders.resize(node, size)
        return False
    here.put(pod, node, None)
    if size is not None:
        here.repair(node)
    return True
