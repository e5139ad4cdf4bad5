"""The asynchronous client: services and calls at the edges, jobs at the central master."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from pathlib import Path

import grpc

from tango.adapters.manifests import Manifest
from tango.model.access import Role
from tango.model.errors import InvalidField, NotFound, Unavailable
from tango.model.improvement import DEFAULT_MAX_MOVES, ImproveView, TriedJob
from tango.model.job import JobRecord, JobSpec, JobState
from tango.model.messages import ReplyPart
from tango.model.request import CallReply, CallRequest, Code, Headers, Outcome
from tango.model.routes import RouteTable
from tango.model.service import ServiceSpec
from tango.model.settings import DEFAULT_MAX_BODY_BYTES
from tango.model.views import JobCounts, ServiceView
from tango.sdk.call_failed import CallFailed
from tango.sdk.cluster_file import ClusterFile, default_state_dir, read_cluster_file
from tango.sdk.declared import job_of, services_of
from tango.sdk.follow import Followed
from tango.sdk.lasting import Say, lasting, unsaid
from tango.sdk.sites import Sites, whole
from tango.sdk.until_ready import until_ready
from tango.wire.call_client import CallStream, RequestIds, client_timeout
from tango.wire.central_client import CentralClient
from tango.wire.credentials import client_credentials
from tango.wire.edge_client import EdgeClient


class Client(Sites):
    """A cluster, found by its state directory or by addresses.

    >>> async with Client() as tango:
    ...     await tango.apply("service.yaml")
    ...     reply = await tango.call("hello", path="/")
    ...     job = await tango.submit("job.yaml")
    ...     job = await tango.wait(job.job_id)

    Raises Unavailable where nothing answers, InvalidField for what is wrong in a manifest.
    """

    def __init__(
        self, state: str | Path | None = None, *, cluster: ClusterFile | None = None
    ) -> None:
        self._state = None if cluster else Path(state or default_state_dir())
        self._cluster = cluster or read_cluster_file(self._state or Path())
        self._token: str | None = None  # None before it is connected
        self._stack = contextlib.AsyncExitStack()
        self._new_id = RequestIds()
        self._edges: dict[str, EdgeClient] = {}
        self._streams: dict[EdgeClient, CallStream] = {}

    async def __aenter__(self) -> Client:
        self._connect(self._cluster)
        return self

    def _connect(self, cluster: ClusterFile) -> None:
        """Open channels to where the cluster is, unless those there are go there.

        Earlier ones stay open with the client: calls may still be on them.
        """
        credentials = client_credentials(cluster.token_file, cluster.tls)
        if (cluster, credentials.token) == (self._cluster, self._token):
            return

        def channel(address: str, role: Role, name: str = "") -> grpc.aio.Channel:
            opened = credentials.channel(address, role, name)
            self._stack.push_async_callback(opened.close)
            return opened

        metadata = credentials.metadata
        central = CentralClient(channel(cluster.central, Role.CENTRAL), metadata)
        edges = {
            name: EdgeClient(channel(address, Role.EDGE, name), metadata)
            for name, address in cluster.edges
        }
        self._central, self._edges = central, edges
        self._cluster, self._token = cluster, credentials.token

    def _find_again(self) -> None:
        """Connect to where the cluster is now: each `tango up` draws new ports and a new token.

        Raises Unavailable while there is none.
        """
        if self._state is None:
            return
        try:
            self._connect(read_cluster_file(self._state))
        except InvalidField as error:
            # `tango down` took the token after the addresses were read.
            raise Unavailable(str(error)) from error

    async def __aexit__(self, *exc_info: object) -> None:
        for stream in self._streams.values():
            await stream.close()
        await self._stack.aclose()

    # ---- services

    async def apply(
        self,
        what: str | Path | ServiceSpec | Sequence[Manifest],
        *,
        sites: Sequence[str] = (),
        wait_s: float = 0.0,
        say: Say = unsaid,
    ) -> tuple[ServiceView, ...]:
        """Declare services at sites (all, unless named here or in the manifest).

        Everything is checked at every site before anything is changed. With wait_s, returns when
        all replicas are ready; raises Unavailable, with the reason, when they are not by then. say
        is told what it waits for, once that takes more than a second.
        """
        planned: list[tuple[str, ServiceSpec]] = []
        for spec, wanted in services_of(what):
            planned.extend((site, spec) for site in (sites or wanted or self.sites))
        for dry_run in (True, False):
            views = [
                await self.edge(site).apply_service(spec, dry_run=dry_run) for site, spec in planned
            ]
        if not wait_s:
            return tuple(views)
        waits = [
            until_ready(
                self.edge(site).watch_service(spec.name),
                f"{spec.name} at {site}",
                spec.name,
                wait_s,
                say,
            )
            for site, spec in planned
        ]
        return tuple(await asyncio.gather(*waits))

    async def delete(self, name: str, *, sites: Sequence[str] = ()) -> tuple[str, ...]:
        """Remove a service where it is; the sites it was at. Raises NotFound if nowhere."""
        removed = []
        for site in sites or self.sites:
            try:
                await self.edge(site).delete_service(name)
            except NotFound:
                continue
            removed.append(site)
        if not removed:
            raise NotFound(f"service {name!r} is unknown at every site")
        return tuple(removed)

    async def services(self) -> tuple[ServiceView, ...]:
        """All services of all sites. Raises where a site does not answer; see from_sites."""
        return whole(await self.from_sites(EdgeClient.services))

    async def watch_service(
        self, name: str, *, site: str = "", say: Say = unsaid
    ) -> AsyncGenerator[ServiceView, None]:
        """The service at one site, now and after each change, until it is deleted.

        Outlives a restart of the edge and of the cluster as `watch` does.
        """
        watched = lasting(
            lambda: self.edge(site).watch_service(name),
            f"the edge of {site or 'the first site'}",
            say,
            again=self._find_again,
        )
        async with contextlib.aclosing(watched) as views:
            async for view in views:
                yield view

    # ---- calls

    def request(
        self,
        service: str,
        *,
        path: str = "/",
        method: str = "",
        body: bytes = b"",
        headers: Headers = (),
        deadline_ms: float = 0.0,
        timeout_ms: float = 0.0,
    ) -> CallRequest:
        """A call to be sent; POST if there is a body and no method is given."""
        if len(body) > DEFAULT_MAX_BODY_BYTES:
            raise InvalidField(
                "body",
                f"is {len(body)} bytes",
                f"at most {DEFAULT_MAX_BODY_BYTES} travel in one call",
            )
        return CallRequest(
            self._new_id(),
            service,
            method or ("POST" if body else "GET"),
            path,
            headers,
            body,
            deadline_ms / 1000,
            timeout_ms / 1000,
        )

    async def call(self, service: str, *, site: str = "", **request: object) -> CallReply:
        """One call through a site's edge; keywords as in `request`. Raises CallFailed.

        Calls of one client to one site share a stream, which is cheaper than a call of its own for
        each; `edge(site).call` makes a unary one.
        """
        reply = await self.send(self.request(service, **request), site=site)  # type: ignore[arg-type]
        if reply.code is not Code.OK:
            raise CallFailed(reply)
        return reply

    async def send(self, request: CallRequest, *, site: str = "") -> CallReply:
        """Send a call on the site's shared stream; every end of it is a CallReply."""
        stream = await self._shared_stream(site)
        try:
            async with asyncio.timeout(client_timeout(request)):
                return await stream.call(request)
        except TimeoutError:
            return CallReply(
                request.request_id,
                Outcome.FAILED,
                Code.DEADLINE_EXCEEDED,
                error="the edge did not answer in time",
                may_have_run=True,
            )

    async def _shared_stream(self, site: str) -> CallStream:
        edge = self.edge(site)
        stream = self._streams.get(edge)
        if stream is None or stream.broken:
            if stream is not None:
                await stream.close()
            # Another call may have opened a new one meanwhile.
            latest = self._streams.get(edge)
            if latest is not None and not latest.broken:
                return latest
            stream = self._streams[edge] = edge.calls()
            stream.open()
        return stream

    def calls(self, site: str = "") -> CallStream:
        """Many calls multiplexed on one stream; an async context manager."""
        return self.edge(site).calls()

    async def call_streamed(
        self, service: str, *, site: str = "", **request: object
    ) -> AsyncGenerator[ReplyPart | CallReply, None]:
        """Parts as the replica produces them, the CallReply last."""
        what = replace(self.request(service, **request), stream=True)  # type: ignore[arg-type]
        async with contextlib.aclosing(self.edge(site).call_streamed(what)) as items:
            async for item in items:
                yield item

    # ---- published routes

    def follow(self, service: str, *, site: str = "") -> Followed:
        """Call a service's replicas directly, by the routes that its site publishes.

        >>> async with client.follow("hello") as hello:
        ...     reply = await hello.call(path="/")

        A call goes through the edge where no replica is published, or none has a free slot.
        """
        edge = self.edge(site)
        return Followed(
            service,
            open_stream=lambda: edge.follow_routes(service),
            request=self.request,
            carry=functools.partial(self.send, site=site),
        )

    async def watch_routes(
        self, service: str, *, site: str = ""
    ) -> AsyncGenerator[RouteTable, None]:
        """Where a service can be called directly, now and after each change; no slots."""
        async with contextlib.aclosing(self.edge(site).watch_routes(service)) as tables:
            async for table in tables:
                yield table

    # ---- jobs

    async def submit(
        self, what: str | Path | JobSpec, *, submission_id: str = "", require_fit: bool = False
    ) -> JobRecord:
        """Submit a job, durable when this returns. A file must hold exactly one job.

        One that could not run on the known nodes even if nothing else did stays pending, with why
        (`NeverFits: ...`) as its reason; under require_fit it is not taken: FailedPrecondition.
        """
        spec = job_of(what)
        spec.validate()
        # Drawn here, so that a retry after a lost answer is known to be the same submission.
        submission = submission_id or self._new_id()
        return await self._central.submit_job(spec, submission, require_fit=require_fit)

    async def job(self, job_id: str) -> JobRecord:
        """One job. Raises NotFound."""
        return await self._central.job(job_id)

    async def jobs(
        self, *states: JobState, limit: int = 0
    ) -> tuple[tuple[JobRecord, ...], JobCounts]:
        """The newest jobs of these states, newest last; and the counts over all jobs."""
        return await self._central.jobs(states, limit)

    async def watch(
        self, job_id: str, *, say: Say = unsaid, known: bool = False
    ) -> AsyncGenerator[JobRecord, None]:
        """The job now and after each change, until it has ended.

        Where the central master restarts meanwhile, or the whole cluster by `tango down` and `up`,
        the job is watched again, found by its state directory; say is told so. The same record may
        come twice then. Raises Unavailable where it does not answer for 60 s, which tells nothing
        of the job; or never did, unless the job is known to be there. Raises NotFound.
        """
        watched = lasting(
            lambda: self._central.watch_job(job_id),
            "the central master",
            say,
            again=self._find_again,
            known=known,
        )
        async with contextlib.aclosing(watched) as jobs:
            async for job in jobs:
                yield job

    async def wait(self, job_id: str) -> JobRecord:
        """The job when it has ended. Outlives restarts as `watch` does, from the start.

        Raises Unavailable where the central master does not answer for 60 s: the job goes on.
        """
        latest: JobRecord | None = None
        async with contextlib.aclosing(self.watch(job_id, known=True)) as jobs:
            async for job in jobs:
                latest = job
        if latest is None:
            raise Unavailable(f"the central master told nothing of job {job_id}")
        return latest

    async def cancel(self, job_id: str) -> JobRecord:
        """The job as it is after the cancel was taken; its processes may still be ending."""
        return await self._central.cancel_job(job_id)

    async def migrate(self, job_id: str, node: str, *, task: str = "", site: str = "") -> JobRecord:
        """The job once it is decided that a task (none named: all that run) moves with its state.

        Its tasks' `migration` is None again when it is over; `moved` says how it went. Raises
        NotFound, and FailedPrecondition with the reason: a node that cannot checkpoint, for one.
        """
        return await self._central.migrate_job(job_id, node, task, site)

    async def improve_placement(
        self, max_moves: int = DEFAULT_MAX_MOVES, *, apply: bool = False
    ) -> AsyncGenerator[ImproveView, None]:
        """A better plan for tasks with delay bounds and backups that run, in at most so many moves.

        With `apply` it is carried out, and told how it stands until that is over; each task that
        moves is stopped and begins anew. Raises Refused, Unavailable.
        """
        async with contextlib.aclosing(
            self._central.improve_placement(max_moves, apply=apply)
        ) as views:
            async for view in views:
                yield view

    async def try_job(self, what: str | Path | JobSpec) -> TriedJob:
        """Where a job with delay bounds or backups would go now, and its backups.

        Raises InvalidField, Refused, Unavailable.
        """
        spec = job_of(what)
        spec.validate()
        return await self._central.try_job(spec)

    async def logs(
        self, target: str, *, task: str = "", tail_bytes: int = 65536, follow: bool = False
    ) -> AsyncGenerator[bytes, None]:
        """The log of a job's task, or of a replica by its id. Raises NotFound."""
        site = await self._site_of_replica(target)
        stream = (
            self.edge(site).read_log(target, tail_bytes, follow=follow)
            if site
            else self._central.read_job_log(target, task, tail_bytes, follow=follow)
        )
        async with contextlib.aclosing(stream) as chunks:
            async for chunk in chunks:
                yield chunk

    async def _site_of_replica(self, target: str) -> str:
        for view in await self.services():
            if any(replica.status.replica_id == target for replica in view.replicas):
                return view.edge
        return ""
