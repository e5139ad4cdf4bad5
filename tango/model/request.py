"""One LC request on its way: what was asked, where it stands, what came back."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from tango.model.fast_init import fast_init

Headers = tuple[tuple[str, str], ...]


class Outcome(enum.Enum):
    """Every request ends in exactly one of these; all but COMPLETED violate its QoS."""

    # As members are compared, by identity: what is counted by outcome is counted for each request,
    # and Enum's own is a function in Python.
    __hash__ = object.__hash__

    COMPLETED = "completed"
    LATE = "late"
    REJECTED = "rejected"
    FAILED = "failed"


class Code(enum.Enum):
    """Why a request ended as it did; names follow gRPC's status codes."""

    OK = "ok"
    NOT_FOUND = "not_found"
    INVALID = "invalid"
    RESOURCE_EXHAUSTED = "resource_exhausted"
    UNAVAILABLE = "unavailable"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    CANCELLED = "cancelled"
    INTERNAL = "internal"


@fast_init
@dataclass(frozen=True, slots=True)
class CallRequest:
    """A call as it arrives at the edge. deadline_s and timeout_s of 0 take the service's own.

    stream: send the body on in parts as the replica produces it.
    origin: the peer that forwarded it, "" from a user of this site; then deadline_s and timeout_s
    are what is left of them, and it is served here or nowhere. priority: of the service where it
    came from, with an origin only.
    """

    request_id: str
    service: str
    method: str = "GET"
    path: str = "/"
    headers: Headers = ()
    body: bytes = b""
    deadline_s: float = 0.0
    timeout_s: float = 0.0
    stream: bool = False
    origin: str = ""
    priority: int = 0


@fast_init
@dataclass(frozen=True, slots=True)
class CallReply:
    """The end of a call. Times in milliseconds: queue at the edge, service at the replica as the
    worker measured it, network the rest between dispatch and answer, total since arrival.

    may_have_run: False only where the replica is known not to have seen the request.
    retry_after_ms: a hint with RESOURCE_EXHAUSTED, else 0.
    site: the peer that served it, "" for the site that was asked; then queue_ms is that at both,
    and network_ms holds the way there and back.
    """

    request_id: str
    outcome: Outcome
    code: Code
    http_status: int = 0
    headers: Headers = ()
    body: bytes = b""
    node: str = ""
    replica: str = ""
    queue_ms: float = 0.0
    network_ms: float = 0.0
    service_ms: float = 0.0
    total_ms: float = 0.0
    error: str = ""
    may_have_run: bool = False
    retry_after_ms: float = 0.0
    site: str = ""


@fast_init
@dataclass(frozen=True, slots=True)
class Dispatch:
    """A request handed to a worker; timeout_s is what is left of its hard end."""

    request_id: str
    service: str
    method: str
    path: str
    headers: Headers
    body: bytes
    timeout_s: float
    stream: bool


@fast_init
@dataclass(frozen=True, slots=True)
class RequestDone:
    """A worker's answer to a Dispatch: the replica's reply, or why there is none.

    ran: the replica saw (part of) the request; False makes a second try safe.
    """

    request_id: str
    code: Code
    http_status: int = 0
    headers: Headers = ()
    body: bytes = b""
    replica: str = ""
    service_s: float = 0.0
    error: str = ""
    ran: bool = True
