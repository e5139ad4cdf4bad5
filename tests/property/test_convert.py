"""Every message of the protos survives the way to the wire and back, whatever it holds."""

from __future__ import annotations

import dataclasses
import enum
import functools
import math
import types
import typing
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck as HypothesisCheck
from hypothesis import given, settings
from hypothesis import strategies as st

from tango.model import (
    affinity,
    cluster,
    explanation,
    improvement,
    job,
    layers,
    messages,
    peers,
    request,
    round_trips,
    routes,
    service,
    views,
)  # fmt: skip
from tango.model.cgroup import Mismatch
from tango.v1 import central_service_pb2 as central
from tango.v1 import edge_service_pb2 as edge
from tango.v1 import peer_service_pb2 as peer
from tango.v1 import types_pb2, worker_service_pb2
from tango.wire import (
    convert_affinity,
    convert_calls,
    convert_checkpoints,
    convert_explanations,
    convert_images,
    convert_improvement,
    convert_jobs,
    convert_nodes,
    convert_peers,
    convert_routes,
    convert_services,
    convert_session_edge,
    convert_session_shared,
    convert_session_worker,
    convert_specs,
    peer_sessions,
    sessions,
)

U32 = st.integers(0, 2**32 - 1)
U64 = st.integers(0, 2**64 - 1)
FLOATS = st.floats(allow_nan=False)
# Names of map entries are unique; maps come back sorted.
MAPS = st.dictionaries(st.text(max_size=9), st.text(max_size=9), max_size=3).map(
    lambda entries: tuple(sorted(entries.items()))
)
PAIRS = st.lists(st.tuples(st.text(max_size=9), st.text(max_size=9)), max_size=3).map(tuple)
CORES = st.lists(st.integers(0, 4095), unique=True, max_size=3).map(tuple)
SECONDS = st.integers(1, 10**13).map(lambda ns: ns / 1e9)
TOKENS = st.text("abcXYZ-019", min_size=1, max_size=9)
LATIN_1 = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=9)

WIDE = {"memory_bytes", "lc_memory_bytes", "be_memory_bytes", "incarnation", "generation"}
WIDE |= {"version", "n_throttled", "memory_per_request_bytes"}
# A 0 there means the default, so a model never holds one.
POSITIVE = {
    (service.ServiceSpec, "memory_bytes"): st.integers(1, 2**50),
    (service.ServiceSpec, "cpu_per_request_millis"): st.integers(1, 10**6),
    (service.ServiceSpec, "concurrency"): st.integers(1, 10**4),
    (service.ServiceSpec, "quota_base_millis"): st.integers(1, 10**6),
    (service.ServiceSpec, "deadline_s"): SECONDS,
    (service.ServiceSpec, "timeout_s"): SECONDS,
    (service.ServiceSpec, "priority"): st.integers(-1000, 1000),
    (service.HealthCheck, "path"): st.text(min_size=1, max_size=9),
    (service.HealthCheck, "interval_s"): st.floats(0.01, 9),
    (service.HealthCheck, "timeout_s"): st.floats(0.01, 9),
    (service.HealthCheck, "failures"): st.integers(1, 100),
    (service.HealthCheck, "start_timeout_s"): st.floats(0.01, 9),
    (job.TaskSpec, "cpu_millis"): st.integers(1, 10**6),
    (job.TaskSpec, "memory_bytes"): st.integers(1, 2**50),
    (job.JobSpec, "priority"): st.integers(-1000, 1000),
    (job.Near, "within_s"): SECONDS,
    (job.TaskSpec, "prefers"): st.deferred(lambda: PREFERS),
    (service.ServiceSpec, "prefers"): st.deferred(lambda: PREFERS),
    (round_trips.EdgeTrip, "rtt_s"): st.integers(0, 60 * 10**9).map(lambda ns: ns / 1e9),
    (job.AttemptStatus, "priority"): st.integers(-1000, 1000),
    (messages.StartAttempt, "priority"): st.integers(-1000, 1000),
    (cluster.GroupReport, "quota_millis"): st.integers(-1, 10**6),
    (messages.StopAttempt, "grace_s"): st.none() | st.floats(0, 86_400),
    # Checked at the door.
    (request.CallRequest, "request_id"): st.text(
        st.characters(codec="ascii", categories=["L", "N"])
    ),
    (request.CallRequest, "method"): st.sampled_from(["GET", "POST", "PURGE"]),
    (request.CallRequest, "path"): TOKENS.map(lambda path: f"/{path}?q=%20"),
    (request.CallRequest, "headers"): st.lists(st.tuples(TOKENS, LATIN_1), max_size=3).map(tuple),
    (request.CallRequest, "deadline_s"): st.integers(0, 3600).map(float),
    (request.CallRequest, "timeout_s"): st.integers(0, 3600).map(float),
    (request.CallRequest, "stream"): st.just(False),
    (request.CallRequest, "origin"): st.just(""),
    (request.CallRequest, "priority"): st.just(0),
    (layers.ImageLayers, "digest"): TOKENS,
    (layers.NodeImages, "bandwidth_bytes_per_s"): st.none() | st.floats(1, 1e15),
    (peers.PeerNode, "load"): st.floats(0, 9),
    (peers.PeerNode, "rtt_s"): st.floats(0, 86_400),
    (peers.PeerNode, "slots"): st.dictionaries(st.text(max_size=9), U32, max_size=3).map(
        lambda entries: tuple(sorted(entries.items()))
    ),
    (peers.PeerServiceOffer, "wait_s"): st.floats(0, 86_400),
    (peers.PeerServiceOffer, "occupancy_s"): st.floats(0, 86_400),
    (peers.PeerView, "rtt_ms"): st.none() | FLOATS,
    (peers.PeerView, "age_ms"): st.none() | FLOATS,
    (peers.Forwards, "requests"): st.lists(st.deferred(lambda: FORWARDED), max_size=3).map(tuple),
    (messages.PublishedShares, "shares"): st.lists(
        st.tuples(st.text(max_size=9), U32), max_size=3
    ).map(tuple),
    (messages.PublishedShares, "keep_s"): st.floats(0, 3600),
    (routes.RouteTable, "deadline_s"): SECONDS,
    (routes.RouteTable, "timeout_s"): SECONDS,
    **{
        (routes.ReplicaTally, name): st.integers(0, 10**6)
        for name in ("in_flight", "completed", "late", "failed")
    },
    (routes.ReplicaTally, "latency_s"): st.integers(0, 10**12).map(lambda ns: ns / 1e9),
}


# A site forwards what has an id and time left.
FORWARDED = st.builds(
    request.CallRequest,
    request_id=TOKENS,
    service=st.text(max_size=9),
    body=st.binary(max_size=9),
    deadline_s=st.integers(1, 3600).map(float),
    timeout_s=st.integers(0, 3600).map(float),
    stream=st.booleans(),
    priority=st.integers(-1000, 1000),
)


WORDS = st.text(max_size=9)
REQUIREMENTS = st.one_of(
    st.builds(
        affinity.Requirement,
        WORDS,
        st.sampled_from(["In", "NotIn"]),
        st.lists(WORDS, min_size=1, max_size=3).map(tuple),
    ),
    st.builds(affinity.Requirement, WORDS, st.sampled_from(["Exists", "DoesNotExist"])),
    st.builds(
        affinity.Requirement,
        WORDS,
        st.sampled_from(["Gt", "Lt"]),
        st.tuples(st.integers().map(str)),
    ),
)
PREFERS = st.lists(st.tuples(REQUIREMENTS, st.floats(0, 100)), max_size=3).map(tuple)
TOLERATIONS = st.builds(
    affinity.Toleration,
    st.text(min_size=1, max_size=9),
    st.none() | WORDS,
    st.none() | st.sampled_from(affinity.EFFECTS),
) | st.builds(affinity.Toleration)


def of_type(kind: Any, name: str) -> st.SearchStrategy[Any]:
    if isinstance(kind, types.UnionType):
        return st.none() | of_type(kind.__args__[0], name)
    if typing.get_origin(kind) is typing.Literal:
        return st.sampled_from(typing.get_args(kind))
    if typing.get_origin(kind) is tuple:
        if kind == tuple[tuple[str, str], ...]:
            return MAPS if name in {"env", "labels"} else PAIRS
        if name in {"cores", "be_cores", "cpuset", "from_cores", "to_cores"}:
            return CORES
        return st.lists(of_type(kind.__args__[0], name), max_size=3).map(tuple)
    if dataclasses.is_dataclass(kind):
        return of_model(typing.cast("type", kind))
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return st.sampled_from(kind)
    if kind is int:
        if name == "exit_code":
            return st.integers(-(2**31), 2**31 - 1)
        return U64 if name in WIDE or kind_is_count(name) else U32
    return {
        str: st.text(max_size=9),
        bytes: st.binary(max_size=9),
        bool: st.booleans(),
        float: FLOATS,
    }[kind]


def kind_is_count(name: str) -> bool:
    return name in {"sent", "completed", "late", "rejected", "failed"}


@functools.cache
def of_model(model: type) -> st.SearchStrategy[Any]:
    if model is affinity.Requirement:
        return REQUIREMENTS
    if model is affinity.Toleration:
        return TOLERATIONS
    hints = typing.get_type_hints(model)
    return st.builds(
        model,
        **{
            field.name: POSITIVE[model, field.name]
            if (model, field.name) in POSITIVE
            else of_type(hints[field.name], field.name)
            for field in dataclasses.fields(model)
        },
    )


CASES: list[tuple[type, Callable[[Any], Any], Callable[[Any], Any]]] = [
    (model, getattr(module, f"{name}_to_pb"), getattr(module, f"{name}_from_pb"))
    for module, models in (
        (
            convert_specs,
            [service.HealthCheck, service.ServiceSpec, job.Near, job.TaskSpec, job.JobSpec],
        ),
        (convert_affinity, [affinity.Requirement, affinity.Toleration, affinity.Taint]),
        (convert_jobs, [job.TaskRecord, job.JobRecord, job.AttemptStatus, views.JobCounts]),
        (
            convert_nodes,
            [
                cluster.NodeCapacity,
                cluster.SideUsage,
                cluster.GroupReport,
                Mismatch,
                cluster.NodeReport,
                cluster.NodeView,
                views.EdgeView,
                views.DrainView,
            ],
        ),
        (
            convert_images,
            [layers.HeldImage, layers.NodeImages, views.ImageView],
        ),
        (convert_services, [service.ReplicaStatus, views.RequestCounts, views.ServiceView]),
        (convert_explanations, [explanation.Explanation]),
        (
            convert_calls,
            [
                request.CallRequest,
                request.CallReply,
                request.Dispatch,
                request.RequestDone,
                messages.ReplyPart,
            ],
        ),
        (
            convert_session_worker,
            [
                messages.WorkerHello,
                messages.WorkerState,
                messages.ReplicaChanged,
                messages.ReplicaGone,
                messages.RequestsDone,
                messages.ReportUsage,
                messages.EdgeWelcome,
                messages.NodeTargets,
                messages.Dispatches,
                messages.CancelDispatches,
                messages.WorkerPing,
                messages.WorkerPong,
                messages.PublishedShares,
            ],
        ),
        (convert_routes, [routes.RouteTable, routes.FollowReport]),
        (
            convert_session_edge,
            [
                messages.EdgeHello,
                messages.EdgeState,
                messages.NodesChanged,
                messages.NodeResynced,
                messages.AttemptRefused,
                messages.CentralWelcome,
                round_trips.EdgeTrip,
            ],
        ),
        (
            convert_peers,
            [
                peers.PeerHello,
                peers.PeerWelcome,
                peers.PeerPing,
                peers.PeerPong,
                peers.SiteOffer,
                peers.PeerNode,
                peers.PeerServiceOffer,
                peers.Forwards,
                peers.RecallForwards,
                peers.ForwardReplies,
                peers.PeerView,
            ],
        ),
        (
            convert_checkpoints,
            [
                job.Checkpoint,
                job.CheckpointPart,
                messages.OpenCheckpoint,
                messages.ForgetCheckpoints,
            ],
        ),
        (convert_improvement, [improvement.ImproveView, improvement.TriedJob]),
        (
            convert_session_shared,
            [
                messages.AttemptChanged,
                messages.StartAttempt,
                messages.StopAttempt,
                messages.AckEnds,
                messages.ForgetLogs,
                messages.OpenLog,
                messages.CloseLog,
                messages.LogPart,
            ],
        ),
    )
    for model in models
    for name in ["".join(f"_{c.lower()}" if c.isupper() else c for c in model.__name__)[1:]]
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0].__name__)
def test_there_and_back(case: Any) -> None:
    model, to_pb, from_pb = case

    @given(of_model(model))
    @settings(max_examples=25, deadline=None, suppress_health_check=list(HypothesisCheck))
    def check(value: Any) -> None:
        message = to_pb(value)
        assert from_pb(type(message).FromString(message.SerializeToString())) == value

    check()


def test_every_message_of_the_protos_has_a_converter() -> None:
    returned = [to_pb.__annotations__["return"] for _, to_pb, _ in CASES]
    produced = {text.removesuffix(" | None").rsplit(".", 1)[1] for text in returned}
    # Converted inside of what holds them, or by the servicers and clients: an RPC's own envelope.
    inside = {
        "Header", "ReplicaView", "ReplicaTarget", "DrainItem", "QosView", "TrafficPolicyView",
        "BatchPolicyView", "SiteImages", "ImageLayer", "ImagesView",
        "Reason", "ForwardedRequest", "ReplicaRoute", "ReplicaTally", "PublishedShare",
        "Migration", "NodePreference", "BoundTotals", "TaskMove", "TriedTask",
    }  # fmt: skip
    envelopes = ("Request", "Response")
    for module in (types_pb2, edge, central, peer, worker_service_pb2):
        for name in module.DESCRIPTOR.message_types_by_name:
            if name == "LcRequest" or not name.endswith(envelopes):
                assert name in produced | inside, f"{name} has no converter"


def test_every_oneof_field_of_a_session_has_a_row() -> None:
    for direction, envelope in (
        (sessions.FROM_WORKER, edge.ConnectWorkerRequest),
        (sessions.TO_WORKER, edge.ConnectWorkerResponse),
        (sessions.FROM_EDGE, central.ConnectEdgeRequest),
        (sessions.TO_EDGE, central.ConnectEdgeResponse),
        (peer_sessions.FROM_PEER, peer.ConnectPeerRequest),
        (peer_sessions.TO_PEER, peer.ConnectPeerResponse),
    ):
        oneof = envelope.DESCRIPTOR.oneofs_by_name["message"]
        assert direction.fields == {field.name for field in oneof.fields}


@given(st.floats(0, 1e6, allow_nan=False))
def test_milliseconds_of_calls_are_right_to_the_last_bits(deadline_s: float) -> None:
    value = request.CallRequest("r", "s", deadline_s=min(deadline_s, 3600))
    back = convert_calls.call_request_from_pb(convert_calls.call_request_to_pb(value))
    assert math.isclose(back.deadline_s, value.deadline_s, rel_tol=1e-15)
