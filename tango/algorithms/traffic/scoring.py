"""LC routing by a weighted score of CPU, memory and delay, each as a share of the worst candidate.

A re-implementation of the baseline that Tango (ICPP 2023) names "scoring", in the manner of the
Kubernetes scheduler's weighted priorities; the weights are equal, as there by default.
"""

from __future__ import annotations

from tango.algorithms.traffic.greedy import Field, Greedy
from tango.algorithms.traffic.residual import Residual
from tango.model.plan import Demand


class Scoring(Greedy):
    """score: the mean of CPU held afterwards, memory not left, and delay, each 0 to 1."""

    name = "scoring"

    def score(self, node: Residual, demand: Demand, field: Field) -> float:
        """See Greedy."""
        cpu = node.load + node.need(demand) * node.per_millicore
        left = node.memory_bytes - demand.memory_bytes
        memory = 1 - left / field.memory_bytes if field.memory_bytes > 0 else 1.0
        delay = node.rtt_s / field.rtt_s if field.rtt_s > 0 else 0.0
        return (cpu + memory + delay) / 3
