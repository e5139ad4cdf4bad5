"""The min-cost flow of one service: origins over the nodes' rooms to a sink; what stays, stays.

Solver: OR-tools' SimpleMinCostFlow (cost-scaling push-relabel; Goldberg, "An Efficient
Implementation of a Scaling Minimum-Cost Flow Algorithm", 1997), integers only.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from ortools.graph.python.min_cost_flow import SimpleMinCostFlow

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


def min_cost_flow(
    supplies: Sequence[int], reach: Bools, room: Ints, cost: Ints, staying_cost: int
) -> Ints:
    """How many of each origin's requests take each place; shape (origins, places).

    supplies: requests of each origin. reach: which origin may use which place, (origins, places).
    room, cost: of each place, whole numbers; a request that takes none costs staying_cost. So the
    flow is feasible at any supply and any room, zero included. Raises ArithmeticError where the
    solver gives up, for numbers too large.
    """
    flow = SimpleMinCostFlow()
    origins, sink = len(supplies), len(supplies)
    reach = reach & (room > 0)
    # Where origins meet, the place becomes a vertex and its room theirs together; others need
    # none, and a graph of parallel arcs is solved ten times as fast as a star.
    met = np.flatnonzero(reach.sum(axis=0) > 1)
    heads = np.full(room.size, sink, np.int64)
    heads[met] = sink + 1 + np.arange(met.size)
    _arcs(flow, heads[met], np.full(met.size, sink), room[met], np.zeros(met.size, np.int64))
    sent: list[tuple[Ints, Ints]] = []
    for origin, supply in enumerate(supplies):
        places = np.flatnonzero(reach[origin])
        tails = np.full(places.size, origin)
        most = np.minimum(room[places], supply)
        sent.append((places, _arcs(flow, tails, heads[places], most, cost[places])))
        flow.add_arc_with_capacity_and_unit_cost(origin, sink, supply, staying_cost)
        flow.set_node_supply(origin, supply)
    flow.set_node_supply(sink, -sum(supplies))
    status = flow.solve()
    if status != flow.OPTIMAL:
        raise ArithmeticError(f"the min-cost flow ended with {status.name}")
    taken = np.zeros((origins, room.size), np.int64)
    for origin, (places, arcs) in enumerate(sent):
        if arcs.size:
            taken[origin, places] = flow.flows(arcs)
    return taken


def _arcs(flow: SimpleMinCostFlow, tails: Ints, heads: Ints, most: Ints, cost: Ints) -> Ints:
    if not tails.size:
        return np.zeros(0, np.int64)
    ids = flow.add_arcs_with_capacity_and_unit_cost(
        tails.astype(np.int32), heads.astype(np.int32), most, cost
    )
    return np.asarray(ids)
