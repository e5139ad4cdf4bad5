"""Tasks with delay bounds and backups by `DelayBound`, from facts to a plan; needs numpy.

Each plan is made from the facts alone: where attempts are, what was kept of bounds and backups,
what nodes have now. So books that have drifted, by a crash or a refusal, are right again with the
next one. Nobody that runs is moved out of another's way: it would lose its work.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from tango.algorithms.placement.arrays import Bools
from tango.algorithms.placement.bound_delays import presumed
from tango.algorithms.placement.cluster import Cluster, NodeRow
from tango.algorithms.placement.decision import Chosen, named
from tango.algorithms.placement.delay_books import UNPROTECTED, leaving
from tango.algorithms.placement.delay_bound import DelayBound
from tango.algorithms.placement.delay_improve import improvement
from tango.algorithms.placement.delay_looks import nowhere_rows
from tango.algorithms.placement.delay_records import RESERVATION, BoundJournal, pod_of
from tango.algorithms.placement.placer import CLOSED, Placer, leaders_first
from tango.algorithms.placement.plugin import Plugin
from tango.algorithms.placement.pod import Pod
from tango.algorithms.placement.room import Room
from tango.model.bounds import (
    ANYWHERE,
    BoundLook,
    BoundNode,
    BoundPlan,
    BoundService,
    BoundSnapshot,
    BoundTask,
    ImproveSnapshot,
)
from tango.model.commands import Delete, Put
from tango.model.errors import Refused
from tango.model.improvement import Improvement
from tango.model.placement_profile import TERM_FILTERS, Profile, with_filters
from tango.model.placements import BoundRecord, PodRecord, ReservationRecord

# Before a node's name: what has ports there beside the tasks.
OTHERS = "others/"
NEEDED = (*TERM_FILTERS, "delay", "fit", "cores")


class BoundTasks:
    """A BoundRule. profile: its filters count, `delay` and `fit` in any case; its scores do not."""

    def __init__(self, profile: Profile, plugins: Mapping[str, Plugin]) -> None:
        self.profile = profile
        self._plugins = plugins
        # A profile that cannot be made is told at the start, not with the first job.
        needed = with_needed(profile)
        filters = Placer(Room(Cluster(())), needed, plugins).filters
        uses = (replace(use, weight=0.0) for use in needed.plugins if use.plugin in filters)
        # What only scores would be made for nothing.
        self._profile = replace(needed, plugins=tuple(uses))

    def plan(self, snapshot: BoundSnapshot) -> BoundPlan:
        """See BoundRule."""
        here, journal, kept, asked = self._books(snapshot)
        here.looks = {}
        if snapshot.failed:
            here.fail(snapshot.failed)
        else:
            here.mend()
        unplaced = tuple(_asked(here, snapshot.gangs))
        waits = tuple(
            (name, _why(here, one.pod)) for name, one in sorted(here.bound.items()) if not one.node
        )
        plan = _plan(journal, here, unplaced, waits)
        # As they are stored: with the node that they name, and without the rule's own core ids.
        records = (replace(one, pod=asked[one.pod.name], cores=()) for one in plan.records)
        changed = tuple(one for one in records if one != kept.get(one.pod.name))
        return replace(plan, records=changed)

    def improve(self, snapshot: ImproveSnapshot) -> Improvement:
        """See BoundRule."""
        here, _, _, _ = self._books(snapshot.now)
        here.mend()
        # Who names a node stays there.
        stay = {*snapshot.stay, *here.pins}
        return improvement(here, snapshot.max_moves, stay, snapshot.targets)

    def _books(
        self, snapshot: BoundSnapshot
    ) -> tuple[DelayBound, BoundJournal, dict[str, BoundRecord], dict[str, PodRecord]]:
        """As things are, before anything is mended; with what was kept of the tasks, and what all
        ask for."""
        room = Room(Cluster(_rows(snapshot.nodes, snapshot.services)))
        here = DelayBound(Placer(room, self._profile, self._plugins))
        here.makes_room = False
        here.stays_without = TERM_FILTERS
        journal = BoundJournal(here)
        _hold(here, snapshot.tasks)
        _others(here, snapshot.nodes)
        kept = {one.bound.pod.name: one.bound for one in snapshot.tasks}
        asked = {name: record.pod for name, record in kept.items()}
        asked |= {pod.name: pod for _, pods in snapshot.gangs for pod in pods}
        here.pins = _pins(asked.values(), room.cluster.names)
        resumed = {name: _free(one) for name, one in kept.items()}
        journal.resume(resumed, dict(snapshot.reservations))
        room.delays = presumed(here, snapshot)
        return here, journal, kept, asked


def _free(record: BoundRecord) -> BoundRecord:
    """Without the node that it names: its backup is on another one. See `pins`."""
    return replace(record, pod=replace(record.pod, node="")) if record.pod.node else record


def _pins(pods: Iterable[PodRecord], names: Sequence[str]) -> dict[str, Bools]:
    """For those that name a node: which rows are that, of any site where only its bare name is
    given."""
    pinned = [pod for pod in pods if pod.node]
    if not pinned:
        return {}
    bare = [name.partition("/")[2] for name in names]
    return {
        pod.name: np.array([pod.node in both for both in zip(names, bare, strict=True)], np.bool_)
        for pod in pinned
    }


def with_needed(profile: Profile) -> Profile:
    """The profile, with the filters that bounds stand on."""
    return with_filters(profile, NEEDED)


def _rows(nodes: Sequence[BoundNode], services: Sequence[BoundService]) -> Iterator[NodeRow]:
    for one in nodes:
        yield NodeRow(
            one.name, one.cpu_millis, one.memory_bytes, one.cores, one.site, one.labels, one.taints,
            cordoned=not one.open,
        )  # fmt: skip
    # So that `near` may name a place for those that have no bound: all is within it.
    yield NodeRow(ANYWHERE, 0, 0, 0, cordoned=True)
    for service in services:
        yield NodeRow(service.name, 0, 0, 0, cordoned=True)


def _hold(here: DelayBound, tasks: Sequence[BoundTask]) -> None:
    """What runs has its room, whatever was kept; on its way elsewhere, at both ends."""
    room = here.room
    for one in tasks:
        if not one.at:
            continue
        pod, at = pod_of(_free(one.bound).pod), room.index_of(one.at)
        here.runs_on[pod.name] = at
        if one.bound.node not in ("", one.at):
            pod = leaving(pod)
        if pod.ports and any(port in room.ports_at(at) for port in pod.ports):
            # Wherever it came from: the plan is to end it, not to fail of it.
            pod = replace(pod, ports=())
        if room.lack(pod, at):
            raise Refused(f"{one.at} is said to have less than {pod.name} holds there")
        room.take(pod, at)


def _others(here: DelayBound, nodes: Sequence[BoundNode]) -> None:
    """Fixed ports that others have, as pods of their own."""
    room = here.room
    for one in nodes:
        if one.ports:
            at = room.index_of(one.name)
            ports = tuple(sorted({*one.ports} - room.ports_at(at)))
            room.take(Pod(f"{OTHERS}{one.name}", ports=ports), at)


def _asked(
    here: DelayBound, gangs: Sequence[tuple[str, tuple[PodRecord, ...]]]
) -> Iterator[tuple[str, str]]:
    """Each gang whole or not at all; who finds no place, and why.

    Where the backup of one stands in the way of another, all are placed first, and those that still
    find one get their backups then: as with a single task, none is better than no place.
    """
    for job_id, records in gangs:
        free = (replace(record, node="") for record in records)
        pods = sorted(map(pod_of, free), key=_largest_first)
        reason = _admitted(here, pods)
        if reason and len(pods) > 1 and any(pod.protected for pod in pods):
            reason = _admitted(here, [replace(pod, protected=False) for pod in pods])
            if not reason:
                for pod in pods:
                    warning = UNPROTECTED if pod.protected else ""
                    here.bound[pod.name] = replace(here.bound[pod.name], pod=pod, warning=warning)
                here.mend()
        if reason:
            yield job_id, reason


def _admitted(here: DelayBound, pods: Sequence[Pod]) -> str:
    """Admit all of them, or none: then why not."""
    placed: list[str] = []
    for pod in leaders_first(list(pods), {pod.name for pod in pods}):
        if here.admit(pod).reason:
            reason = _why(here, pod)
            for name in reversed(placed):
                here.delete(name)
            return reason
        placed.append(pod.name)
    return ""


def _largest_first(pod: Pod) -> tuple[int, int, int]:
    return -pod.cores, -pod.cpu_millis, -pod.memory_bytes


def _why(here: DelayBound, pod: Pod) -> str:
    """Why it finds no node, in a cluster without the rows that are none."""
    chosen = here.placer.look(pod)
    pin = here.pins.get(pod.name)
    if pin is not None:
        return _why_not_there(chosen, np.flatnonzero(pin).tolist(), here.room.cluster.names)
    nowhere = nowhere_rows(here.room.cluster.names)
    removed = tuple(
        (plugin, why, count - (nowhere if why == CLOSED else 0), bits)
        for plugin, why, count, bits in chosen.removed
    )
    looked = replace(
        chosen, looked=chosen.looked - nowhere, removed=tuple(one for one in removed if one[2])
    )
    return looked.reason or "it has just lost its place"


def _why_not_there(chosen: Chosen, rows: Sequence[int], names: Sequence[str]) -> str:
    """Why none of the rows will do that it names a node of."""
    parts = []
    for row in rows:
        found = (why for _, why, _, bits in chosen.removed if names[row] in named(bits, names))
        parts.append(f"{names[row]}: {next(found, 'it has just lost its place')}")
    return f"the node that it names will not do: {', '.join(parts) or 'it is not known'}"


def _plan(
    journal: BoundJournal,
    here: DelayBound,
    unplaced: tuple[tuple[str, str], ...],
    waits: tuple[tuple[str, str], ...],
) -> BoundPlan:
    """What is to be kept otherwise from now on, as the rule has it."""
    records: list[BoundRecord] = []
    reservations: list[ReservationRecord] = []
    dropped: list[str] = []
    for write in journal.writes():
        match write:
            case Delete(kind, key):
                assert kind == RESERVATION, "a task that is known stays so"
                dropped.append(key)
            case Put(_, _, BoundRecord() as record):
                records.append(record)
            case Put(_, _, ReservationRecord() as record):
                reservations.append(record)
    assert here.looks is not None
    looks = tuple(_look(here, record) for record in records if record.pod.name in here.looks)
    return BoundPlan(tuple(records), tuple(reservations), tuple(dropped), unplaced, waits, looks)


def _look(here: DelayBound, record: BoundRecord) -> BoundLook:
    """With the backup as it is in the end: later ones may share it, or have replaced it."""
    assert here.looks is not None
    look = here.looks[record.pod.name]
    if not record.backup:
        return replace(look, step=0, grew=False)
    covered = here.placeholders.covered(here.room.index_of(record.backup))
    return replace(look, shared=len(covered) - 1)
