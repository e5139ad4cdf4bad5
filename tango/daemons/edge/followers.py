"""Who follows which routes at this edge: reports in, the latest table out."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Callable

from tango.model.errors import Unavailable
from tango.model.events import EdgeEvent, FollowEnded, FollowReported, FollowStarted
from tango.model.routes import FollowReport, RouteTable

MAX_FOLLOWERS = 1024

Post = Callable[[EdgeEvent], None]


class Followers:
    """All of one edge's. They end when it stops."""

    def __init__(self, post: Post) -> None:
        self._post = post
        self._numbers = itertools.count(1)
        self._all: dict[int, Follower] = {}

    def add(self, service: str, *, passive: bool) -> Follower:
        """A new one. Raises Unavailable where there are too many."""
        if len(self._all) >= MAX_FOLLOWERS:
            raise Unavailable(f"{MAX_FOLLOWERS} clients follow routes here already; try again")
        number = next(self._numbers)
        follower = self._all[number] = Follower(number, self._post, self._all)
        self._post(FollowStarted(number, service, passive))
        return follower

    async def watch(self, service: str) -> AsyncGenerator[RouteTable, None]:
        """The table now and after each change, until the edge stops."""
        follower = self.add(service, passive=True)
        try:
            while (news := await follower.next()) is not None:
                if news[1] is not None:
                    yield news[1]
        finally:
            follower.close()

    def send(self, number: int, table: RouteTable) -> None:
        """A table for one of them; dropped if it has gone."""
        follower = self._all.get(number)
        if follower is not None:
            follower.put(table)

    def stop(self) -> None:
        """The edge stops."""
        for follower in tuple(self._all.values()):
            follower.end()


class Follower:
    """One stream. A table that was not sent yet is replaced by a newer one."""

    def __init__(self, number: int, post: Post, all_of_them: dict[int, Follower]) -> None:
        self._number = number
        self._post = post
        self._all = all_of_them
        self._wake = asyncio.Event()
        self._taken = 0
        self._table: RouteTable | None = None
        self._ended = False

    def put(self, table: RouteTable) -> None:
        """A newer table."""
        self._table = table
        self._wake.set()

    def report(self, report: FollowReport) -> None:
        """See RouteFollower."""
        self._post(FollowReported(self._number, report))
        self._taken = report.number
        self._wake.set()

    async def next(self) -> tuple[int, RouteTable | None] | None:
        """See RouteFollower."""
        await self._wake.wait()
        self._wake.clear()
        if self._ended:
            return None
        table, self._table = self._table, None
        return self._taken, table

    def end(self) -> None:
        """Nothing more is sent."""
        self._ended = True
        self._wake.set()

    def close(self) -> None:
        """See RouteFollower."""
        if self._all.pop(self._number, None) is not None:
            self._post(FollowEnded(self._number))
