"""Clusters on loopback that know one job, each as far as its script goes, and one service."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tango.model.errors import Unavailable
from tango.model.job import JobRecord, JobSpec, JobState, TaskRecord, TaskSpec
from tango.model.service import ServiceSpec
from tango.model.views import ImagesView, RequestCounts, ServiceView
from tango.sdk.cluster_file import ClusterFile, write_cluster_file
from tango.v1 import central_service_pb2 as pb
from tango.v1 import edge_service_pb2 as edge_pb
from tango.v1.central_service_pb2_grpc import CentralServiceServicer
from tango.v1.central_service_pb2_grpc import add_CentralServiceServicer_to_server as add_central
from tango.v1.edge_service_pb2_grpc import EdgeServiceServicer
from tango.v1.edge_service_pb2_grpc import add_EdgeServiceServicer_to_server as add_edge
from tango.wire.convert_jobs import job_record_to_pb
from tango.wire.convert_services import service_view_to_pb
from tango.wire.image_pages import page_of
from tango.wire.servers import Service, make_server

SITE = "site-a"
SERVICE = ServiceSpec("web", ("serve",))
SPEC = JobSpec("crunch", (TaskSpec("main", ("true",)),))
JOB = JobRecord("crunch-1", "s", SPEC, JobState.PENDING, (TaskRecord(),), 1.0)


class CentralProbe(CentralServiceServicer):  # type: ignore[misc]
    """Takes any job as JOB; a watch of it tells these states, the last one for good."""

    def __init__(self, states: Sequence[JobState]) -> None:
        self._states = states
        self.submits = 0
        self.closing: Any = None
        self.told = asyncio.Event()
        # What is known of images, how many go onto a page, and the tokens that were given back.
        self.known = ImagesView(())
        self.page_size = 0
        self.tokens: list[str] = []
        self.loops = False

    async def ListImages(self, request: pb.ListImagesRequest, context: Any) -> Any:
        self.tokens.append(request.page_token)
        page = page_of(self.known, request.edge, self.page_size, request.page_token)
        if self.loops:
            page.next_page_token = self.tokens[-1] or page.next_page_token
        return page

    async def SubmitJob(self, request: pb.SubmitJobRequest, context: Any) -> Any:
        self.submits += 1
        return pb.SubmitJobResponse(job=job_record_to_pb(JOB))

    async def WatchJob(self, request: pb.WatchJobRequest, context: Any) -> Any:
        for state in self._states:
            yield pb.WatchJobResponse(job=job_record_to_pb(replace(JOB, state=state)))
            if state.ended:
                return
        self.told.set()
        await self.closing.wait()
        raise Unavailable("the central master is stopping; the job goes on")


class EdgeProbe(EdgeServiceServicer):  # type: ignore[misc]
    """Has one service for good, whose generation tells one cluster from the next."""

    def __init__(self, generation: int) -> None:
        self._view = ServiceView(SERVICE, generation, SITE, (), 0, 0, 0, RequestCounts())
        self.closing: Any = None

    async def WatchService(self, request: edge_pb.WatchServiceRequest, context: Any) -> Any:
        yield edge_pb.WatchServiceResponse(service=service_view_to_pb(self._view))
        await self.closing.wait()
        raise Unavailable("the edge is stopping; its services go on")


@contextlib.asynccontextmanager
async def central(state_dir: Path, token: str, *states: JobState) -> AsyncIterator[CentralProbe]:
    """One as `tango up` leaves it: with a port and a token of its own, both gone after it."""
    probe = CentralProbe(states)
    edge = EdgeProbe(len(token))  # which differ in that
    services = [
        Service("tango.v1.CentralService", lambda server: add_central(probe, server)),
        Service("tango.v1.EdgeService", lambda server: add_edge(edge, server)),
    ]
    server = make_server("127.0.0.1:0", token, services)
    probe.closing = edge.closing = server.closing
    await server.start()
    token_file = state_dir / "token"
    token_file.touch(mode=0o600)
    token_file.write_text(token)
    address = str(server.address)
    write_cluster_file(state_dir, ClusterFile(address, ((SITE, address),), str(token_file)))
    try:
        yield probe
    finally:
        (state_dir / "cluster.json").unlink()
        token_file.unlink()
        await server.stop(0)
