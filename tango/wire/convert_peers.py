"""Converts pb2 <-> model what sites say to one another, and how listings show them.

Requests that a peer forwards are checked like those of users: they are written into an HTTP/1.1
connection to a replica here.
"""

from __future__ import annotations

import math

from tango.model.checks import check_range
from tango.model.errors import InvalidField
from tango.model.peers import (
    ForwardReplies,
    Forwards,
    PeerHello,
    PeerNode,
    PeerPing,
    PeerPong,
    PeerServiceOffer,
    PeerView,
    PeerWelcome,
    RecallForwards,
    SiteOffer,
)
from tango.model.request import CallRequest
from tango.v1 import peer_service_pb2 as pb
from tango.wire.convert_calls import (
    call_reply_from_pb,
    call_reply_to_pb,
    call_request_from_pb,
    call_request_to_pb,
)

# Nobody waits longer than this for anything here; a number above it is nonsense.
MAX_SECONDS = 86_400.0


def peer_hello_to_pb(hello: PeerHello) -> pb.PeerHello:
    """Field by field."""
    return pb.PeerHello(
        edge=hello.edge, incarnation=hello.incarnation, version=hello.version, dial=hello.dial
    )


def peer_hello_from_pb(message: pb.PeerHello) -> PeerHello:
    """Field by field."""
    return PeerHello(message.edge, message.incarnation, message.version, message.dial)


def peer_welcome_to_pb(welcome: PeerWelcome) -> pb.PeerWelcome:
    """Field by field."""
    return pb.PeerWelcome(edge=welcome.edge, incarnation=welcome.incarnation)


def peer_welcome_from_pb(message: pb.PeerWelcome) -> PeerWelcome:
    """Field by field."""
    return PeerWelcome(message.edge, message.incarnation)


def peer_ping_to_pb(ping: PeerPing) -> pb.PeerPing:
    """Field by field."""
    return pb.PeerPing(number=ping.number, wants_offer=ping.wants_offer)


def peer_ping_from_pb(message: pb.PeerPing) -> PeerPing:
    """Field by field."""
    return PeerPing(message.number, message.wants_offer)


def peer_node_to_pb(node: PeerNode) -> pb.PeerNode:
    """Field by field."""
    return pb.PeerNode(
        node=node.node,
        cpu_millis=node.cpu_millis,
        memory_bytes=node.memory_bytes,
        load=node.load,
        rtt_s=node.rtt_s,
        slots=dict(node.slots),
    )


def peer_node_from_pb(message: pb.PeerNode) -> PeerNode:
    """Raises InvalidField for a load or a delay that is none."""
    _check_finite("offer.nodes.load", message.load)
    check_range("offer.nodes.rtt_s", message.rtt_s, 0, MAX_SECONDS)
    return PeerNode(
        message.node,
        message.cpu_millis,
        message.memory_bytes,
        message.load,
        message.rtt_s,
        tuple(sorted(message.slots.items())),
    )


def peer_service_offer_to_pb(offer: PeerServiceOffer) -> pb.PeerServiceOffer:
    """Field by field."""
    return pb.PeerServiceOffer(
        service=offer.service, wait_s=offer.wait_s, occupancy_s=offer.occupancy_s
    )


def peer_service_offer_from_pb(message: pb.PeerServiceOffer) -> PeerServiceOffer:
    """Raises InvalidField for times that are none."""
    check_range("offer.services.wait_s", message.wait_s, 0, MAX_SECONDS)
    check_range("offer.services.occupancy_s", message.occupancy_s, 0, MAX_SECONDS)
    return PeerServiceOffer(message.service, message.wait_s, message.occupancy_s)


def site_offer_to_pb(offer: SiteOffer) -> pb.SiteOffer:
    """Field by field."""
    return pb.SiteOffer(
        nodes=[peer_node_to_pb(node) for node in offer.nodes],
        services=[peer_service_offer_to_pb(service) for service in offer.services],
    )


def site_offer_from_pb(message: pb.SiteOffer) -> SiteOffer:
    """Raises InvalidField for a number that makes no sense."""
    return SiteOffer(
        tuple([peer_node_from_pb(node) for node in message.nodes]),
        tuple([peer_service_offer_from_pb(service) for service in message.services]),
    )


def peer_pong_to_pb(pong: PeerPong) -> pb.PeerPong:
    """Without an offer the field stays unset."""
    offer = None if pong.offer is None else site_offer_to_pb(pong.offer)
    return pb.PeerPong(number=pong.number, offer=offer)


def peer_pong_from_pb(message: pb.PeerPong) -> PeerPong:
    """Raises InvalidField for a number in the offer that makes no sense."""
    offer = site_offer_from_pb(message.offer) if message.HasField("offer") else None
    return PeerPong(message.number, offer)


def forwarded_request_to_pb(request: CallRequest) -> pb.ForwardedRequest:
    """The origin does not travel: it is who dials."""
    return pb.ForwardedRequest(
        request=call_request_to_pb(request), stream=request.stream, priority=request.priority
    )


def forwarded_request_from_pb(message: pb.ForwardedRequest) -> CallRequest:
    """Raises InvalidField as for a user's request, and for one without an id or a deadline."""
    request = call_request_from_pb(message.request, stream=message.stream, where="forward")
    if not request.request_id:
        raise InvalidField("forward.request_id", "is empty", "draw one that is unique")
    if not request.deadline_s:
        raise InvalidField("forward.deadline_ms", "is 0", "forward only what has time left")
    return CallRequest(
        request.request_id,
        request.service,
        request.method,
        request.path,
        request.headers,
        request.body,
        request.deadline_s,
        request.timeout_s,
        request.stream,
        priority=message.priority,
    )


def forwards_to_pb(forwards: Forwards) -> pb.Forwards:
    """In order."""
    return pb.Forwards(requests=[forwarded_request_to_pb(each) for each in forwards.requests])


def forwards_from_pb(message: pb.Forwards) -> Forwards:
    """In order. Raises InvalidField."""
    return Forwards(tuple([forwarded_request_from_pb(each) for each in message.requests]))


def recall_forwards_to_pb(recall: RecallForwards) -> pb.RecallForwards:
    """Field by field."""
    return pb.RecallForwards(request_ids=recall.request_ids)


def recall_forwards_from_pb(message: pb.RecallForwards) -> RecallForwards:
    """Field by field."""
    return RecallForwards(tuple(message.request_ids))


def forward_replies_to_pb(replies: ForwardReplies) -> pb.ForwardReplies:
    """In order."""
    return pb.ForwardReplies(replies=[call_reply_to_pb(reply) for reply in replies.replies])


def forward_replies_from_pb(message: pb.ForwardReplies) -> ForwardReplies:
    """In order."""
    return ForwardReplies(tuple([call_reply_from_pb(reply) for reply in message.replies]))


def peer_view_to_pb(view: PeerView) -> pb.PeerView:
    """Field by field."""
    return pb.PeerView(
        edge=view.edge,
        peer=view.peer,
        address=view.address,
        connected=view.connected,
        neighbour=view.neighbour,
        rtt_ms=view.rtt_ms,
        age_ms=view.age_ms,
        fresh=view.fresh,
        nodes=view.nodes,
        slots=view.slots,
        forwarded=view.forwarded,
        pending=view.pending,
        refused=view.refused,
        lost=view.lost,
    )


def peer_view_from_pb(message: pb.PeerView) -> PeerView:
    """Field by field."""
    return PeerView(
        message.edge,
        message.peer,
        message.address,
        message.connected,
        message.neighbour,
        message.rtt_ms if message.HasField("rtt_ms") else None,
        message.age_ms if message.HasField("age_ms") else None,
        message.fresh,
        message.nodes,
        message.slots,
        message.forwarded,
        message.pending,
        message.refused,
        message.lost,
    )


def _check_finite(field: str, value: float) -> None:
    if not math.isfinite(value):
        raise InvalidField(field, f"{value:g} is no number", "send a finite one")
