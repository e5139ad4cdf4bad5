"""First fit: each task to the first node, by edge and node name, that has room.

The classical packing rule (Johnson, "Near-optimal bin packing algorithms", 1973), in two
dimensions. It fills one node after another. Jobs that ask for whole cores have their tasks placed
in the order in which they list them, or, decreasing, those of most cores first, as RESTfulSwarm
does; the tasks of other jobs always go largest first.
"""

from __future__ import annotations

from tango.algorithms.batch.in_order import InOrder
from tango.algorithms.batch.packing import Order, as_given, largest_first, pack
from tango.model.plan import BatchPlan, BatchSnapshot


class FirstFit:
    """BatchPolicy; deterministic. score: how many nodes come before it by name."""

    name = "first-fit"
    order: Order = staticmethod(as_given)

    def place(self, snapshot: BatchSnapshot) -> BatchPlan:
        """See BatchPolicy."""
        return pack(snapshot, InOrder(snapshot, order=self.order))


class FirstFitDecreasing(FirstFit):
    """The same, with a job's tasks of most cores first."""

    name = "first-fit-decreasing"
    order: Order = staticmethod(largest_first)
