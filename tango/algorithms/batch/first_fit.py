"""First fit: each task to the first node, by edge and node name, that has room.

The classical packing rule (Johnson, "Near-optimal bin packing algorithms", 1973), in two
dimensions, and with gangs' tasks largest first. It fills one node after another.
"""

from __future__ import annotations

from tango.algorithms.batch.in_order import InOrder
from tango.algorithms.batch.packing import pack
from tango.model.plan import BatchPlan, BatchSnapshot


class FirstFit:
    """BatchPolicy; deterministic. score: how many nodes come before it by name."""

    name = "first-fit"

    def place(self, snapshot: BatchSnapshot) -> BatchPlan:
        """See BatchPolicy."""
        return pack(snapshot, InOrder(snapshot))
