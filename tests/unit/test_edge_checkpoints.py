"""What the edge tells its nodes of checkpoints that nobody needs: now, or when they are back."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from tango.daemons.edge.checkpoints import MAX_UNTOLD, EdgeCheckpoints
from tango.model.messages import ForgetCheckpoints


class Link:
    def __init__(self) -> None:
        self.sent: list[ForgetCheckpoints] = []

    def send(self, message: ForgetCheckpoints) -> bool:
        self.sent.append(message)
        return True


async def test_a_node_that_is_away_is_told_when_it_is_back() -> None:
    links: dict[str, Any] = {}
    async with asyncio.TaskGroup() as group:
        edge = EdgeCheckpoints("e", group, links.get, None)
        for attempt in ("j.0.1", "j.1.1", "j.0.1"):
            edge.forget(ForgetCheckpoints("n1", (attempt,)))
        edge.forget(ForgetCheckpoints("n2", ("j.2.1",)))
        link = Link()
        edge.connected("n1", cast("Any", link))
        edge.connected("n1", cast("Any", link))
        assert link.sent == [ForgetCheckpoints("n1", ("j.0.1", "j.1.1"))]
        links["n1"] = link
        edge.forget(ForgetCheckpoints("n1", ("j.0.5",)))
        assert link.sent[1:] == [ForgetCheckpoints("n1", ("j.0.5",))]
        for number in range(MAX_UNTOLD + 5):
            edge.forget(ForgetCheckpoints("n3", (f"j.0.{number}",)))
        edge.connected("n3", cast("Any", link))
        assert len(link.sent[-1].attempt_ids) == MAX_UNTOLD
