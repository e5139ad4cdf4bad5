"""One connection of the REST face: what comes on it and is no HTTP is answered as all else is."""

from __future__ import annotations

import grpc
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from tango.wire.guard import INTERNAL_TEXT
from tango.wire.rest.failures import Failure, answer_of, shown

# Before any handler has a request: a body in bad chunks comes to one, a bad head to none.
NO_HTTP = "this is no HTTP/1.1 request"


class Connection(web.RequestHandler):
    """aiohttp's, which would answer in plain text and with its own name and version."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to what no handler has answered; the connection ends with it."""
        told = super().handle_error(request, status, exc, message)
        if isinstance(exc, HttpProcessingError):
            # Below the first line, or behind these words, stand the bytes that came.
            why = (message or "").partition("\n")[0].partition(" when reading:")[0].rstrip(":")
            text = f"{NO_HTTP}: {shown(why)}" if why else NO_HTTP
            failure = Failure(grpc.StatusCode.INVALID_ARGUMENT, text, http=told.status)
        else:
            failure = Failure(grpc.StatusCode.INTERNAL, INTERNAL_TEXT)
        answer = answer_of(failure)
        answer.force_close()
        return answer
