"""What every request of the REST face passes: who it is, which page sent it, how it is answered."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Awaitable, Callable

import grpc
from aiohttp import web

from tango.model.addresses import Address
from tango.wire.guard import INTERNAL_TEXT
from tango.wire.refusals import Refusals
from tango.wire.rest.failures import HEADERS, Failure, answer_of
from tango.wire.rest.inside import AuthContext
from tango.wire.rest.tls import auth_context

log = logging.getLogger("tango.wire")
# For an answer that is whole to be taken; what is stuck is let go by the kernel before.
WRITE_TIMEOUT_S = 60.0
HOST = "this host name is refused; use the address it listens on"
PAGE = "requests of other sites' pages are refused"
_OWN = ("", "none", "same-origin")
_CODES = {
    404: grpc.StatusCode.NOT_FOUND,
    405: grpc.StatusCode.UNIMPLEMENTED,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    417: grpc.StatusCode.INVALID_ARGUMENT,
}


class Doors:
    """For all requests of one listener.

    address: where it listens, once that is known. secure: it speaks TLS, and callers are known by
    certificates. called: told the peer of every request.
    """

    def __init__(
        self, refusals: Refusals, *, secure: bool, called: Callable[[str], None] | None = None
    ) -> None:
        self.address = Address("", 0)
        self._secure = secure
        self._refusals = refusals
        self._called = called

    @web.middleware
    async def _middleware(
        self,
        request: web.Request,
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        try:
            if self._called is not None:
                self._called(peer_of(request))
            self._check_origin(request)
            response = await handler(request)
        except Failure as failure:
            response = answer_of(failure)
        except web.HTTPException as error:
            response = answer_of(_of_http(error, request))
        except ConnectionError:
            # Nobody is left to answer; aiohttp finds that out, and would log the error itself.
            return _let_go(request)
        except Exception as error:
            log.error(
                "rest request failed",
                exc_info=error,
                extra={"fields": {"path": request.path, "peer": peer_of(request)}},
            )
            response = answer_of(Failure(grpc.StatusCode.INTERNAL, INTERNAL_TEXT))
        try:
            async with asyncio.timeout(WRITE_TIMEOUT_S):
                # Here, for aiohttp would wait for ever for a reader that takes a byte now and then.
                await response.prepare(request)
                await response.write_eof()
        except (TimeoutError, ConnectionError):
            return _let_go(request)
        return response

    @property
    def middleware(self) -> Callable[..., Awaitable[web.StreamResponse]]:
        """Around every handler: refusals before it, failures as JSON after it."""
        return self._middleware

    async def prepare(self, _request: web.Request, response: web.StreamResponse) -> None:
        """Headers of every answer."""
        response.headers.update(HEADERS)

    def caller(self, request: web.Request) -> tuple[str, AuthContext]:
        """Peer and certificate, in gRPC's terms."""
        transport = request.transport
        connection = transport.get_extra_info("ssl_object") if transport is not None else None
        return peer_of(request), auth_context(connection)

    def _check_origin(self, request: web.Request) -> None:
        """Refuse what a page of somebody else had a browser send: it may have a certificate."""
        hosts = request.headers.getall("Host", [])
        # Under TLS a page under another name fails at the certificate, which has not that name.
        if not self._secure and (len(hosts) != 1 or not self.address.answers_to(hosts[0])):
            self._refuse(request, HOST)
        foreign = request.headers.get("Sec-Fetch-Site", "") not in _OWN
        if "Origin" in request.headers or (foreign and request.path.startswith("/v1/")):
            self._refuse(request, PAGE)

    def _refuse(self, request: web.Request, reason: str) -> None:
        self._refusals.note(peer_of(request), reason)
        raise Failure(grpc.StatusCode.PERMISSION_DENIED, reason)


def peer_of(request: web.Request) -> str:
    """The other side as gRPC names it: "ipv4:127.0.0.1:41234", "ipv6:%5B::1%5D:41234"."""
    transport = request.transport
    name = transport.get_extra_info("peername") if transport is not None else None
    if not name:
        return "gone"
    host, port = str(name[0]).partition("%")[0], name[1]
    if ipaddress.ip_address(host).version == 6:
        return f"ipv6:%5B{host}%5D:{port}"
    return f"ipv4:{host}:{port}"


def _let_go(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


def _of_http(error: web.HTTPException, request: web.Request) -> Failure:
    code = _CODES.get(error.status, grpc.StatusCode.UNKNOWN)
    headers = {}
    message = error.reason
    if isinstance(error, web.HTTPMethodNotAllowed):
        headers["Allow"] = ", ".join(sorted(error.allowed_methods))
        message = f"{request.method} is not served at {request.path[:200]}"
    elif error.status == 404:
        message = f"nothing is at {request.path[:200]}; the page at / lists what there is"
    return Failure(code, message, http=error.status, headers=headers)
