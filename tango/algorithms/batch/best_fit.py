"""Best fit: each task where the least is left afterwards, so that large holes stay whole.

The classical packing rule (Johnson, "Near-optimal bin packing algorithms", 1973). For a task that
asks for whole cores what counts is how many of them are left free, as in RESTfulSwarm; its job's
tasks go in the order in which they are listed, or, decreasing, those of most cores first. For other
tasks it is in two dimensions: CPU and memory left count alike, each as a share of the largest
offer, and the largest task of a job goes first. Kubernetes calls its like MostAllocated.
"""

from __future__ import annotations

from tango.algorithms.batch.packing import Order, Packing, Room, as_given, largest_first
from tango.algorithms.batch.scored import Score, Scored
from tango.model.plan import BatchTask


class BestFit(Scored):
    """score: free cores that are left, for a task that asks for cores; for others the mean of CPU
    and memory left, as shares of the largest offers."""

    name = "best-fit"
    order: Order = staticmethod(as_given)

    def scores(self, packing: Packing, seed: int) -> Score:
        """See Scored."""
        del seed
        most_cpu, most_memory = packing.most_cpu_millis, packing.most_memory_bytes

        def left(room: Room, task: BatchTask) -> float:
            if task.cores:
                return room.core_mask.bit_count() - task.cores
            cpu = (room.cpu_millis - task.cpu_millis) / most_cpu
            return (cpu + (room.memory_bytes - task.memory_bytes) / most_memory) / 2

        return left


class BestFitDecreasing(BestFit):
    """The same, with a job's tasks of most cores first."""

    name = "best-fit-decreasing"
    order: Order = staticmethod(largest_first)
