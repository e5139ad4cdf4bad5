"""HRM: who may take what of a node, and which BE work yields its memory to LC (pure).

A re-implementation of the regulations in Tango (ICPP 2023):

    CPU is compressible       LC may take what LC does not hold yet, whatever BE does: the kernel's
                              weights see to it at once. BE gets what is left.
    memory is incompressible  LC may take what is free and what BE holds, by evicting BE; BE may
                              take only what is free. BE never evicts LC.

Bytes throughout.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations, groupby

from tango.model.units import format_memory

# Of one priority so many are tried in every combination; of more, one after another.
MAX_EXACT = 12


@dataclass(frozen=True, slots=True)
class BeTask:
    """An attempt that may be evicted. memory_bytes: what that frees; lost_cpu_s: its work."""

    attempt_id: str
    priority: int
    memory_bytes: int
    lost_cpu_s: float


@dataclass(frozen=True, slots=True)
class Eviction:
    """A decision: victims free at least need_bytes, or are all that there is (not sufficient).

    spared: attempts that stay, and why.
    """

    need_bytes: int
    victims: tuple[BeTask, ...]
    spared: tuple[tuple[str, str], ...]
    freed_bytes: int
    sufficient: bool
    why: str


def lc_memory_room(total: int, lc_held: int) -> int:
    """What LC may still take: BE does not count."""
    return total - lc_held


def be_memory_room(total: int, lc_held: int, be_held: int) -> int:
    """What BE may still take: only what nobody holds; below zero where BE is to yield."""
    return total - lc_held - be_held


def choose_victims(need_bytes: int, tasks: Iterable[BeTask]) -> Eviction:
    """The least BE whose memory suffices.

    Of all sets that free enough, the one that loses the least work of the highest priority, then
    of the next one below, and so on; then the one with the fewest victims. Exact for up to
    MAX_EXACT tasks of a priority; for more, the cheapest byte first, and what is not needed after
    all is spared.
    """
    found = sorted(tasks, key=lambda task: (-task.priority, task.attempt_id))
    if need_bytes <= 0:
        return Eviction(need_bytes, (), (), 0, sufficient=True, why="nothing is needed")
    holding = [task for task in found if task.memory_bytes > 0]
    below = sum(task.memory_bytes for task in holding)
    victims: list[BeTask] = []
    left = need_bytes
    for _, group in groupby(holding, key=lambda task: task.priority):
        same = list(group)
        below -= sum(task.memory_bytes for task in same)
        # What those of lower priority cannot give, these must.
        chosen = _cheapest(same, left - below)
        victims += chosen
        left -= sum(task.memory_bytes for task in chosen)
    freed = sum(task.memory_bytes for task in victims)
    gone = {task.attempt_id for task in victims}
    spared = tuple(
        (task.attempt_id, "holds no memory" if task.memory_bytes <= 0 else "not needed")
        for task in found
        if task.attempt_id not in gone
    )
    sufficient = freed >= need_bytes
    why = f"{format_memory(need_bytes)} needed, {format_memory(freed)} freed by {len(victims)}"
    if not sufficient:
        why += ": all that BE holds"
    return Eviction(need_bytes, tuple(victims), spared, freed, sufficient, why)


def _cheapest(tasks: Sequence[BeTask], need_bytes: int) -> list[BeTask]:
    """Those that free so much and lose the least work; all where all are not enough."""
    if need_bytes <= 0:
        return []
    if sum(task.memory_bytes for task in tasks) <= need_bytes:
        return list(tasks)
    if len(tasks) > MAX_EXACT:
        return _greedy(tasks, need_bytes)
    best: tuple[float, int, tuple[BeTask, ...]] | None = None
    for count in range(1, len(tasks) + 1):
        for some in combinations(tasks, count):
            if sum(task.memory_bytes for task in some) < need_bytes:
                continue
            lost_s = sum(task.lost_cpu_s for task in some)
            if best is None or (lost_s, count) < best[:2]:
                best = lost_s, count, some
    assert best is not None
    return list(best[2])


def _greedy(tasks: Sequence[BeTask], need_bytes: int) -> list[BeTask]:
    ordered = sorted(tasks, key=lambda task: (task.lost_cpu_s / task.memory_bytes, task.attempt_id))
    chosen: list[BeTask] = []
    freed = 0
    for task in ordered:
        if freed >= need_bytes:
            break
        chosen.append(task)
        freed += task.memory_bytes
    for task in sorted(chosen, key=lambda task: -task.lost_cpu_s):
        if freed - task.memory_bytes >= need_bytes:
            chosen.remove(task)
            freed -= task.memory_bytes
    return chosen
