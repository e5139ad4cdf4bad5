"""LC routing in turns, as a Kubernetes service does it (kube-proxy in IPVS mode, scheduler `rr`).

A re-implementation, as a baseline. The turn goes on from where the last one ended. A full node is
passed over, which kube-proxy would not do: there the request would wait behind others.
"""

from __future__ import annotations

from tango.algorithms.traffic.greedy import Field, Greedy
from tango.algorithms.traffic.residual import Residual
from tango.model.plan import Demand


class RoundRobin(Greedy):
    """score: how many turns ahead the node's next one is."""

    name = "round-robin"

    def score(self, node: Residual, demand: Demand, field: Field) -> float:
        """See Greedy."""
        return node.assigned * field.count + (node.rank - demand.dispatched) % field.count
