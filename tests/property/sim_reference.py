"""A node's CPU as plainly as it goes: every event looks at everything. What NodeCpu must equal."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

# Less CPU time than this is rounding.
TINY_S = 1e-10


@dataclass
class PlainGroup:
    weight: int = 1024
    quota_s: float = math.inf
    period_s: float = 0.1
    burst_s: float = 0.0
    left_s: float = 0.0
    boundary: float = math.inf
    throttled: bool = False
    cpu_s: float = 0.0
    n_throttled: int = 0
    throttled_s: float = 0.0


@dataclass
class PlainCpu:
    """Groups by path; work by id: its group, seconds left, threads."""

    cores: float
    now: float = 0.0
    groups: dict[str, PlainGroup] = field(default_factory=lambda: {"": PlainGroup()})
    work: dict[str, tuple[str, float, float]] = field(default_factory=dict)
    ended: list[tuple[float, str]] = field(default_factory=list)

    def add(self, path: str) -> PlainGroup:
        if path not in self.groups:
            self.add(path.rpartition("/")[0])
            self.groups[path] = PlainGroup()
        return self.groups[path]

    def write_quota(self, path: str, quota_s: float, period_s: float, burst_s: float) -> None:
        """The first quota of a group, or a new quota in the same period and burst."""
        group = self.groups[path]
        if group.boundary == math.inf:
            group.boundary = self.now + period_s
            group.left_s = quota_s
        else:
            group.left_s = min(max(group.left_s, 0.0) + quota_s, quota_s + burst_s)
        group.quota_s, group.period_s, group.burst_s = quota_s, period_s, burst_s
        group.throttled = False

    def advance(self, until: float) -> None:
        while True:
            rates = self.rates()
            used = dict.fromkeys(self.groups, 0.0)
            for work_id, rate in rates.items():
                for path in self.groups:
                    if _within(self.work[work_id][0], path):
                        used[path] += rate
            step = until - self.now
            for work_id, rate in rates.items():
                if rate > 0:
                    step = min(step, self.work[work_id][1] / rate)
            for path, group in self.groups.items():
                step = min(step, group.boundary - self.now)
                if used[path] > 0 and group.quota_s < math.inf:
                    step = min(step, max(0.0, group.left_s) / used[path])
            self._run(max(0.0, step), rates, used)
            if not self._act() and self.now >= until:
                return

    def _run(self, step: float, rates: dict[str, float], used: dict[str, float]) -> None:
        self.now += step
        for work_id, rate in rates.items():
            path, left_s, threads = self.work[work_id]
            self.work[work_id] = (path, left_s - rate * step, threads)
        for path, group in self.groups.items():
            group.cpu_s += used[path] * step
            if group.quota_s < math.inf:
                group.left_s -= used[path] * step
            if group.throttled:
                wanting = sum(
                    threads
                    for leaf, _, threads in self.work.values()
                    if _within(leaf, path) and not self._stopped_below(leaf, path)
                )
                queues = max(1, math.ceil(min(wanting, self.cores)))
                group.throttled_s += step * queues

    def _act(self) -> bool:
        """What is due now; True if anything was."""
        did = False
        for work_id, (_, left_s, _) in list(self.work.items()):
            if left_s <= TINY_S:
                self.ended.append((self.now, work_id))
                del self.work[work_id]
                did = True
        for path, group in self.groups.items():
            if group.boundary - self.now <= TINY_S:
                group.boundary += group.period_s
                group.left_s = min(group.left_s + group.quota_s, group.quota_s + group.burst_s)
                group.n_throttled += group.throttled
                group.throttled = False
                did = True
            wants = any(
                _within(leaf, path) and not self._stopped(leaf) for leaf, _, _ in self.work.values()
            )
            if not group.throttled and wants and group.left_s <= TINY_S < group.quota_s < math.inf:
                group.throttled = True
                did = True
        return did

    def _stopped(self, leaf: str) -> bool:
        return any(group.throttled and _within(leaf, p) for p, group in self.groups.items())

    def _stopped_below(self, leaf: str, path: str) -> bool:
        below = (p for p in self.groups if p != path and _within(p, path))
        return any(self.groups[p].throttled and _within(leaf, p) for p in below)

    def rates(self) -> dict[str, float]:
        """Cores for each piece of work, by a water level found by bisection in each group."""
        wants = dict.fromkeys(self.groups, 0.0)
        for group, _, threads in self.work.values():
            wants[group] += threads
        for path in sorted(self.groups, key=lambda path: -path.count("/") - bool(path)):
            if self.groups[path].throttled:
                wants[path] = 0.0
            if path:
                wants[path.rpartition("/")[0]] += wants[path]
        gets = {"": min(self.cores, wants[""])}
        for path, below in self._children().items():
            wanted = [(child, wants[child], self.groups[child].weight) for child in below]
            low, high = 0.0, max((want / weight for _, want, weight in wanted), default=0.0)
            for _ in range(64):
                level = (low + high) / 2
                given = sum(min(want, level * weight) for _, want, weight in wanted)
                low, high = (level, high) if given <= gets[path] else (low, level)
            gets |= {child: min(want, low * weight) for child, want, weight in wanted}
        return {
            work_id: gets[group] * threads / wants[group] if wants[group] else 0.0
            for work_id, (group, _, threads) in self.work.items()
        }

    def _children(self) -> dict[str, list[str]]:
        """The groups below each, parents first."""
        below: dict[str, list[str]] = {path: [] for path in sorted(self.groups)}
        for path in below:
            if path:
                below[path.rpartition("/")[0]].append(path)
        return below


def _within(leaf: str, path: str) -> bool:
    return path == "" or leaf == path or leaf.startswith(path + "/")
