"""Delay bounds and placeholders as records of a store, and back after a restart.

Records of one event are one commit, so a pod and the room for its backup are stored together or
not at all. Nothing is acknowledged, started or moved before its records are stored.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import cast

from tango.algorithms.placement.delay_books import Bound
from tango.algorithms.placement.delay_bound import DelayBound
from tango.algorithms.placement.placeholders import PREFIX, Need
from tango.algorithms.placement.pod import Pod
from tango.algorithms.placement.room import Held
from tango.model.affinity import Effect, Operator, Requirement, Toleration
from tango.model.commands import Delete, Put
from tango.model.placements import (
    BoundRecord,
    PodRecord,
    RequirementRecord,
    ReservationRecord,
    TolerationRecord,
)

BOUND = "bound"
RESERVATION = "reservation"
Kept = BoundRecord | ReservationRecord


class BoundJournal:
    """What of the books was written last; one per DelayBound, made before anything is placed."""

    def __init__(self, here: DelayBound) -> None:
        self._here = here
        self._written: dict[tuple[str, str], Kept] = {}
        self._seen: dict[tuple[str, str], tuple[Bound | None, Held | None]] = {}

    def follow(self, here: DelayBound) -> None:
        """Other books of the same cluster from now on; writes() are what differs."""
        self._here = here

    def writes(self) -> tuple[Put | Delete, ...]:
        """What has changed since it was last asked, to be committed as a whole, in this order."""
        here, held = self._here, self._here.room.held
        now: dict[tuple[str, str], tuple[Bound | None, Held | None]] = {
            (BOUND, name): (one, held.get(name)) for name, one in here.bound.items()
        }
        for host in here.placeholders.sizes:
            name = here.room.cluster.names[host]
            now[RESERVATION, name] = None, held[PREFIX + name]
        found: list[Put | Delete] = [Delete(*key) for key in sorted(self._written.keys() - now)]
        for gone in found:
            del self._written[gone.kind, gone.key]
        # Most are the very same objects as last time.
        fresh = [
            key
            for key, (one, place) in now.items()
            if (was := self._seen.get(key)) is None or was[0] is not one or was[1] is not place
        ]
        for key in sorted(fresh):
            one, place = now[key]
            record = _record(key[1], one, place)
            if self._written.get(key) != record:
                self._written[key] = record
                found.append(Put(*key, record))
        self._seen = now
        return tuple(found)

    def resume(
        self, bound: Mapping[str, BoundRecord], reservations: Mapping[str, ReservationRecord]
    ) -> tuple[Bound, ...]:
        """Take over what a store kept; answers as DelayBound.resume.

        The next writes() are what could not be taken over as it was. Raises InvalidField for
        records that no version of Tango writes.
        """
        kept = [Bound(pod_of(one.pod), one.node, one.backup, one.warning) for one in bound.values()]
        sizes = {
            name: Need(one.cpu_millis, one.memory_bytes, len(one.cores))
            for name, one in reservations.items()
        }
        cores = {name: record.cores for name, record in bound.items()}
        cores |= {PREFIX + name: record.cores for name, record in reservations.items()}
        changed = self._here.resume(kept, sizes, cores)
        self._written = {(BOUND, name): record for name, record in bound.items()}
        self._written |= {(RESERVATION, name): record for name, record in reservations.items()}
        self._seen = {}
        return changed


def _record(name: str, one: Bound | None, held: Held | None) -> Kept:
    """one: None for a placeholder's host of that name."""
    cores = held.cores if held is not None else ()
    if one is not None:
        return BoundRecord(_pod_record(one.pod), one.node, one.backup, one.warning, cores)
    assert held is not None
    return ReservationRecord(name, held.pod.cpu_millis, held.pod.memory_bytes, cores)


def _pod_record(pod: Pod) -> PodRecord:
    return PodRecord(
        pod.name, pod.cpu_millis, pod.memory_bytes, pod.cores, pod.cpuset, pod.ports, pod.group,
        pod.images, pod.near, None if pod.bound_s == math.inf else pod.bound_s, pod.node,
        tuple(RequirementRecord(one.key, one.operator, one.values) for one in pod.requires),
        tuple(
            RequirementRecord(one.key, one.operator, one.values, weight)
            for one, weight in pod.prefers
        ),
        tuple(TolerationRecord(one.key, one.value, one.effect) for one in pod.tolerations),
        pod.priority, pod.protected,
    )  # fmt: skip


def pod_of(record: PodRecord) -> Pod:
    """What was stored. Raises InvalidField: the constructors refuse what the casts let through."""
    return Pod(
        record.name, record.cpu_millis, record.memory_bytes, record.cores, record.cpuset,
        record.ports, record.group, record.images, record.near,
        math.inf if record.bound_s is None else record.bound_s, record.node,
        tuple(_requirement(one) for one in record.requires),
        tuple((_requirement(one), one.weight) for one in record.prefers),
        tuple(
            Toleration(one.key, one.value, cast("Effect | None", one.effect))
            for one in record.tolerations
        ),
        record.priority, record.protected,
    )  # fmt: skip


def _requirement(record: RequirementRecord) -> Requirement:
    return Requirement(record.key, cast("Operator", record.operator), record.values)
