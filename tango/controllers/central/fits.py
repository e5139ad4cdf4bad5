"""Whether a gang fits the places that a plan has for it, by the offers of now; with which cores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tango.algorithms.batch.in_order import InOrder
from tango.algorithms.batch.packing import as_given, largest_first
from tango.controllers.central.edges import Sites
from tango.model.cores import ids_of
from tango.model.image import in_full
from tango.model.job import JobRecord
from tango.model.plan import BatchOffer, BatchSnapshot, BatchTask, Gang, Placement

Cores = Mapping[int, tuple[int, ...]]


def batch_task(record: JobRecord, index: int) -> BatchTask:
    """What a task of a job asks for, as policies are shown it."""
    spec = record.spec.tasks[index]
    return BatchTask(
        record.job_id,
        index,
        spec.cpu_millis,
        spec.memory_bytes,
        spec.cores,
        spec.node,
        spec.cpuset,
        in_full(spec.images) if spec.images else (),
        spec.terms,
        spec.ports,
    )


def gang_of(record: JobRecord, indices: Sequence[int]) -> Gang:
    """These tasks of a job, to be placed together."""
    tasks = tuple(batch_task(record, index) for index in indices)
    return Gang(record.job_id, record.spec.priority, tasks)


def takes(offer: BatchOffer, task: BatchTask) -> bool:
    """Whether what is offered takes the task."""
    return (
        offer.cpu_millis + offer.reclaimable_millis >= task.cpu_millis
        and offer.memory_bytes >= task.memory_bytes
        and not set(offer.ports).intersection(task.ports)
        and not offer.bars(task)
        and task.cores_among(offer.core_mask) is not None
    )


def fits(gang: Gang, nodes: Mapping[int, Placement], sites: Sites) -> Cores | None:
    """The cores of each task, if the plan covers the gang, and what is offered now takes all of it.

    A task takes the cores that it names, or the lowest-numbered that are free; in the order of the
    plan, those that name some first.
    """
    if nodes.keys() != {task.task_index for task in gang.tasks}:
        return None
    tasks = {task.task_index: task for task in gang.tasks}
    left: dict[tuple[str, str], tuple[int, int, int]] = {}
    offers: dict[tuple[str, str], BatchOffer] = {}
    ports: dict[tuple[str, str], frozenset[int]] = {}
    cores: dict[int, tuple[int, ...]] = {}
    for index in sorted(nodes, key=lambda one: not tasks[one].cpuset):
        task, place = tasks[index], (nodes[index].edge, nodes[index].node)
        room = left.get(place)
        if room is None:
            offer = sites.offer(*place)
            if offer is None:
                return None
            cpu = offer.cpu_millis + offer.reclaimable_millis
            room = cpu, offer.memory_bytes, offer.core_mask
            offers[place], ports[place] = offer, frozenset(offer.ports)
        taken = task.cores_among(room[2])
        if taken is None or offers[place].bars(task) or not ports[place].isdisjoint(task.ports):
            return None
        room = room[0] - task.cpu_millis, room[1] - task.memory_bytes, room[2] ^ taken
        if room[0] < 0 or room[1] < 0:
            return None
        left[place], ports[place] = room, ports[place].union(task.ports)
        cores[index] = ids_of(taken)
    return cores


def fits_without_be(gang: Gang, offers: Sequence[BatchOffer]) -> bool:
    """Whether first fit finds room on nodes emptied of BE, in either order of the tasks."""
    snapshot = BatchSnapshot((gang,), tuple(offers))
    return any(
        not isinstance(InOrder(snapshot, order=order).place(gang), BatchTask)
        for order in (as_given, largest_first)
    )
