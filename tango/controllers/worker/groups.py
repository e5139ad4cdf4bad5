"""The node's groups as commands: made before use, limited, removed when done; and their quotas."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from tango.algorithms.quota.follow import NO_QUOTA, QuotaFollower
from tango.algorithms.quota.order import Write
from tango.algorithms.quota.rule import FollowRule
from tango.algorithms.quota.sides import (
    BE,
    LC,
    NODE,
    attempt_group,
    attempt_target,
    replica_group,
    replica_memory,
    service_group,
    side_groups,
)
from tango.algorithms.quota.suppression import CapChange
from tango.controllers.worker.counters import Counters
from tango.controllers.worker.outbox import Outbox
from tango.model.cgroup import UNLIMITED, CgroupFeatures, GroupTarget, Mismatch
from tango.model.cluster import NodeCapacity
from tango.model.commands import ApplyGroup, CreateGroup, KillGroup, RemoveGroup
from tango.model.decision import RESIZE
from tango.model.events import GroupApplied
from tango.model.job import TaskSpec
from tango.model.service import QuotaMode, ServiceSpec
from tango.model.settings import WorkerSettings

MAX_MISMATCHES = 256
# Of BE's cap: long enough for a fiftieth of a core, for the kernel's smallest quota is 1 ms.
BE_PERIOD_US = 50_000

_QUOTA_FIELDS = ("quota_millis", "period_us", "burst_us")


class GroupTree:
    """Groups that exist as far as this worker knows, and what the kernel did not take.

    Without cgroups (features None) it does nothing, and every group is "".
    """

    def __init__(
        self,
        settings: WorkerSettings,
        capacity: NodeCapacity,
        features: CgroupFeatures | None,
        counters: Counters,
        out: Outbox,
    ) -> None:
        self.enabled = features is not None
        self._settings = settings
        self._features = features
        self._counters = counters
        self._out = out
        self._follower = QuotaFollower(
            period_us=round(settings.quota_period_ms * 1000),
            cpus=max(1, -(-capacity.cpu_millis // 1000)),
            burst=features is not None and features.burst,
        )
        self._made: dict[str, None] = {}
        # Replicas and attempts only: what listings show.
        self.leaves: dict[str, None] = {}
        self._mismatches: dict[tuple[str, str], Mismatch] = {}
        self._noted: set[tuple[str, str]] = set()
        # Quotas as last asked for, for the records of their changes.
        self._quotas: dict[str, int] = {}

    def open(self) -> None:
        """Make the node's group and its two sides; absolute, so a restart sets them right."""
        if self._features is not None:
            settings = self._settings
            for group, target in side_groups(settings.cpu_weight, settings.cpuset, self._features):
                self._create(group, target)

    def remove_leftovers(
        self, found: Iterable[str], needed: Iterable[str], *, orphans: bool
    ) -> None:
        """Of the groups found at the start, remove those that no record needs; deepest first.

        Before anything is adopted, since an old child's quota may be above its parent's new one.
        orphans: what still runs in them is nobody's, for every record is understood, and is ended;
        else it stays, and the shell says so.
        """
        if not self.enabled:
            return
        keep = set(needed)
        keep |= {group.rpartition("/")[0] for group in keep}
        for group in sorted(set(found) - keep, reverse=True):
            if group.startswith((f"{LC}/", f"{BE}/")):
                self._out.note("info", "leftover_group_removed", group=group)
                if orphans:
                    self._out.add(KillGroup(group))
                self._out.add(RemoveGroup(group))

    # ---- replicas

    def add_replicas(
        self, replicas: Iterable[tuple[str, ServiceSpec, int]], now: float
    ) -> dict[str, str]:
        """Make the groups of (replica_id, spec, in flight), or bring them to this spec.

        CPU per request is the spec's; `retune` adjusts it. Returns replica_id -> group. Replicas of
        one service that earlier workers left come together: their service is limited again only
        after all of them are.
        """
        if not self.enabled:
            return {replica_id: "" for replica_id, _, _ in replicas}
        groups: dict[str, str] = {}
        memory: dict[str, GroupTarget] = {}
        rules: dict[str, FollowRule | None] = {}
        counts: dict[str, int] = {}
        for replica_id, spec, in_flight in replicas:
            group = groups[replica_id] = replica_group(spec.name, replica_id)
            memory[group] = self._leaf(replica_memory(spec))
            rules[group] = self._rule(spec)
            counts[group] = in_flight
            parent = service_group(spec.name)
            if parent not in self._made:
                self._create(parent, NO_QUOTA)
        for group, target in self._follower.add(rules, now):
            self._record(group, target)
            known = memory.pop(group, None)
            if known is None:
                self._apply(group, target)
                continue
            target = replace(
                target, memory_max_bytes=known.memory_max_bytes, oom_group=known.oom_group
            )
            if group in self._made:
                self._apply(group, target)
            else:
                self._create(group, target)
                self.leaves[group] = None
        for group, target in memory.items():
            self._apply(group, target)
        self._write(self._follower.update(counts, now))
        return groups

    def retune(
        self, group: str, spec: ServiceSpec, cpu_per_request_millis: int, now: float
    ) -> None:
        """A request of the replica takes this much CPU from now on, 0 for what its spec says."""
        rule = self._rule(spec, cpu_per_request_millis) if self.enabled and group else None
        if rule is not None:
            self._write(self._follower.retune(group, rule, now))

    def remove_replica(self, group: str) -> None:
        """The replica is gone for good: its group goes, and its service's with the last one."""
        if not self.enabled:
            return
        self._remove(group)
        parent = group.rpartition("/")[0]
        writes = self._follower.remove(group)
        self._write(writes)
        if not any(leaf.startswith(f"{parent}/") for leaf in self.leaves):
            self._remove(parent)

    def set_in_flight(self, counts: Mapping[str, int], now: float) -> None:
        """Replica groups serve this many requests now: quotas that must grow do."""
        if self.enabled:
            writes = self._follower.update(counts, now)
            if writes:
                self._write(writes)

    def shrink_due(self, now: float) -> None:
        """Lower the quotas whose time has come."""
        self._write(self._follower.due(now))

    @property
    def wake_at(self) -> float | None:
        """When a quota may shrink."""
        return self._follower.wake_at

    def quota_millis(self, group: str) -> int:
        """A leaf's quota target; UNLIMITED for none."""
        if not group.startswith(f"{LC}/"):
            return UNLIMITED
        quota = self._follower.target(group).quota_millis
        return UNLIMITED if quota is None else quota

    # ---- attempts

    @property
    def pins(self) -> bool:
        """Whether a task can be given cores of its own."""
        features = self._features
        return features is not None and "cpuset" in features.controllers

    def add_attempt(self, attempt_id: str, spec: TaskSpec, cores: tuple[int, ...] = ()) -> str:
        """Make the group of an attempt, on these cores alone; "" without cgroups."""
        if not self.enabled:
            return ""
        group = attempt_group(attempt_id)
        self._create(group, self._leaf(attempt_target(spec, cores)))
        self.leaves[group] = None
        return group

    def remove_attempt(self, group: str) -> None:
        """The attempt has ended and that is known where it matters."""
        if self.enabled:
            self._remove(group)

    def end_orphans(self, group: str) -> None:
        """The record of what ran there is lost: nothing of it may live when that is told."""
        if self.enabled and group in self._made:
            self._out.add(KillGroup(group))

    def cap_be(self, change: CapChange) -> None:
        """Limit all of BE to this much."""
        if self.enabled:
            self._apply(BE, GroupTarget(change.after_millis, BE_PERIOD_US))

    # ---- what the kernel says

    def applied(self, event: GroupApplied, now: float) -> None:
        """Keep what differs from its target, until it is set again."""
        del now
        if not event.mismatches or event.group not in self._made:
            return
        for mismatch in event.mismatches:
            name = (event.group, mismatch.field)
            self._mismatches.pop(name, None)
            self._mismatches[name] = mismatch
            if len(self._mismatches) > MAX_MISMATCHES:
                del self._mismatches[next(iter(self._mismatches))]
            if name not in self._noted:
                self._noted.add(name)
                observed = not self._settings.enforce
                self._out.note(
                    "info" if observed else "warning",
                    "group_target_observed" if observed else "group_target_not_met",
                    group=event.group,
                    field=mismatch.field,
                    wanted=mismatch.wanted,
                    found=mismatch.found,
                )

    def mismatches(self) -> tuple[Mismatch, ...]:
        """The latest for each group and field, oldest first."""
        return tuple(self._mismatches.values()) if self._mismatches else ()

    def validate(self, in_flight: Mapping[str, int]) -> None:
        """AssertionError where quotas do not follow. in_flight: of every replica's group."""
        if not self.enabled:
            assert not self._made, "groups without cgroups"
            return
        self._follower.validate(in_flight)
        for group in self.leaves:
            assert group in self._made, f"{group}: not made"
        for group, _ in self._mismatches:
            assert group in self._made, f"{group}: a mismatch of what is gone"
        services = {group.rpartition("/")[0] for group in in_flight}
        expected = {NODE, LC, BE, *services, *self.leaves}
        assert not self._made or set(self._made) == expected, "groups left behind, or missing"

    # ---- commands

    def _rule(self, spec: ServiceSpec, cpu_per_request_millis: int = 0) -> FollowRule | None:
        if spec.quota is not QuotaMode.FOLLOW:
            return None
        per_request = cpu_per_request_millis or spec.cpu_per_request_millis
        return self._follower.rule(spec.quota_base_millis, per_request, spec.concurrency)

    def _leaf(self, target: GroupTarget) -> GroupTarget:
        """Of one replica or attempt: half of it is no use, so it is killed as a whole."""
        if self._features is None or not self._features.oom_group:
            return target
        return replace(target, oom_group=True)

    def _create(self, group: str, target: GroupTarget) -> None:
        self._made[group] = None
        self._out.add(CreateGroup(group, target))

    def _write(self, writes: list[Write]) -> None:
        for group, target in writes:
            self._record(group, target)
            self._apply(group, target)

    def _record(self, group: str, target: GroupTarget) -> None:
        """A quota that follows requests is about to change."""
        after = UNLIMITED if target.quota_millis is None else target.quota_millis
        before = self._quotas.get(group)
        if before == after or (before is None and after == UNLIMITED):
            return
        self._quotas[group] = after
        _, service, *rest = group.split("/")
        prefix = f"{group}/"
        leaves = [group] if rest else [leaf for leaf in self.leaves if leaf.startswith(prefix)]
        levels = [level for leaf in leaves if (level := self._follower.level(leaf)) is not None]
        in_flight = sum(level.in_flight for level in levels)
        held = sum(level.held for level in levels)
        self._out.record(
            RESIZE, service, "".join(rest), before, after, target.period_us, in_flight, held
        )

    def _apply(self, group: str, target: GroupTarget) -> None:
        if self._mismatches:
            for field in _QUOTA_FIELDS:
                self._mismatches.pop((group, field), None)
            if target.memory_max_bytes is not None:
                self._mismatches.pop((group, "memory_max_bytes"), None)
        self._out.add(ApplyGroup(group, target))

    def _remove(self, group: str) -> None:
        del self._made[group]
        self.leaves.pop(group, None)
        self._quotas.pop(group, None)
        self._counters.drop(group)
        for name in [name for name in self._mismatches if name[0] == group]:
            del self._mismatches[name]
        self._noted = {name for name in self._noted if name[0] != group}
        self._out.add(RemoveGroup(group))
