"""Streams of other sites at the edge that they dialled, with the requests that they forward."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tango.model import peers as p
from tango.model.request import CallReply, CallRequest, Code, Outcome
from tango.sim.network import End

if TYPE_CHECKING:
    from tango.sim.edge_shell import Edge


class GuestSession:
    """Another site's stream at the edge that it dialled, with the requests that came on it."""

    __slots__ = ("_edge", "_end", "_pending", "_session", "_site")

    def __init__(self, edge: Edge, end: End) -> None:
        self._edge = edge
        self._end = end
        self._site = ""
        self._session = 0
        self._pending: dict[str, None] = {}
        end.receive, end.ended = self._greet, self._ended

    def _greet(self, message: object) -> None:
        if not isinstance(message, p.PeerHello):
            self._end.close("a site must say hello first")
            return
        self._site = message.edge
        self._session = self._edge.number()
        self._end.receive = self._said
        self._edge.guest_up(self._session, self._end, message)

    def _said(self, message: object) -> None:
        if isinstance(message, p.Forwards):
            for request in message.requests:
                self._take(request)
        elif isinstance(message, p.RecallForwards):
            for request_id in message.request_ids:
                self._recall(request_id)
        else:
            self._edge.shell.post(p.GuestSaid(self._session, message))  # type: ignore[arg-type]

    def _take(self, request: CallRequest) -> None:
        """An id that is being served is not served twice."""
        request_id = request.request_id
        if self._edge.is_pending(request_id):
            error = f"request id {request_id!r} is already on its way here"
            reply = CallReply(request_id, Outcome.REJECTED, Code.INVALID, error=error)
            self._replied(reply, self._edge.shell.leaves_at())
            return
        self._pending[request_id] = None
        here = CallRequest(
            request_id,
            request.service,
            request.method,
            request.path,
            request.headers,
            request.body,
            request.deadline_s,
            request.timeout_s,
            request.stream,
            self._site,
            request.priority,
        )
        self._edge.call(here, self._replied)

    def _recall(self, request_id: str) -> None:
        if request_id in self._pending:
            del self._pending[request_id]
            self._edge.cancel(request_id)

    def _replied(self, reply: CallReply, leaves_at: float) -> None:
        self._pending.pop(reply.request_id, None)
        self._end.send(p.ForwardReplies((reply,)), leaves_at)

    def _ended(self, reason: str) -> None:
        """The stream is gone, and with it who waits."""
        for request_id in tuple(self._pending):
            self._recall(request_id)
        if self._session:
            self._edge.guest_down(self._session, reason)
