"""What comes of a request to a replica: its reply, or why there is no whole one."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tango.model.request import Code, Headers


class ReplicaError(Exception):
    """No whole answer came from a replica.

    ran: the replica may have seen the request; False makes a second try safe.
    """

    def __init__(self, code: Code, message: str, *, ran: bool) -> None:
        super().__init__(message)
        self.code = code
        self.ran = ran


class ClosedBeforeAnswer(ReplicaError):
    """The replica closed the connection before it sent one byte of an answer."""

    def __init__(self, message: str) -> None:
        super().__init__(Code.UNAVAILABLE, message, ran=True)


class HttpReply(NamedTuple):
    """A replica's answer; body is empty where its parts went to an on_part callback."""

    status: int
    headers: Headers
    body: bytes


# The same, and when the last of it came, by time.monotonic(). Without names it takes a tenth of a
# microsecond less to make, and as much to take apart.
Answer = tuple[int, Headers, bytes, float]

OnPart = Callable[[int, Headers, bytes], None]


def not_valid(problem: str) -> ReplicaError:
    """The bytes that came are no answer."""
    return ReplicaError(Code.INTERNAL, f"the answer is not valid HTTP/1.1: {problem}", ran=True)


def too_large(limit: int) -> ReplicaError:
    """More of a body than is wanted."""
    return ReplicaError(Code.INTERNAL, f"the answer's body is above {limit} bytes", ran=True)


def too_late(timeout_s: float) -> ReplicaError:
    """The deadline of the answer has passed."""
    message = f"no whole answer within {timeout_s * 1000:.0f} ms"
    return ReplicaError(Code.DEADLINE_EXCEEDED, message, ran=True)


def cancelled(*, ran: bool) -> ReplicaError:
    """Its caller wants it no more."""
    return ReplicaError(Code.CANCELLED, "the request was cancelled", ran=ran)


def closed(when: str, error: Exception | None) -> str:
    """How a connection ended, for a message."""
    how = "reset" if isinstance(error, ConnectionResetError | BrokenPipeError) else "closed"
    return f"the replica {how} the connection {when}"
