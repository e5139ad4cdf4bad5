"""The sites of a cluster as operators see them: their nodes, policies and decisions."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TypeVar

from tango.model.cluster import NodeView
from tango.model.errors import InvalidField, NotFound, TangoError, Unavailable
from tango.model.explanation import Explanation, Subject
from tango.model.views import (
    BatchPolicyView,
    DrainView,
    EdgeView,
    ImagesView,
    TrafficPolicyView,
)
from tango.sdk.explained import joined
from tango.wire.central_client import CentralClient
from tango.wire.edge_client import EdgeClient

T = TypeVar("T")


class Sites:
    """The part of Client for who runs a cluster; Client says where central and the edges are."""

    _central: CentralClient
    _edges: dict[str, EdgeClient]

    def edge(self, name: str = "") -> EdgeClient:
        """One site's edge master; the first one without a name."""
        if not self._edges:
            raise Unavailable("this cluster has no edge site")
        if not name:
            return next(iter(self._edges.values()))
        if name not in self._edges:
            raise NotFound(f"site {name!r} is unknown; there are: {', '.join(self._edges)}")
        return self._edges[name]

    @property
    def sites(self) -> tuple[str, ...]:
        """Names of the sites."""
        return tuple(self._edges)

    async def nodes(self) -> tuple[NodeView, ...]:
        """All nodes of all sites, from the edges themselves. Raises where one does not answer."""
        return whole(await self.from_sites(EdgeClient.nodes))

    async def from_sites(
        self, ask: Callable[[EdgeClient], Awaitable[tuple[T, ...]]]
    ) -> tuple[tuple[T, ...], dict[str, TangoError]]:
        """What all sites that answer say to a question, and why the others do not, by site.

        >>> nodes, away = await client.from_sites(EdgeClient.nodes)
        """
        found: list[T] = []
        away: dict[str, TangoError] = {}
        answers = await asyncio.gather(
            *(ask(edge) for edge in self._edges.values()), return_exceptions=True
        )
        for site, answer in zip(self._edges, answers, strict=True):
            if isinstance(answer, TangoError):
                away[site] = answer
            elif isinstance(answer, BaseException):
                raise answer
            else:
                found.extend(answer)
        return tuple(found), away

    async def edges(self) -> tuple[EdgeView, ...]:
        """All sites as the central master sees them."""
        return await self._central.edges()

    async def images(self, site: str = "") -> ImagesView:
        """What engines of a site's nodes (all: "") hold, and what registries say of images in use.

        Raises NotFound for a site that the central master does not know.
        """
        return await self._central.images(site)

    async def traffic_policy(self, site: str = "", *, switch_to: str = "") -> TrafficPolicyView:
        """By which policy a site routes LC requests; switch_to: another one, from now on.

        After a restart the edge's configuration counts again. Raises InvalidField for a policy
        that is not installed there, NotFound for a site.
        """
        edge = self.edge(site)
        return await (edge.set_traffic_policy(switch_to) if switch_to else edge.traffic_policy())

    async def batch_policy(self, *, switch_to: str = "") -> BatchPolicyView:
        """By which policy the central master places jobs; switch_to: another one, from now on.

        Jobs that wait keep their places. After a restart its configuration counts again. Raises
        InvalidField for a policy that is not installed there.
        """
        central = self._central
        return await (central.set_batch_policy(switch_to) if switch_to else central.batch_policy())

    async def explain(
        self, name: str, *subjects: Subject, site: str = "", limit: int = 0
    ) -> tuple[Explanation, ...]:
        """Why what has that name is as it is: a request, a service, a job or a node.

        The central master's word comes first, then each site's, with that of its workers. subjects:
        which of them are meant, all by default; limit: at most so many decisions on each, 20 for 0.
        Raises NotFound, which says whether it may have been forgotten, and by whom.
        """
        sites = {site: self.edge(site)} if site else self._edges
        asked: dict[str, Awaitable[tuple[Explanation, ...]]] = {}
        if not subjects or {Subject.JOB, Subject.NODE} & set(subjects):
            asked["central"] = self._central.explain(name, subjects, limit)
        for of_site, edge in sites.items():
            asked[of_site] = edge.explain(name, subjects, limit)
        answers = await asyncio.gather(*asked.values(), return_exceptions=True)
        return joined(dict(zip(asked, answers, strict=True)))

    async def cordon(self, node: str, *, site: str = "") -> NodeView:
        """No new replicas and tasks on a node. Raises NotFound."""
        return await self.edge(site or await self._site_of_node(node)).cordon_node(node)

    async def uncordon(self, node: str, *, site: str = "") -> NodeView:
        """A node takes new replicas and tasks again. Raises NotFound."""
        return await self.edge(site or await self._site_of_node(node)).uncordon_node(node)

    async def drain(
        self, node: str, *, grace_s: float | None = None, site: str = ""
    ) -> AsyncGenerator[DrainView, None]:
        """Cordon a node and move what it has; how it stands, until nothing moves any more.

        grace_s: what BE tasks get between TERM and KILL, None for their own. The drain goes on when
        nobody listens any more. Raises NotFound, InvalidField.
        """
        edge = self.edge(site or await self._site_of_node(node))
        async with contextlib.aclosing(edge.drain_node(node, grace_s)) as views:
            async for view in views:
                yield view

    async def _site_of_node(self, node: str) -> str:
        views = await self.nodes()
        found = sorted({view.edge for view in views if view.node == node})
        if len(found) > 1:
            raise InvalidField("node", f"{node!r} is at {' and '.join(found)}", "name the site")
        if not found and len(self._edges) > 1:
            known = ", ".join(sorted(view.node for view in views)) or "none"
            fix = "for one that is away since its site was restarted, name the site"
            raise NotFound(f"node {node!r} is unknown; known: {known}; {fix}")
        return found[0] if found else ""


def whole(found: tuple[tuple[T, ...], dict[str, TangoError]]) -> tuple[T, ...]:
    """All that was found, or the first site's error."""
    views, away = found
    for error in away.values():
        raise error
    return views
