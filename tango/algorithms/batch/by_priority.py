"""By priority: first fit, and no job goes before one of higher priority that waits for room.

A re-implementation of RESTfulSwarm's strategy `priority`. Under the other policies, too, jobs are
looked at by priority, then arrival; but a smaller one may overtake one of higher priority. Here it
may only overtake its equals, so that room that becomes free is left to the highest.
"""

from __future__ import annotations

from tango.algorithms.batch.in_order import InOrder
from tango.algorithms.batch.packing import as_given, pack
from tango.model.plan import BatchPlan, BatchSnapshot


class ByPriority:
    """BatchPolicy; deterministic. score: how many nodes come before it by name."""

    name = "priority"
    strict = True

    def place(self, snapshot: BatchSnapshot) -> BatchPlan:
        """See BatchPolicy."""
        return pack(snapshot, InOrder(snapshot, order=as_given), strict=True)
