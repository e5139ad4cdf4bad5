"""A replica that this edge calls itself, without its worker in between."""

from __future__ import annotations

import math

from tango.controllers.edge.node_book import NodeBook
from tango.controllers.edge.service_place import ServicePlace


class Lane:
    """in_flight: requests that the edge has under way there. most: of them, since the last look.

    told: how many its worker was told of, never fewer. A power of two, and lowered only after a
    while, so that a worker is not told of each request.
    leaving: it is not ready, or not wanted, any more: nothing new goes there.
    shunned_until: nothing listened there a moment ago; its worker will know more.
    """

    __slots__ = (
        "concurrency", "in_flight", "leaving", "most", "node", "place", "port", "replica",
        "shunned_until", "told",
    )  # fmt: skip

    def __init__(self, replica: str, node: NodeBook, place: ServicePlace) -> None:
        self.replica = replica
        self.node = node
        self.place = place
        self.port = 0
        self.concurrency = 0
        self.in_flight = self.most = self.told = 0
        self.leaving = False
        self.shunned_until = -math.inf

    def begin(self) -> bool:
        """One request more; whether its worker is to be told of more."""
        self.place.direct += 1
        self.in_flight += 1
        if self.in_flight > self.most:
            self.most = self.in_flight
        if self.in_flight <= self.told:
            return False
        self.told = self._rounded(self.in_flight)
        return True

    def end(self) -> bool:
        """One has ended; whether its worker is to be told of fewer."""
        self.place.direct -= 1
        self.in_flight -= 1
        return self.leaving and self.make_way()

    def make_way(self) -> bool:
        """Keep no more than is under way; whether that is less than was told."""
        more = self.told > self.in_flight
        self.told = self.most = self.in_flight
        return more

    def look(self) -> bool:
        """Keep what was needed since the last look; whether that is less than was told."""
        keep = self._rounded(self.most)
        self.most = self.in_flight
        less = keep < self.told
        if less:
            self.told = keep
        return less

    def _rounded(self, count: int) -> int:
        """The next power of two; above its concurrency (as it was lowered since) there is none."""
        if count <= 0:
            return 0
        return max(count, min(1 << (count - 1).bit_length(), self.concurrency))
