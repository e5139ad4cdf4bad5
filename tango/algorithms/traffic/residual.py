"""What is left of an offer while a plan grows, and why a node takes no more; for all policies."""

from __future__ import annotations

from tango.model.plan import Demand, NodeOffer

NO_SLOT = "no free slot"
NO_CPU = "not enough CPU"
NO_MEMORY = "not enough memory"
TOO_FAR = "too far for its deadline"


class Residual:
    """One node's CPU, memory, load and slots, less what was assigned.

    assigned: requests of the service that is being routed. rank: of the node's name among the
    candidates of that service.
    """

    __slots__ = (
        "assigned", "cpu_millis", "load", "memory_bytes", "needs", "node", "own", "per_millicore",
        "rank", "rtt_s", "slots", "wait_s",
    )  # fmt: skip

    def __init__(self, offer: NodeOffer) -> None:
        self.node = offer.node
        self.own = not offer.site
        self.cpu_millis = offer.cpu_millis
        self.memory_bytes = offer.memory_bytes
        self.load = offer.load
        self.rtt_s = offer.rtt_s
        self.wait_s = offer.wait_s
        self.slots = dict(offer.slots)
        self.needs = dict(offer.needs) if offer.needs else None
        self.assigned = self.rank = 0
        # load = held / capacity and free = capacity - held give capacity = free / (1 - load).
        free = offer.cpu_millis
        self.per_millicore = (1 - offer.load) / free if free > 0 and offer.load < 1 else 0.0

    def need(self, demand: Demand) -> int:
        """Millicores that one request of the demand takes here."""
        if self.needs is None:
            return demand.cpu_millis
        return self.needs.get(demand.service, demand.cpu_millis)

    def lacks(self, demand: Demand) -> str:
        """Why one more request does not fit, "" if it does."""
        if self.slots[demand.service] <= 0:
            return NO_SLOT
        if self.cpu_millis < self.need(demand):
            return NO_CPU
        if not self.own and self.rtt_s + self.wait_s + demand.service_s > demand.slack_s:
            return TOO_FAR
        return NO_MEMORY if self.memory_bytes < demand.memory_bytes else ""

    def take(self, demand: Demand) -> None:
        """Assign one request."""
        self.slots[demand.service] -= 1
        self.assigned += 1
        cpu_millis = self.need(demand)
        self.cpu_millis -= cpu_millis
        self.memory_bytes -= demand.memory_bytes
        self.load += cpu_millis * self.per_millicore
