"""BE placement by a weighted score of CPU, memory and number of tasks.

A re-implementation of the baseline that Tango (ICPP 2023) names "scoring", in the manner of the
Kubernetes scheduler's weighted priorities; the weights are equal, as there by default.
"""

from __future__ import annotations

from tango.algorithms.batch.packing import Packing, Room
from tango.algorithms.batch.scored import Score, Scored
from tango.model.plan import BatchTask


class Scoring(Scored):
    """score: the mean of three shares, all of them afterwards: CPU held, memory held, and BE tasks
    against the most that a node had before the plan, and one more."""

    name = "scoring"

    def scores(self, packing: Packing, seed: int) -> Score:
        """See Scored."""
        del seed
        most_tasks = max((room.tasks for room in packing.rooms), default=0)

        def score(room: Room, task: BatchTask) -> float:
            cpu = 1 - (room.cpu_millis - task.cpu_millis) / room.all_cpu_millis
            memory = 1 - (room.memory_bytes - task.memory_bytes) / room.all_memory_bytes
            tasks = (room.tasks + 1) / (most_tasks + 1)
            return (cpu + memory + tasks) / 3

        return score
