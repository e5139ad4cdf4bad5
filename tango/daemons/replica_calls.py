"""Carries Forward and AbortForward out: one HTTP request each, answered by one RequestDone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tango.adapters.http_answer import OnPart
from tango.adapters.replica_http import ReplicaClient, ReplicaError
from tango.model import messages as msg
from tango.model.commands import Forward
from tango.model.request import Code, Headers, RequestDone

PAUSE_BACKLOG = 256
RESUME_S = 0.005


class PartsOut:
    """Where parts of streamed replies go, and how many of them wait there."""

    def __init__(self, tell: Callable[[msg.ReplyPart], None], backlog: Callable[[], int]) -> None:
        self.tell = tell
        self.backlog = backlog


class ReplicaCalls:
    """Requests to replicas of this machine, by request id; for one event loop.

    now: the controller's clock. finished: called once for each forward, as it ends.
    parts: of streamed replies; None where no request is streamed.
    """

    def __init__(
        self,
        http: ReplicaClient,
        group: asyncio.TaskGroup,
        now: Callable[[], float],
        finished: Callable[[RequestDone], None],
        parts: PartsOut | None = None,
    ) -> None:
        self._http = http
        self._group = group
        self._now = now
        self._finished = finished
        self._parts = parts
        self._loop = asyncio.get_running_loop()
        self._aborted: set[str] = set()

    def forward(self, command: Forward) -> None:
        """Send it; the answer comes later."""
        self._group.create_task(self._forward(command))

    def abort(self, request_id: str) -> None:
        """Close its connection; it ends with CANCELLED."""
        if not self._http.abort(request_id):
            self._aborted.add(request_id)

    async def _forward(self, command: Forward) -> None:
        request = command.request
        begun = self._now()
        if request.request_id in self._aborted:
            # Aborted in the same turn of the loop in which it was to be sent.
            self._aborted.discard(request.request_id)
            error = "cancelled before it was sent"
            self._finished(RequestDone(request.request_id, Code.CANCELLED, error=error, ran=False))
            return
        try:
            reply = await self._http.request(
                command.port,
                request.method,
                request.path,
                request.headers,
                request.body,
                timeout_s=request.timeout_s,
                request_id=request.request_id,
                on_part=self._taker(request.request_id) if request.stream else None,
            )
        except ReplicaError as error:
            done = RequestDone(
                request.request_id,
                error.code,
                replica=command.replica_id,
                service_s=self._now() - begun,
                error=str(error),
                ran=error.ran,
            )
        else:
            done = RequestDone(
                request.request_id,
                Code.OK,
                reply.status,
                reply.headers,
                reply.body,
                command.replica_id,
                self._now() - begun,
            )
        self._aborted.discard(request.request_id)
        self._finished(done)

    def _taker(self, request_id: str) -> OnPart:
        """Passes parts on, and has the replica wait while too many are on their way."""
        parts = self._parts
        if parts is None:
            raise RuntimeError(f"{request_id} is streamed, and nobody takes parts")

        def on_part(status: int, headers: Headers, data: bytes) -> None:
            parts.tell(msg.ReplyPart(request_id, data, status, headers))
            if parts.backlog() > PAUSE_BACKLOG:
                self._http.pause(request_id)
                self._loop.call_later(RESUME_S, self._resume, request_id, parts)

        return on_part

    def _resume(self, request_id: str, parts: PartsOut) -> None:
        """A fast replica must not fill the stream that all other answers travel on."""
        if parts.backlog() > PAUSE_BACKLOG:
            self._loop.call_later(RESUME_S, self._resume, request_id, parts)
        else:
            self._http.resume(request_id)
