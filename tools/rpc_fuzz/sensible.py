"""Messages that daemons act on: what is only random is refused at the door, and goes no deeper."""

from __future__ import annotations

import random
from typing import Any

from tango.model.cluster import Enforcement, NodeCapacity
from tango.model.job import JobSpec, TaskSpec
from tango.model.messages import EdgeHello, EdgeState, WorkerHello, WorkerState
from tango.model.peers import PeerHello, PeerPing
from tango.model.service import ServiceSpec
from tango.v1 import central_service_pb2 as central
from tango.v1 import edge_service_pb2 as edge
from tango.v1 import types_pb2 as types
from tango.wire.convert_specs import job_spec_to_pb, service_spec_to_pb
from tango.wire.peer_sessions import FROM_PEER
from tango.wire.sessions import encode_from_edge, encode_from_worker

NAMES = ("fuzz-1", "fuzz-2", "fuzz-3")
# Jobs are kept for ever: few different ones, whatever the number of messages.
SUBMISSIONS = tuple(f"fuzz-{number}" for number in range(20))
PROGRAM = ("/bin/true",)


def sensible_message(method: str, rng: random.Random) -> Any | None:
    """A request of that method that would be carried out; None where any is as good."""
    name = rng.choice(NAMES)
    request = types.LcRequest(service=name, deadline_ms=rng.choice((1, 50, 200)), timeout_ms=300)
    match method.rpartition("/")[2]:
        case "SubmitJob":
            task = TaskSpec("main", PROGRAM, cpu_millis=10, memory_bytes=2**24)
            spec = job_spec_to_pb(JobSpec(name, (task,)))
            return central.SubmitJobRequest(spec=spec, submission_id=rng.choice(SUBMISSIONS))
        case "ApplyService":
            service = ServiceSpec(
                name, PROGRAM, cpu_per_request_millis=1, memory_bytes=2**24, deadline_s=0.2
            )
            return edge.ApplyServiceRequest(spec=service_spec_to_pb(service))
        case "Call":
            return edge.CallRequest(request=request)
        case "Explain":
            asked = {"name": rng.choice((*NAMES, "a1")), "limit": rng.choice((0, 1, 1000))}
            if "CentralService" in method:
                return central.CentralServiceExplainRequest(**asked)
            return edge.EdgeServiceExplainRequest(**asked)
        case "CallStreamed":
            return edge.CallStreamedRequest(request=request)
        case "CallMany":
            requests = [types.LcRequest(service=name, deadline_ms=20) for _ in range(5)]
            return edge.CallManyRequest(requests=requests, cancel_ids=["fuzz-1"])
        case "WatchRoutes":
            return edge.WatchRoutesRequest(service=name)
        case "FollowRoutes":
            tally = edge.ReplicaTally(replica=f"{name}-g1-0", in_flight=rng.randint(0, 9))
            report = edge.FollowReport(number=1, wanted=rng.randint(0, 99), replicas=[tally])
            return edge.FollowRoutesRequest(service=name, report=report)
        case _:
            return None


def session_start(method: str, incarnation: int, rng: random.Random) -> list[Any]:
    """The two envelopes that a worker's, an edge's or another site's session begins with."""
    name = rng.choice(NAMES)
    if method.endswith("/ConnectWorker"):
        capacity = NodeCapacity(1000, 2**30)
        hello = WorkerHello(name, "k" * 32, incarnation, capacity, Enforcement.NONE, "0.1")
        return [
            encode_from_worker(hello, incarnation, 1),
            encode_from_worker(WorkerState((), (), ()), incarnation, 2),
        ]
    if method.endswith("/ConnectPeer"):
        return [
            FROM_PEER.encode(PeerHello(name, incarnation, "0.1"), incarnation, 1),
            FROM_PEER.encode(PeerPing(1, wants_offer=True), incarnation, 2),
        ]
    return [
        encode_from_edge(EdgeHello(name, incarnation, "127.0.0.1:9", "0.1"), incarnation, 1),
        encode_from_edge(EdgeState((), (), ()), incarnation, 2),
    ]
