"""Stand-in for the node's CPU model, until that is merged: LC first, BE takes what is left."""

from __future__ import annotations

import math

from tango.model.cgroup import GroupTarget


class _Work:
    __slots__ = ("group", "left", "rate", "threads")

    def __init__(self, group: str, left: float, threads: float) -> None:
        self.group, self.left, self.threads, self.rate = group, left, threads, 0.0


class NodeCpu:
    """See the interface that tango.sim.machine uses."""

    def __init__(self, cores_millis: int, now: float) -> None:
        self._cores = cores_millis / 1000
        self._now = now
        self._work: dict[str, _Work] = {}
        self._used: dict[str, float] = {}
        self.next_at = math.inf

    def set_group(self, group: str, target: GroupTarget, now: float) -> None:
        self._used.setdefault(group, 0.0)

    def remove_group(self, group: str, now: float) -> None:
        self._used.pop(group, None)

    def start(
        self, work_id: str, group: str, cpu_s: float, now: float, *, threads: float = 1.0
    ) -> None:
        self._run(now)
        self._work[work_id] = _Work(group, cpu_s, threads)
        self._share()

    def stop(self, work_id: str, now: float) -> float:
        self._run(now)
        work = self._work.pop(work_id, None)
        self._share()
        return work.left if work is not None else 0.0

    def advance(self, now: float) -> list[str]:
        self._run(now)
        ended = [name for name, work in self._work.items() if work.left <= 1e-9]
        for name in ended:
            del self._work[name]
        self._share()
        return ended

    def usage(self, group: str, now: float) -> tuple[float, int, float]:
        self._run(now)
        return self._used.get(group, 0.0), 0, 0.0

    def _run(self, now: float) -> None:
        gone = now - self._now
        self._now = now
        if gone > 0:
            for work in self._work.values():
                done = min(work.left, work.rate * gone)
                work.left -= done
                group = work.group
                while True:
                    self._used[group] = self._used.get(group, 0.0) + done
                    if not group:
                        break
                    group = group.rpartition("/")[0]

    def _share(self) -> None:
        left = self._cores
        self.next_at = math.inf
        for side in ("lc", "be"):
            some = [work for work in self._work.values() if work.group.startswith(side)]
            asked = sum(work.threads for work in some)
            share = min(1.0, left / asked) if asked else 0.0
            left -= share * asked
            for work in some:
                work.rate = work.threads * share
                if work.rate > 0:
                    self.next_at = min(self.next_at, self._now + work.left / work.rate)
