"""Cordon, uncordon and drain on a real channel: what is asked arrives, and so does the answer."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any, cast

import pytest

from tango.model.cluster import NodeCapacity, NodeView
from tango.model.errors import InvalidField, NotFound
from tango.model.views import DrainItem, DrainView
from tango.wire.backends import EdgeBackend
from tango.wire.channels import bearer, open_channel
from tango.wire.edge_client import EdgeClient
from tango.wire.servers import make_server
from tango.wire.services import edge_service

TOKEN = "a-token-that-nobody-guesses"
ITEMS = (
    DrainItem("replica", "web-g1-0", moved=True, detail="web-g1-2 on a2"),
    DrainItem("task", "job.0.1", moved=False, detail="is being stopped"),
)
VIEWS = (
    DrainView("a1", done=False, stuck=False, items=ITEMS),
    DrainView("a1", done=False, stuck=True, items=ITEMS[1:]),
    DrainView("a1", done=True, stuck=False),
)


class Nodes:
    """The part of an edge that these calls reach."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    async def cordon_node(self, node: str, *, cordoned: bool) -> NodeView:
        if node != "a1":
            raise NotFound(f"node {node!r} is unknown at edge 'e'; known: a1")
        self.heard.append((node, cordoned))
        return NodeView(
            node, "e", ready=True, capacity=NodeCapacity(1, 2), cordoned=cordoned, dead=False
        )

    async def drain_node(self, node: str, grace_s: float | None) -> AsyncGenerator[DrainView, None]:
        self.heard.append((node, grace_s))
        for view in VIEWS:
            yield view


async def test_nodes_are_cordoned_uncordoned_and_drained() -> None:
    nodes = Nodes()
    server = make_server("127.0.0.1:0", TOKEN, [edge_service(cast("EdgeBackend", nodes))])
    await server.start()
    try:
        async with open_channel(str(server.address)) as channel:
            client = EdgeClient(channel, bearer(TOKEN))
            assert (await client.cordon_node("a1")).cordoned
            assert not (await client.uncordon_node("a1")).cordoned
            assert [view async for view in client.drain_node("a1")] == list(VIEWS)
            assert [view async for view in client.drain_node("a1", 0.0)] == list(VIEWS)
            with pytest.raises(NotFound, match="known: a1"):
                await client.cordon_node("a9")
            for grace_s in (-1.0, 1e9, float("nan")):
                with pytest.raises(InvalidField, match=r"drain\.grace_s"):
                    _ = [view async for view in client.drain_node("a1", grace_s)]
    finally:
        await server.stop(0)
    assert nodes.heard == [("a1", True), ("a1", False), ("a1", None), ("a1", 0.0)]
