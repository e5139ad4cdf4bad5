"""The paths of the REST face: each request to its gRPC handler, and what that says back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

import grpc
from aiohttp import web
from google.protobuf.message import Message

from tango.wire.channels import AUTHORIZATION
from tango.wire.errors import invalid_field_in
from tango.wire.rest.bindings import Binding
from tango.wire.rest.bodies import MAX_BODY_BYTES, as_json, body_of, in_thread
from tango.wire.rest.doors import Doors
from tango.wire.rest.failures import Failure, Violation
from tango.wire.rest.inside import Aborted, CallContext, Inside, Metadata
from tango.wire.rest.requests import IDEMPOTENCY_KEY, request_of, with_key
from tango.wire.rest.streamed import StreamedAnswer

if TYPE_CHECKING:
    Handler = grpc.RpcMethodHandler[Any, Any]

# gRPC's callers bring deadlines of their own; HTTP has none.
CALL_TIMEOUT_S = 30.0
# Watches and followed logs at once: each holds a connection and maybe an edge's attention.
MAX_STREAMS = 64
# For whoever finds it full.
RETRY_AFTER_S = 5

# (content type, content, headers)
Page = Callable[[], tuple[str, bytes, Mapping[str, str]]]


class Face:
    """An aiohttp application that serves these bindings and pages.

    pages: what is to be read at a path without any token: nothing in them is of this cluster.
    """

    def __init__(
        self,
        bindings: tuple[Binding, ...],
        inside: Inside,
        doors: Doors,
        pages: Mapping[str, Page],
    ) -> None:
        self._inside = inside
        self._doors = doors
        self._streams = 0
        self.app = web.Application(
            middlewares=[doors.middleware], client_max_size=MAX_BODY_BYTES + 1
        )
        self.app.on_response_prepare.append(doors.prepare)
        for path, page in pages.items():
            self._add(("GET", "HEAD"), path, _page(page))
        for binding in bindings:
            # A segment without a colon, so that a verb after it is never part of a name.
            pattern = binding.path.replace("}", ":[^/:]+}")
            verbs = (binding.verb, *(("HEAD",) if _may_head(binding) else ()))
            self._add(verbs, pattern, self._handler(binding))

    def _add(
        self,
        verbs: tuple[str, ...],
        path: str,
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
    ) -> None:
        for verb in verbs:
            self.app.router.add_route(verb, path, handler)

    def _handler(self, binding: Binding) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        call = self._streamed if binding.streams else self._unary

        async def handle(request: web.Request) -> web.StreamResponse:
            # Before the body is read: who may not call at all is not listened to.
            found, wanted = await self._inside.open(binding.method, _metadata(request))
            if found is None:
                raise Failure(grpc.StatusCode.UNIMPLEMENTED, "this daemon does not serve it")
            message = await _message(binding, request) if wanted else None
            return await call(binding, request, found, message)

        return handle

    async def _unary(
        self, binding: Binding, request: web.Request, handler: Handler, message: Message | None
    ) -> web.StreamResponse:
        async def on_message(_message: object) -> None:
            raise AssertionError(f"{binding.method} has one answer")

        context = CallContext(*self._doors.caller(request), on_message)
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                reply = await self._inside.run(handler, message, context)
        except Aborted as aborted:
            raise failure_of(aborted) from None
        except TimeoutError:
            raise Failure(grpc.StatusCode.DEADLINE_EXCEEDED, "no answer in time") from None
        return web.Response(body=await in_thread(as_json, reply), content_type="application/json")

    async def _streamed(
        self, binding: Binding, request: web.Request, handler: Handler, message: Message | None
    ) -> web.StreamResponse:
        if self._streams >= MAX_STREAMS:
            raise Failure(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"{MAX_STREAMS} watches and logs are open; try again when some have ended",
                headers={"Retry-After": str(RETRY_AFTER_S)},
            )
        answer = StreamedAnswer(request, binding.raw)
        context = CallContext(*self._doors.caller(request), answer.write)
        self._streams += 1
        try:
            await self._inside.run(handler, message, context)
        except Aborted as aborted:
            return await answer.fail(failure_of(aborted))
        finally:
            self._streams -= 1
        return await answer.end()


def _may_head(binding: Binding) -> bool:
    # The head of a stream's answer is not known before its first message, which may never come.
    return binding.verb == "GET" and not binding.streams


def _page(page: Page) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handle(_request: web.Request) -> web.StreamResponse:
        content_type, content, headers = page()
        return web.Response(
            body=content, headers=dict(headers), content_type=content_type, charset="utf-8"
        )

    return handle


def _metadata(request: web.Request) -> Metadata:
    """What gRPC's interceptors look at: the token, as often as it is there."""
    return tuple(
        (AUTHORIZATION, given.encode("utf-8", "surrogateescape"))
        for given in request.headers.getall("Authorization", ())
    )


async def _message(binding: Binding, request: web.Request) -> Message:
    body = await body_of(request)
    message = await in_thread(
        request_of, binding, request.match_info, tuple(request.query.items()), body
    )
    key = request.headers.get(IDEMPOTENCY_KEY)
    if key is not None:
        with_key(message, key)
    return message


def failure_of(aborted: Aborted) -> Failure:
    """What a call's end means over HTTP, with the field that was wrong where there is one."""
    violation = None
    if aborted.code is grpc.StatusCode.INVALID_ARGUMENT:
        field = invalid_field_in(aborted.trailers, aborted.details)
        violation = Violation(field.field, field.problem, field.fix)
    headers = {}
    if aborted.code is grpc.StatusCode.UNAUTHENTICATED:
        headers["WWW-Authenticate"] = "Bearer"
    if aborted.code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        headers["Retry-After"] = str(RETRY_AFTER_S)
    return Failure(aborted.code, aborted.details, violation, headers=headers)
