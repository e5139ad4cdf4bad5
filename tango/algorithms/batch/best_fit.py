"""Best fit: each task where the least is left afterwards, so that large holes stay whole.

The classical packing rule (Johnson, "Near-optimal bin packing algorithms", 1973), in two
dimensions: CPU and memory left count alike, each as a share of the largest offer. Kubernetes calls
its like MostAllocated.
"""

from __future__ import annotations

from tango.algorithms.batch.packing import Packing, Room
from tango.algorithms.batch.scored import Score, Scored
from tango.model.plan import BatchTask


class BestFit(Scored):
    """score: the mean of CPU and memory left afterwards, as shares of the largest offers."""

    name = "best-fit"

    def scores(self, packing: Packing, seed: int) -> Score:
        """See Scored."""
        del seed
        most_cpu, most_memory = packing.most_cpu_millis, packing.most_memory_bytes

        def left(room: Room, task: BatchTask) -> float:
            cpu = (room.cpu_millis - task.cpu_millis) / most_cpu
            return (cpu + (room.memory_bytes - task.memory_bytes) / most_memory) / 2

        return left
