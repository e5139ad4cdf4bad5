"""How a call that failed looks: an HTTP status, and google.rpc.Status as JSON.

Statuses of HTTP are those that google/rpc/code.proto gives for each code, the form of the body is
that of Google's APIs (google.aip.dev/193): {"error": {"code", "status", "message", "details"}}.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import grpc
from aiohttp import web

HTTP_STATUS: Mapping[grpc.StatusCode, int] = {
    grpc.StatusCode.OK: 200,
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.UNKNOWN: 500,
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.INTERNAL: 500,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DATA_LOSS: 500,
}
# Of every answer. Server: aiohttp would put its name and version there.
HEADERS = {"Server": "tango", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
MAX_SHOWN = 100
BAD_REQUEST = "type.googleapis.com/google.rpc.BadRequest"


@dataclass(frozen=True, slots=True)
class Violation:
    """What is wrong with one field, and what to do."""

    field: str
    problem: str
    fix: str = ""

    @property
    def description(self) -> str:
        """Both in one line."""
        return f"{self.problem}; {self.fix}" if self.fix else self.problem


class Failure(Exception):
    """Ends a request. http: 0 takes what belongs to the code; headers go with the answer."""

    def __init__(
        self,
        code: grpc.StatusCode,
        message: str,
        violation: Violation | None = None,
        *,
        http: int = 0,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.violation = violation
        self.http = http
        self.headers = headers or {}

    @property
    def status(self) -> int:
        """Of HTTP."""
        return self.http or HTTP_STATUS[self.code]

    def body(self) -> bytes:
        """The JSON, one line."""
        error: dict[str, object] = {
            "code": self.status,
            "status": self.code.name,
            "message": self.message,
        }
        if self.violation is not None:
            violation = {
                "field": self.violation.field,
                "description": self.violation.description,
            }
            error["details"] = [{"@type": BAD_REQUEST, "fieldViolations": [violation]}]
        return json.dumps({"error": error}).encode() + b"\n"


def answer_of(failure: Failure) -> web.Response:
    """It as an answer."""
    return web.Response(
        body=failure.body(),
        status=failure.status,
        headers={**HEADERS, **failure.headers},
        content_type="application/json",
    )


def invalid(name: str, problem: str, fix: str = "") -> Failure:
    """A field of the request is wrong: its path, as "spec.tasks[0].argv"."""
    violation = Violation(name, problem, fix)
    return Failure(grpc.StatusCode.INVALID_ARGUMENT, f"{name}: {violation.description}", violation)


def shown(what: object) -> str:
    """What a client sent, to be told back to it: never longer than a line."""
    text = str(what)
    return text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + " ..."
