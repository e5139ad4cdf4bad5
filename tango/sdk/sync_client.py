"""The synchronous face of the client, for scripts: the same words without await."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from tango.model.cluster import NodeView
from tango.model.explanation import Explanation, Subject
from tango.model.improvement import DEFAULT_MAX_MOVES, ImproveView, TriedJob
from tango.model.job import JobRecord, JobSpec, JobState
from tango.model.messages import ReplyPart
from tango.model.request import CallReply
from tango.model.routes import RouteTable
from tango.model.service import ServiceSpec
from tango.model.views import (
    BatchPolicyView,
    DrainView,
    EdgeView,
    ImagesView,
    JobCounts,
    ServiceView,
    TrafficPolicyView,
)
from tango.sdk.client import Client
from tango.sdk.cluster_file import ClusterFile
from tango.sdk.follow import Followed

T = TypeVar("T")


class SyncClient:
    """A Client whose event loop runs in a thread of its own; usable from any one thread.

    >>> with SyncClient() as tango:
    ...     print(tango.call("hello").body)
    """

    def __init__(
        self, state: str | Path | None = None, *, cluster: ClusterFile | None = None
    ) -> None:
        self._client = Client(state, cluster=cluster)
        self._open: tuple[asyncio.AbstractEventLoop, threading.Thread] | None = None

    def __enter__(self) -> SyncClient:
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, name="tango", daemon=True)
        thread.start()
        self._open = loop, thread
        try:
            self._do(self._client.__aenter__())
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._do(self._client.__aexit__())
        self._close()

    def _close(self) -> None:
        if self._open is not None:
            loop, thread = self._open
            self._do(loop.shutdown_asyncgens())
            self._open = None
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        if self._open is None:
            work.close()
            raise RuntimeError("the client is not open: use it as `with SyncClient() as tango:`")
        return asyncio.run_coroutine_threadsafe(work, self._open[0]).result()

    def _each(self, items: AsyncIterator[T]) -> Iterator[T]:
        async def following() -> T:
            return await anext(items)

        try:
            while True:
                try:
                    item = self._do(following())
                except StopAsyncIteration:
                    return
                yield item
        finally:
            self._do(items.aclose())  # type: ignore[attr-defined]

    def apply(
        self,
        what: str | Path | ServiceSpec,
        *,
        sites: Sequence[str] = (),
        wait_s: float = 0.0,
    ) -> tuple[ServiceView, ...]:
        """See Client.apply."""
        return self._do(self._client.apply(what, sites=sites, wait_s=wait_s))

    def delete(self, name: str, *, sites: Sequence[str] = ()) -> tuple[str, ...]:
        """See Client.delete."""
        return self._do(self._client.delete(name, sites=sites))

    def services(self) -> tuple[ServiceView, ...]:
        """See Client.services."""
        return self._do(self._client.services())

    def call(self, service: str, *, site: str = "", **request: object) -> CallReply:
        """See Client.call."""
        return self._do(self._client.call(service, site=site, **request))

    def follow(self, service: str, *, site: str = "") -> SyncFollowed:
        """See Client.follow; a context manager."""
        return SyncFollowed(self._client.follow(service, site=site), self._do)

    def watch_routes(self, service: str, *, site: str = "") -> Iterator[RouteTable]:
        """See Client.watch_routes."""
        return self._each(self._client.watch_routes(service, site=site))

    def call_streamed(
        self, service: str, *, site: str = "", **request: object
    ) -> Iterator[ReplyPart | CallReply]:
        """See Client.call_streamed."""
        return self._each(self._client.call_streamed(service, site=site, **request))

    def submit(
        self, what: str | Path | JobSpec, *, submission_id: str = "", require_fit: bool = False
    ) -> JobRecord:
        """See Client.submit."""
        return self._do(
            self._client.submit(what, submission_id=submission_id, require_fit=require_fit)
        )

    def job(self, job_id: str) -> JobRecord:
        """See Client.job."""
        return self._do(self._client.job(job_id))

    def jobs(self, *states: JobState, limit: int = 0) -> tuple[tuple[JobRecord, ...], JobCounts]:
        """See Client.jobs."""
        return self._do(self._client.jobs(*states, limit=limit))

    def watch(self, job_id: str) -> Iterator[JobRecord]:
        """See Client.watch."""
        return self._each(self._client.watch(job_id))

    def wait(self, job_id: str) -> JobRecord:
        """See Client.wait."""
        return self._do(self._client.wait(job_id))

    def cancel(self, job_id: str) -> JobRecord:
        """See Client.cancel."""
        return self._do(self._client.cancel(job_id))

    def migrate(self, job_id: str, node: str, *, task: str = "", site: str = "") -> JobRecord:
        """See Client.migrate."""
        return self._do(self._client.migrate(job_id, node, task=task, site=site))

    def improve_placement(
        self, max_moves: int = DEFAULT_MAX_MOVES, *, apply: bool = False
    ) -> Iterator[ImproveView]:
        """See Client.improve_placement."""
        return self._each(self._client.improve_placement(max_moves, apply=apply))

    def try_job(self, what: str | Path | JobSpec) -> TriedJob:
        """See Client.try_job."""
        return self._do(self._client.try_job(what))

    def logs(
        self, target: str, *, task: str = "", tail_bytes: int = 65536, follow: bool = False
    ) -> Iterator[bytes]:
        """See Client.logs."""
        return self._each(
            self._client.logs(target, task=task, tail_bytes=tail_bytes, follow=follow)
        )

    def nodes(self) -> tuple[NodeView, ...]:
        """See Client.nodes."""
        return self._do(self._client.nodes())

    def edges(self) -> tuple[EdgeView, ...]:
        """See Client.edges."""
        return self._do(self._client.edges())

    def watch_service(self, name: str, *, site: str = "") -> Iterator[ServiceView]:
        """See Client.watch_service."""
        return self._each(self._client.watch_service(name, site=site))

    def explain(
        self, name: str, *subjects: Subject, site: str = "", limit: int = 0
    ) -> tuple[Explanation, ...]:
        """See Client.explain."""
        return self._do(self._client.explain(name, *subjects, site=site, limit=limit))

    def cordon(self, node: str, *, site: str = "") -> NodeView:
        """See Client.cordon."""
        return self._do(self._client.cordon(node, site=site))

    def uncordon(self, node: str, *, site: str = "") -> NodeView:
        """See Client.uncordon."""
        return self._do(self._client.uncordon(node, site=site))

    def images(self, site: str = "") -> ImagesView:
        """See Client.images."""
        return self._do(self._client.images(site))

    def batch_policy(self, *, switch_to: str = "") -> BatchPolicyView:
        """See Client.batch_policy."""
        return self._do(self._client.batch_policy(switch_to=switch_to))

    def traffic_policy(self, site: str = "", *, switch_to: str = "") -> TrafficPolicyView:
        """See Client.traffic_policy."""
        return self._do(self._client.traffic_policy(site, switch_to=switch_to))

    def drain(
        self, node: str, *, grace_s: float | None = None, site: str = ""
    ) -> Iterator[DrainView]:
        """See Client.drain."""
        return self._each(self._client.drain(node, grace_s=grace_s, site=site))


class SyncFollowed:
    """A service that is called directly; see Followed."""

    def __init__(self, followed: Followed, do: Callable[[Coroutine[Any, Any, Any]], Any]) -> None:
        self._followed = followed
        self._do = do

    def __enter__(self) -> SyncFollowed:
        self._do(self._followed.__aenter__())
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._do(self._followed.__aexit__(None, None, None))

    @property
    def table(self) -> RouteTable | None:
        """See Followed.table."""
        return self._followed.table

    def call(self, **request: object) -> CallReply:
        """See Followed.call."""
        reply: CallReply = self._do(self._followed.call(**request))  # type: ignore[arg-type]
        return reply
