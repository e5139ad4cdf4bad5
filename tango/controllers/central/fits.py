"""Whether a gang fits: the places that a plan has for it, by the offers of now; any node at all."""

from __future__ import annotations

from collections.abc import Mapping

from tango.controllers.central.edges import Sites
from tango.controllers.central.ledger import Job
from tango.model.plan import Gang, Placement
from tango.model.units import format_cpu, format_memory


def fits(gang: Gang, nodes: Mapping[int, Placement], sites: Sites) -> bool:
    """Whether the plan covers the gang, and the offers as they are now take all of it."""
    if nodes.keys() != {task.task_index for task in gang.tasks}:
        return False
    need: dict[tuple[str, str], tuple[int, int]] = {}
    for task in gang.tasks:
        place = nodes[task.task_index].edge, nodes[task.task_index].node
        cpu, memory = need.get(place, (0, 0))
        need[place] = cpu + task.cpu_millis, memory + task.memory_bytes
    for (edge, node), (cpu, memory) in need.items():
        offer = sites.offer(edge, node)
        if offer is None or offer.memory_bytes < memory:
            return False
        if offer.cpu_millis + offer.reclaimable_millis < cpu:
            return False
    return True


def never_fits(gang: Gang, job: Job, sites: Sites) -> str:
    """Why this gang can run on no known node; empty where it can, or where no node is known."""
    for task in gang.tasks:
        if sites.largest and not any(
            shape.cpu_millis >= task.cpu_millis and shape.memory_bytes >= task.memory_bytes
            for shape in sites.largest
        ):
            name = job.record.spec.tasks[task.task_index].name
            shapes = " or ".join(
                f"{format_cpu(shape.cpu_millis)} CPU with {format_memory(shape.memory_bytes)}"
                for shape in sites.largest[:3]
            )
            return (
                f"NeverFits: task {name} needs {format_cpu(task.cpu_millis)} CPU and "
                f"{format_memory(task.memory_bytes)}, the largest node has {shapes}"
            )
    return ""
