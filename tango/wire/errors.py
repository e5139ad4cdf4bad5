"""Errors of the model over gRPC: to a status and its trailing metadata, and back."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from types import TracebackType

import grpc

from tango.model.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidField,
    NotFound,
    Refused,
    ResourceExhausted,
    TangoError,
    Unavailable,
)
from tango.model.request import Outcome

# What an InvalidField was made of, so that the client raises an equal one.
INVALID_FIELD_KEY = "tango-invalid-field-bin"
# Status text travels in HTTP/2 trailers, whose size is bounded; non-ASCII bytes triple there.
MAX_DETAILS_BYTES = 1500

Trailers = tuple[tuple[str, bytes], ...]

# Of a kind and the kinds within it, the inner one stands first.
_STATUS: tuple[tuple[type[TangoError], grpc.StatusCode], ...] = (
    (InvalidField, grpc.StatusCode.INVALID_ARGUMENT),
    (NotFound, grpc.StatusCode.NOT_FOUND),
    (AlreadyExists, grpc.StatusCode.ALREADY_EXISTS),
    (ResourceExhausted, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (Unavailable, grpc.StatusCode.UNAVAILABLE),
    (FailedPrecondition, grpc.StatusCode.FAILED_PRECONDITION),
    (Refused, grpc.StatusCode.PERMISSION_DENIED),
)
_TOO_LARGE = re.compile(
    r"(?P<side>\w+): (\w+) message larger than max \((?P<size>\d+) vs\. (?P<max>\d+)\)"
)
# The C core's words where a call found no connection to go out on.
_NEVER_SENT = re.compile("failed to connect to all addresses|DNS resolution failed")
# And where the connection broke under a call, some of them with the status UNKNOWN.
_BROKEN = ("Stream removed", "Socket closed", "Connection reset", "recvmsg:")
_NO_CONNECTION = re.compile(
    r"failed to connect to all addresses.*?(?:ipv[46]:|unix:)(?P<where>\S+?): "
    r".*?(?P<why>[^:]+?)(?: \(\d+\))?$"
)
# How it begins where no daemon listens.
NOBODY = "nothing answers at"
# What the C core says of a handshake that failed, and what is the matter then.
_TLS_FAILURES = {
    "Hostname Verification Check failed": "the server at {where} is not the one asked for: "
    "its certificate is for another name or role",
    "WRONG_VERSION_NUMBER": "what listens at {where} speaks no TLS: it has no [tls] table, or is "
    "another program",
    "Socket closed": "the server at {where} closed the connection at once: it does not take what "
    "this side shows (no TLS, no certificate, one that is expired or of another authority)",
}
_UNTRUSTED = re.compile(r"Tls handshake failed .*OPENSSL_internal:\w+: (?P<why>[^:]+)")


def fate(
    outcome: Outcome, *, may_have_run: bool, retry_after_ms: float = 0.0
) -> tuple[tuple[str, str], ...]:
    """The trailing metadata that tells what became of a call."""
    return (
        ("tango-outcome", outcome.value),
        ("tango-may-have-run", "true" if may_have_run else "false"),
        ("tango-retry-after-ms", f"{retry_after_ms:.0f}"),
    )


# Of a status that says that nothing was begun: the caller may ask again, or elsewhere.
NOT_BEGUN = fate(Outcome.REJECTED, may_have_run=False)


def stopping(daemon: str) -> str:
    """The words of a daemon ("edge") for what comes while it ends."""
    return f"the {daemon} is stopping and has not begun this; try elsewhere, or again later"


def status_of(error: TangoError) -> tuple[grpc.StatusCode, str, Trailers] | None:
    """(code, details, trailing metadata), or None for an error that has no status of its own."""
    for kind, code in _STATUS:
        if isinstance(error, kind):
            trailers: Trailers = ()
            if isinstance(error, InvalidField):
                parts = json.dumps([error.field, error.problem, error.fix]).encode()
                if len(parts) <= MAX_DETAILS_BYTES:
                    trailers = ((INVALID_FIELD_KEY, parts),)
            return code, cut(str(error)), trailers
    return None


def cut(details: str) -> str:
    """The text, shortened so that it surely fits the trailers of a status."""
    data = details.encode("utf-8", "replace")
    if len(data) <= MAX_DETAILS_BYTES:
        return data.decode()
    return data[:MAX_DETAILS_BYTES].decode("utf-8", "ignore") + " ..."


def model_error(error: grpc.aio.AioRpcError) -> TangoError:
    """What a failed call means, in an error of the model; its text is fit for people."""
    code = error.code()
    details = error.details() or code.name.lower().replace("_", " ")
    match code:
        case grpc.StatusCode.INVALID_ARGUMENT | grpc.StatusCode.OUT_OF_RANGE:
            return invalid_field_in(error.trailing_metadata() or (), details)
        case grpc.StatusCode.NOT_FOUND:
            return NotFound(details)
        case grpc.StatusCode.ALREADY_EXISTS:
            return AlreadyExists(details)
        case grpc.StatusCode.UNAVAILABLE:
            return Unavailable(_connection(details))
        case grpc.StatusCode.UNKNOWN if details.startswith(_BROKEN):
            return Unavailable(_connection(details))
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return Unavailable("no answer in time")
        case grpc.StatusCode.CANCELLED:
            return Unavailable(f"the call was cancelled: {details}")
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            return _exhausted(details)
        case grpc.StatusCode.PERMISSION_DENIED | grpc.StatusCode.UNAUTHENTICATED:
            return Refused(details)
        case grpc.StatusCode.FAILED_PRECONDITION:
            return FailedPrecondition(details)
        case grpc.StatusCode.UNIMPLEMENTED:
            return Refused(
                f"the other side does not offer this ({details}); is it another version?"
            )
        case _:
            return TangoError(details)


def never_sent(error: grpc.aio.AioRpcError) -> bool:
    """Whether the other side has surely seen nothing of the call: there was no connection.

    Only sound without gRPC's own retries, which `channel_options` turns off.
    """
    unavailable = error.code() is grpc.StatusCode.UNAVAILABLE
    return unavailable and _NEVER_SENT.search(error.details() or "") is not None


def invalid_field_in(trailers: Iterable[tuple[str, str | bytes]], details: str) -> InvalidField:
    """The InvalidField that `status_of` told; of the details alone where it was too long."""
    for key, value in trailers:
        if key == INVALID_FIELD_KEY:
            try:
                field, problem, fix = json.loads(value)
                return InvalidField(str(field), str(problem), str(fix))
            except (ValueError, TypeError):
                break
    field, colon, problem = details.partition(": ")
    return InvalidField(field, problem) if colon else InvalidField("request", details)


def _exhausted(details: str) -> TangoError:
    too_large = _TOO_LARGE.search(details)
    if too_large is None:
        return ResourceExhausted(details)
    who = "this side" if too_large["side"] == "CLIENT" else "the other side"
    return InvalidField(
        "message",
        f"has {too_large['size']} bytes; {who} takes at most {too_large['max']}",
        "send less at once, or raise max_body_bytes",
    )


def _connection(details: str) -> str:
    found = _NO_CONNECTION.search(details)
    if found is None:
        return f"the connection broke: {details}" if details.startswith(_BROKEN) else details
    for mark, text in _TLS_FAILURES.items():
        if mark in details:
            return text.format(where=found["where"])
    untrusted = _UNTRUSTED.search(details)
    if untrusted is not None:
        return (
            f"the certificate of the server at {found['where']} is not to be trusted: "
            f"{untrusted['why'].strip()}; see tls.ca_file"
        )
    return f"{NOBODY} {found['where']}: {found['why'].strip().lower()}"


class model_errors:  # noqa: N801 - a context manager, used as a verb: `with model_errors():`
    """Raises errors of the model in place of AioRpcError; everything else passes through."""

    __slots__ = ()

    def __enter__(self) -> None:
        return

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(error, grpc.aio.AioRpcError):
            raise model_error(error) from error
