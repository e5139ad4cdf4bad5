"""What sites say to one another, and what happens to an edge's controller because of it.

An edge dials its peers, to use their nodes too: who dials forwards requests, who is dialled offers
and alone admits. Both directions are numbered as on all session streams. Here a *peer* is a site
that this edge dials, and a *guest* one that has dialled this edge.
"""

from __future__ import annotations

from dataclasses import dataclass

from tango.model.fast_init import fast_init
from tango.model.messages import ReplyPart
from tango.model.request import CallReply, CallRequest

# ---- from who dials


@dataclass(frozen=True, slots=True)
class PeerHello:
    """Which site dials. dial: counts this incarnation's streams to that peer from 1."""

    edge: str
    incarnation: int
    version: str
    dial: int = 0


@dataclass(frozen=True, slots=True)
class PeerPing:
    """Answered at once by a PeerPong of that number, with an offer if that is wanted."""

    number: int
    wants_offer: bool


@dataclass(frozen=True, slots=True)
class Forwards:
    """Requests to admit and serve; their deadlines and timeouts are what is left of them."""

    requests: tuple[CallRequest, ...]


@dataclass(frozen=True, slots=True)
class RecallForwards:
    """Nobody waits for these any more: no reply follows."""

    request_ids: tuple[str, ...]


# ---- from who is dialled (ReplyPart as from workers)


@dataclass(frozen=True, slots=True)
class PeerWelcome:
    """The session is on."""

    edge: str
    incarnation: int


@fast_init
@dataclass(frozen=True, slots=True)
class PeerNode:
    """What one node can take of the site that asks: what is free, and what that holds there now.

    So it does not change with the asker's own requests, however long they are under way.
    slots: (service, request slots). rtt_s: from that node's edge to it.
    """

    node: str
    cpu_millis: int
    memory_bytes: int
    load: float
    rtt_s: float
    slots: tuple[tuple[str, int], ...]


@fast_init
@dataclass(frozen=True, slots=True)
class PeerServiceOffer:
    """wait_s: until a request that comes now is begun. occupancy_s: from then to its answer."""

    service: str
    wait_s: float
    occupancy_s: float


@fast_init
@dataclass(frozen=True, slots=True)
class SiteOffer:
    """A site as it offers itself to one other; services that are not in it are not there."""

    nodes: tuple[PeerNode, ...]
    services: tuple[PeerServiceOffer, ...]


@dataclass(frozen=True, slots=True)
class PeerPong:
    """Answer to PeerPing(number). The offer was made after that ping was sent."""

    number: int
    offer: SiteOffer | None = None


@dataclass(frozen=True, slots=True)
class ForwardReplies:
    """How forwarded requests ended, each once; times as the site that served them saw them."""

    replies: tuple[CallReply, ...]


FromPeer = PeerHello | PeerPing | Forwards | RecallForwards
ToPeer = PeerWelcome | PeerPong | ForwardReplies | ReplyPart

# ---- events


@dataclass(frozen=True, slots=True)
class PeerUp:
    """The stream to a peer is open and was welcomed. session: drawn by the shell, unique."""

    session: int
    peer: str
    welcome: PeerWelcome


@dataclass(frozen=True, slots=True)
class PeerSaid:
    """A later message on that stream; parts of replies pass by the controller."""

    session: int
    message: ToPeer


@dataclass(frozen=True, slots=True)
class PeerDown:
    """That stream ended."""

    session: int
    reason: str


@dataclass(frozen=True, slots=True)
class GuestUp:
    """Another site has dialled and said hello. session: drawn by the shell, unique."""

    session: int
    hello: PeerHello


@dataclass(frozen=True, slots=True)
class GuestSaid:
    """A later message on that stream. Forwards arrive as CallArrived, recalls as CallCancelled."""

    session: int
    message: FromPeer


@dataclass(frozen=True, slots=True)
class GuestDown:
    """That stream ended; the shell cancels what came on it."""

    session: int
    reason: str


# ---- commands


@dataclass(frozen=True, slots=True)
class SendPeer:
    """Send to a peer; dropped if that session is gone."""

    session: int
    message: FromPeer


@dataclass(frozen=True, slots=True)
class ClosePeer:
    """End the stream to a peer: it is another one than was thought, or silent."""

    session: int
    reason: str


@dataclass(frozen=True, slots=True)
class SendGuest:
    """Send to a guest; dropped if that session is gone."""

    session: int
    message: ToPeer


@dataclass(frozen=True, slots=True)
class CloseGuest:
    """End a guest's stream: it is refused, superseded or silent."""

    session: int
    reason: str


PeerEvent = PeerUp | PeerSaid | PeerDown | GuestUp | GuestSaid | GuestDown
PeerCommand = SendPeer | ClosePeer | SendGuest | CloseGuest

# ---- for listings


@dataclass(frozen=True, slots=True)
class PeerView:
    """A peer as the edge that dials it sees it. rtt_ms, age_ms: None until measured, offered.

    neighbour: one of the nearest, whose offers routing uses; fresh: the last is young enough.
    nodes, slots: in it. forwarded and lost count since the edge started; pending is now.
    """

    edge: str
    peer: str
    address: str
    connected: bool
    neighbour: bool = False
    rtt_ms: float | None = None
    age_ms: float | None = None
    fresh: bool = False
    nodes: int = 0
    slots: int = 0
    forwarded: int = 0
    pending: int = 0
    refused: int = 0
    lost: int = 0
