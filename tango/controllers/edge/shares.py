"""What workers are told that others than they may have under way at their replicas."""

from __future__ import annotations

from collections.abc import Mapping

from tango.controllers.edge.books import Books
from tango.controllers.edge.follower import LEASE_S
from tango.model.commands import SendWorker
from tango.model.messages import PublishedShares

Slots = Mapping[str, Mapping[str, int]]
"""Requests by node, then by replica id."""


class Shares:
    """followers: of clients that follow routes. direct: of this edge itself. Both are absolute.

    A worker counts them like requests that it serves: for what else a replica takes, for quotas,
    and before it stops one.
    """

    def __init__(self, books: Books) -> None:
        self._books = books
        self.followers: Slots = {}
        self.direct: dict[str, dict[str, int]] = {}
        # node -> (session, shares) as its worker was told last.
        self._told: dict[str, tuple[int, tuple[tuple[str, int], ...]]] = {}

    def tell(self) -> None:
        """Every worker whose shares changed, or whose session is a new one."""
        for name in sorted(self.followers.keys() | self.direct.keys() | self._told.keys()):
            self.tell_one(name)

    def tell_one(self, name: str) -> None:
        """One node's worker, if there is anything that it does not know."""
        node = self._books.nodes.get(name)
        if node is None or node.session is None:
            self._told.pop(name, None)
            return
        slots = dict(self.followers.get(name, {}))
        for replica, own in self.direct.get(name, {}).items():
            slots[replica] = slots.get(replica, 0) + own
        told = (node.session, tuple(sorted(slots.items())))
        before = self._told.get(name)
        if told != before and (told[1] or before is not None):
            message = PublishedShares(told[1], LEASE_S)
            self._books.out.append(SendWorker(node.session, message))
        if told[1]:
            self._told[name] = told
        else:
            self._told.pop(name, None)
