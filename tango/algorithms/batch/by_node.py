"""By node: each task to the node that it names, and to the cores, if it names some.

A re-implementation of RESTfulSwarm's strategy `node`. It waits while any of them is busy. A task
that names no node is not started at all: every other policy starts it, and keeps to names too.
"""

from __future__ import annotations

from tango.algorithms.batch.in_order import InOrder
from tango.algorithms.batch.packing import as_given, pack
from tango.model.plan import BatchPlan, BatchSnapshot, Unplaced

NO_NODE_NAMED = "policy `node` starts only tasks that name their node"


class ByNode:
    """BatchPolicy; deterministic. score: how many nodes come before it by name."""

    name = "node"
    needs_node = True

    def place(self, snapshot: BatchSnapshot) -> BatchPlan:
        """See BatchPolicy."""
        named = tuple(gang for gang in snapshot.gangs if all(task.node for task in gang.tasks))
        others = {gang.job_id for gang in snapshot.gangs} - {gang.job_id for gang in named}
        only = BatchSnapshot(named, snapshot.offers, snapshot.seed, snapshot.last)
        plan = pack(only, InOrder(only, order=as_given))
        left = tuple(Unplaced(job_id, NO_NODE_NAMED) for job_id in sorted(others))
        return BatchPlan(plan.placements, plan.unplaced + left)
