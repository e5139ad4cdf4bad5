"""LC routing by least load: each request goes where the node's CPU load is lowest afterwards.

Greedy list scheduling on the residuals (Graham, "Bounds on multiprocessing timing anomalies",
1969, with requests as jobs and CPU share as length): simple, work-conserving, and the baseline
that the other traffic policies are measured against ("load-greedy" in Tango, ICPP 2023).
"""

from __future__ import annotations

from tango.algorithms.traffic.greedy import Field, Greedy
from tango.algorithms.traffic.residual import Residual
from tango.model.plan import Demand


class LeastLoaded(Greedy):
    """score: share of the node's CPU held afterwards."""

    name = "least-loaded"

    def score(self, node: Residual, demand: Demand, field: Field) -> float:
        """See Greedy."""
        del field
        return node.load + node.need(demand) * node.per_millicore
