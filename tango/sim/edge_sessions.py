"""Streams at the edge that others dialled: its workers', and its guests' with what they forward."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tango.model import events as ev
from tango.model import messages as msg
from tango.model import peers as p
from tango.model.request import CallReply, CallRequest, Code, Outcome
from tango.sim.network import End

if TYPE_CHECKING:
    from tango.sim.edge_shell import Edge


class WorkerSession:
    """A worker's stream at its edge: hello and state first, then messages."""

    __slots__ = ("_answer_s", "_edge", "_end", "_hello", "_session")

    def __init__(self, edge: Edge, end: End, answer_s: float) -> None:
        self._edge = edge
        self._end = end
        self._answer_s = answer_s
        self._hello: msg.WorkerHello | None = None
        self._session = 0
        end.receive, end.ended = self._greet, self._ended

    def _greet(self, message: object) -> None:
        if isinstance(message, msg.WorkerHello):
            self._hello = message
        elif isinstance(message, msg.WorkerState) and self._hello is not None:
            self._session = self._edge.number()
            self._end.receive = self._said
            event = ev.WorkerUp(self._session, self._hello, message, "127.0.0.1")
            self._edge.worker_up(self._session, self._end, event)
        else:
            self._end.close("a worker must say hello and its state first")

    def _said(self, message: object) -> None:
        if type(message) is msg.RequestsDone:
            self._edge.shell.work(self._answer_s * len(message.done))
        self._edge.shell.post(ev.WorkerSaid(self._session, message))  # type: ignore[arg-type]

    def _ended(self, reason: str) -> None:
        self._edge.worker_down(self._session, reason)


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
