"""D-VPA: CPU quotas of services and replicas that follow the requests in flight (pure)."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tango.algorithms.quota.level import Level
from tango.algorithms.quota.order import Change, Write, ordered_writes
from tango.algorithms.quota.rule import FollowRule, follow_rule, quota_target
from tango.model.cgroup import UNLIMITED, GroupTarget

NO_QUOTA: Final = GroupTarget(quota_millis=UNLIMITED)


@dataclass(frozen=True, slots=True)
class Resize:
    """Why a replica's quota is what it is: its inputs and what was chosen; quota UNLIMITED: none.

    held: the number of requests that the quota is made for, in_flight at least.
    """

    replica: str
    in_flight: int
    held: int
    base_millis: int
    per_request_millis: int
    quota_millis: int
    period_us: int
    why: str


class QuotaFollower:
    """Quota targets of replica groups ("lc/hello/r-1") and, as their sum, of their parents.

    Targets are absolute and come from the sets of requests in flight alone, so a repeat or a
    restart leaks nothing. Methods that return writes return them in the order in which they must be
    made, and never one that changes nothing. `now` is in seconds and never goes back.

    window_s, period_us: the shortest window and period of rules made by `rule`; both are longer
    where a small base or a small request needs it, see `follow_rule`. cpus: cores of the node.
    burst: whether the kernel has bursts; a request that is shorter than a quota of two periods is
    then not throttled after an idle one.
    """

    def __init__(
        self,
        window_s: float = 0.5,
        period_us: int = 10_000,
        cpus: int = 2,
        *,
        burst: bool = False,
    ) -> None:
        self._burst = burst
        self._window_s = window_s
        self._period_us = period_us
        self._cpus = cpus
        self._levels: dict[str, Level | None] = {}
        self._children: dict[str, dict[str, None]] = {}
        self._targets: dict[str, GroupTarget] = {}
        # One entry for each level that is held above its need; no later than when it is due, but
        # for a replica that was idle in between.
        self._due: list[tuple[float, str]] = []
        self._queued: dict[str, float] = {}

    def rule(self, base_millis: int, per_request_millis: int, limit: int) -> FollowRule:
        """A rule with this follower's window and period."""
        return follow_rule(
            base_millis,
            per_request_millis,
            limit,
            window_s=self._window_s,
            period_us=self._period_us,
            cpus=self._cpus,
            burst=self._burst,
        )

    def add(self, replicas: Mapping[str, FollowRule | None], now: float) -> list[Write]:
        """Let groups' quotas follow rules, or have none; in place of earlier rules if any.

        Given together, a new parent is limited only after its children: they may be groups that an
        earlier worker left with higher quotas.
        """
        changed: dict[str, list[str]] = {}
        for replica, rule in replicas.items():
            parent = _parent(replica)
            level = self._levels.get(replica)
            in_flight = level.in_flight if level is not None else 0
            self._levels[replica] = Level(rule, now, in_flight) if rule is not None else None
            self._queued.pop(replica, None)
            self._children.setdefault(parent, {})[replica] = None
            changed.setdefault(parent, []).append(replica)
        return self._settle_all(changed)

    def retune(self, replica: str, rule: FollowRule, now: float) -> list[Write]:
        """Another rule for a replica that goes on: CPU per request was adjusted.

        What is held, its peaks and its credit stay, so that nothing shrinks early by it.
        """
        level = self._levels[replica]
        if level is None or level.rule == rule:
            return []
        level.retune(rule, now)
        if replica not in self._queued:
            self._queue(replica, level)
        return self._settle_all({_parent(replica): [replica]})

    def remove(self, replica: str) -> list[Write]:
        """Forget a group that is gone; its parent shrinks, or is forgotten with its last child."""
        if replica not in self._levels:
            return []
        parent = _parent(replica)
        del self._levels[replica]
        del self._targets[replica]
        self._queued.pop(replica, None)
        children = self._children[parent]
        del children[replica]
        if not children:
            del self._children[parent]
            del self._targets[parent]
            return []
        return self._settle(parent, [])

    def set_in_flight(self, replica: str, in_flight: int, now: float) -> list[Write]:
        """One replica serves this many requests now."""
        return self.update({replica: in_flight}, now)

    def update(self, in_flight: Mapping[str, int], now: float) -> list[Write]:
        """These replicas serve this many requests now; a quota that must grow is written once."""
        grown: dict[str, list[str]] = {}
        for replica, count in in_flight.items():
            level = self._levels[replica]
            if level is None:
                continue
            if level.move(count, now):
                grown.setdefault(_parent(replica), []).append(replica)
            if replica not in self._queued:
                self._queue(replica, level)
        return self._settle_all(grown) if grown else []

    def due(self, now: float) -> list[Write]:
        """The shrinks whose time has come."""
        if not self._due or self._due[0][0] > now:
            return []
        shrunk: dict[str, list[str]] = {}
        while self._due and self._due[0][0] <= now:
            at, replica = heapq.heappop(self._due)
            if self._queued.get(replica) != at:
                continue
            del self._queued[replica]
            level = self._levels[replica]
            if level is None:
                continue
            if level.shrink(now):
                shrunk.setdefault(_parent(replica), []).append(replica)
            self._queue(replica, level)
        return self._settle_all(shrunk)

    @property
    def wake_at(self) -> float | None:
        """When `due` may have something to do; None while nothing can shrink."""
        while self._due and self._queued.get(self._due[0][1]) != self._due[0][0]:
            heapq.heappop(self._due)
        return self._due[0][0] if self._due else None

    def target(self, group: str) -> GroupTarget:
        """The target in force of a replica's group or its parent. KeyError for another group."""
        return self._targets[group]

    def resize(self, replica: str) -> Resize:
        """The decision in force of a replica. KeyError for another group."""
        level = self._levels[replica]
        if level is None:
            return Resize(replica, 0, 0, 0, 0, UNLIMITED, 0, "no quota is asked for")
        rule = level.rule
        if level.held == level.in_flight:
            why = "what its requests in flight need" if level.held else "its base: it is idle"
        elif level.peaks and level.peaks[0].in_flight >= level.held:
            why = f"{level.held} requests were in flight within the last {rule.window_s:.2g} s"
        else:
            why = "more than is needed, so that a ramp takes few writes; it shrinks after a window"
        return Resize(
            replica,
            level.in_flight,
            level.held,
            rule.base_millis,
            rule.per_request_millis,
            rule.quota(level.held),
            rule.period_us,
            why,
        )

    def level(self, replica: str) -> Level | None:
        """What a replica's quota is held at, to look at; None for one without quota."""
        return self._levels[replica]

    def validate(self, in_flight: Mapping[str, int]) -> None:
        """AssertionError where a target does not follow from the requests in flight.

        in_flight: of every replica that was added.
        """
        assert set(in_flight) == set(self._levels), "replicas differ"
        for replica, count in in_flight.items():
            level = self._levels[replica]
            target = self._targets[replica]
            if level is None:
                assert target == NO_QUOTA, f"{replica}: a quota where none is asked"
                continue
            assert level.in_flight == count, f"{replica}: {level.in_flight} in flight, not {count}"
            assert level.held >= count, f"{replica}: quota below its need"
            assert target.quota_millis == level.rule.quota(level.held), f"{replica}: wrong quota"
            planned = level.held == count or replica in self._queued
            assert planned, f"{replica}: no shrink planned"
        for parent, children in self._children.items():
            assert children, f"{parent}: no children"
            assert self._targets[parent] == self._sum(parent), f"{parent}: not its children's sum"

    def _queue(self, replica: str, level: Level) -> None:
        due = level.due_at()
        if due is not None:
            self._queued[replica] = due
            heapq.heappush(self._due, (due, replica))

    def _settle_all(self, changed: Mapping[str, list[str]]) -> list[Write]:
        writes: list[Write] = []
        for parent in sorted(changed):
            writes += self._settle(parent, changed[parent])
        return writes

    def _settle(self, parent: str, replicas: list[str]) -> list[Write]:
        targets = self._targets
        changes: list[Change] = []
        for replica in replicas:
            level = self._levels[replica]
            new = level.rule.target(level.held) if level is not None else NO_QUOTA
            changes.append((replica, targets.get(replica), new))
            targets[replica] = new
        total = self._sum(parent)
        change = (parent, targets.get(parent), total)
        targets[parent] = total
        return ordered_writes(change, changes)

    def _sum(self, parent: str) -> GroupTarget:
        total = period_us = 0
        burst = False
        for replica in self._children[parent]:
            level = self._levels[replica]
            if level is None:
                return NO_QUOTA
            total += level.rule.quota(level.held)
            period_us = max(period_us, level.rule.period_us)
            burst = level.rule.burst
        return quota_target(total, period_us, burst=burst)


def _parent(group: str) -> str:
    return group.rpartition("/")[0]
