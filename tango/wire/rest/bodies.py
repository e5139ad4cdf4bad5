"""Bodies in and out: bounded in size and time, and made outside the loop where they are large."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import grpc
from aiohttp import web
from google.protobuf import json_format
from google.protobuf.message import Message

from tango.wire.rest.failures import Failure, invalid

# A job's argv and environments; the same as a body on the path of requests.
MAX_BODY_BYTES = 4 * 2**20
BODY_TIMEOUT_S = 10.0
# From here on protobuf's JSON, which is Python, takes longer than the daemon's loop may stand.
LARGE_BYTES = 4 * 1024
JSON = "application/json"

Given = ParamSpec("Given")
Made = TypeVar("Made")


def as_json(message: Message) -> bytes:
    """One line, with the fields that have their defaults, so that an empty list is one."""
    text = json_format.MessageToJson(
        message, indent=None, always_print_fields_with_no_presence=True, ensure_ascii=False
    )
    return text.encode() + b"\n"


async def in_thread(make: Callable[Given, Made], *args: Given.args, **kwargs: Given.kwargs) -> Made:
    """make(...), in a thread where one of its arguments is large; the loop goes on meanwhile."""
    if sum(map(_size, args)) < LARGE_BYTES:
        return make(*args, **kwargs)
    return await asyncio.to_thread(make, *args, **kwargs)


def _size(argument: object) -> int:
    if isinstance(argument, Message):
        return argument.ByteSize()
    return len(argument) if isinstance(argument, bytes) else 0


async def body_of(request: web.Request) -> bytes:
    """All of it; b"" for none. Raises Failure for what is too large, too slow or no JSON."""
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise _unsupported("the body is compressed", "send it as it is")
    if not request.body_exists:
        return b""
    if (request.content_length or 0) > MAX_BODY_BYTES:
        raise _too_large()
    if request.content_length != 0 and request.content_type != JSON:
        given = request.headers.get("Content-Type", "none")[:100]
        raise _unsupported(f"the body's Content-Type is {given}", f"send {JSON}")
    if (request.charset or "utf-8").lower() not in ("utf-8", "utf8"):
        raise _unsupported("the body's charset is not UTF-8", "send UTF-8")
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise _too_large() from None
    except TimeoutError:
        problem = f"the body did not come within {BODY_TIMEOUT_S:g} s"
        raise Failure(
            grpc.StatusCode.DEADLINE_EXCEEDED, problem, http=408, headers={"Connection": "close"}
        ) from None
    except (web.RequestPayloadError, ValueError):
        raise invalid("body", "does not come as its headers say") from None


def _unsupported(problem: str, fix: str) -> Failure:
    return Failure(
        grpc.StatusCode.INVALID_ARGUMENT, f"{problem}; {fix}", http=415, headers={"Accept": JSON}
    )


def _too_large() -> Failure:
    problem = f"the body is larger than {MAX_BODY_BYTES} bytes"
    return Failure(
        grpc.StatusCode.RESOURCE_EXHAUSTED, problem, http=413, headers={"Connection": "close"}
    )
