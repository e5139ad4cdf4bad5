"""LC routing to the nearest node that has room: the shortest measured delay, whatever its load."""

from __future__ import annotations

from tango.algorithms.traffic.greedy import Field, Greedy
from tango.algorithms.traffic.residual import Residual
from tango.model.plan import Demand


class Nearest(Greedy):
    """score: seconds to the node and back."""

    name = "nearest"

    def score(self, node: Residual, demand: Demand, field: Field) -> float:
        """See Greedy."""
        del demand, field
        return node.rtt_s
