"""Random: each task to any node that has room, all of them equally likely."""

from __future__ import annotations

from random import Random

from tango.algorithms.batch.packing import Packing, Room
from tango.algorithms.batch.scored import Score, Scored
from tango.model.plan import BatchTask


class RandomFit(Scored):
    """Drawn from the snapshot's seed. score: what was drawn for the node, 0 to 1."""

    name = "random"

    def scores(self, packing: Packing, seed: int) -> Score:
        """See Scored."""
        del packing
        draw = Random(seed).random

        def score(room: Room, task: BatchTask) -> float:
            del room, task
            return draw()

        return score
