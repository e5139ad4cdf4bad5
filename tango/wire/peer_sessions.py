"""Envelopes of the streams between sites, pb2 <-> model: as tango.wire.sessions, apart from it.

A worker, which must stay small, loads that file and has no use for this one.
"""

from __future__ import annotations

from tango.model import messages as m
from tango.model import peers as p
from tango.v1 import peer_service_pb2 as pb
from tango.wire import convert_peers as of_peer
from tango.wire.convert_calls import reply_part_from_pb, reply_part_to_pb
from tango.wire.sessions import Direction

FROM_PEER: Direction[p.FromPeer, pb.ConnectPeerRequest] = Direction(
    pb.ConnectPeerRequest,
    {
        "hello": (p.PeerHello, of_peer.peer_hello_to_pb, of_peer.peer_hello_from_pb),
        "ping": (p.PeerPing, of_peer.peer_ping_to_pb, of_peer.peer_ping_from_pb),
        "forwards": (p.Forwards, of_peer.forwards_to_pb, of_peer.forwards_from_pb),
        "recall": (
            p.RecallForwards,
            of_peer.recall_forwards_to_pb,
            of_peer.recall_forwards_from_pb,
        ),
    },
)
TO_PEER: Direction[p.ToPeer, pb.ConnectPeerResponse] = Direction(
    pb.ConnectPeerResponse,
    {
        "welcome": (p.PeerWelcome, of_peer.peer_welcome_to_pb, of_peer.peer_welcome_from_pb),
        "pong": (p.PeerPong, of_peer.peer_pong_to_pb, of_peer.peer_pong_from_pb),
        "replies": (
            p.ForwardReplies,
            of_peer.forward_replies_to_pb,
            of_peer.forward_replies_from_pb,
        ),
        "part": (m.ReplyPart, reply_part_to_pb, reply_part_from_pb),
    },
)
