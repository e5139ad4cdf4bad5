"""Whether a call is taken in: checks of the request, bounds of the queues, predicted latency."""

from __future__ import annotations

from typing import Final

from tango.controllers.edge.books import Books
from tango.controllers.edge.service_book import ServiceBook
from tango.controllers.edge.views import unready_reason
from tango.model.decision import AdmissionGrounds
from tango.model.request import CallRequest, Code

# How many usual errors of a prediction a call that must wait has to be ahead of its deadline.
MARGIN: Final = 1.5
MAX_DEADLINE_S: Final = 3600.0
# Hint where nothing is known of a service's time yet.
DEFAULT_RETRY_MS = 100.0


# Plain classes: two of these are made for each request, and compiled code makes them many times as
# fast as named tuples.


class Refusal:
    """Why a call is rejected at arrival; grounds: the numbers, where the load decided."""

    __slots__ = ("code", "error", "grounds", "retry_after_ms")

    def __init__(
        self,
        code: Code,
        error: str,
        retry_after_ms: float = 0.0,
        grounds: AdmissionGrounds | None = None,
    ) -> None:
        self.code = code
        self.error = error
        self.retry_after_ms = retry_after_ms
        self.grounds = grounds


class Admitted:
    """A call may queue. room: some node could take it now. wait_s, expected_s: as in Call."""

    __slots__ = ("expected_s", "room", "wait_s")

    def __init__(self, room: bool, wait_s: float, expected_s: float) -> None:
        self.room = room
        self.wait_s = wait_s
        self.expected_s = expected_s


class Limits:
    """A call's own deadline and timeout, in seconds after its arrival."""

    __slots__ = ("deadline_s", "timeout_s")

    def __init__(self, deadline_s: float, timeout_s: float) -> None:
        self.deadline_s = deadline_s
        self.timeout_s = timeout_s


def limits(request: CallRequest, service: ServiceBook) -> Limits | Refusal:
    """The request's times, completed by the service's, or why they are no times."""
    spec = service.spec
    deadline_s = request.deadline_s
    timeout_s = request.timeout_s
    if deadline_s == 0 and timeout_s == 0:
        return Limits(spec.deadline_s, spec.timeout_s)
    for name, value in (("deadline", deadline_s), ("timeout", timeout_s)):
        if not 0 <= value <= MAX_DEADLINE_S:  # also false for NaN
            top = f"0 to {MAX_DEADLINE_S * 1000:.0f} ms"
            return Refusal(Code.INVALID, f"{name}: {value * 1000:g} ms is out of range; use {top}")
    if deadline_s and timeout_s and timeout_s < deadline_s:
        error = f"timeout: {timeout_s * 1000:g} ms is before the deadline, {deadline_s * 1000:g} ms"
        return Refusal(Code.INVALID, f"{error}; make it the same or later")
    if not deadline_s:
        return Limits(min(spec.deadline_s, timeout_s), timeout_s)
    return Limits(deadline_s, timeout_s or max(spec.timeout_s, deadline_s))


def malformed(request: CallRequest, books: Books) -> Refusal | None:
    """What is wrong with the request itself, whatever the load."""
    request_id = request.request_id
    if not request_id:
        return Refusal(Code.INVALID, "request_id: is empty; draw one that is unique")
    if request_id in books.calls or request_id in books.anonymous:
        error = f"request_id: {request_id!r} is still being served; draw a new one"
        return Refusal(Code.INVALID, error)
    if len(request.body) > books.settings.max_body_bytes:
        size, top = len(request.body), books.settings.max_body_bytes
        return Refusal(Code.INVALID, f"body: {size} bytes is too large; at most {top}")
    return None


def admit(books: Books, service: ServiceBook, deadline_s: float) -> Admitted | Refusal:
    """Whether the service can take one more call now, and how long that is thought to take.

    Predicted latency is that of an M/M/c-like queue: with every slot busy, a call that finds q
    others queued starts after q + 1 departures, which come at slots / occupancy. The slots are
    those that this service holds or could get now, so CPU held by other services counts; what the
    formula leaves out is learned as a factor. A call that has to wait must meet its deadline by
    the usual error of such predictions, or at overload half of all calls would be a little late.
    """
    if not service.open:
        return Refusal(Code.UNAVAILABLE, unready_reason(books, service))
    room = busy = 0
    for place in service.open:
        room += place.room()
        busy += place.in_flight
    queued = len(service.queue)
    # Those that the next solve can dispatch do not wait, so max_queue 0 is a service without queue.
    if queued - room >= service.spec.max_queue:
        error = f"the queue of {service.name!r} is full ({queued})"
        grounds = AdmissionGrounds(queued, room, busy, deadline_s)
        retry_ms = _drain_ms(service, queued, room + busy)
        return Refusal(Code.RESOURCE_EXHAUSTED, error, retry_ms, grounds)
    if books.queued >= books.settings.max_queue:
        error = f"the queue of this edge is full ({books.queued})"
        grounds = AdmissionGrounds(queued, room, busy, deadline_s)
        retry_ms = _drain_ms(service, queued, room + busy)
        return Refusal(Code.RESOURCE_EXHAUSTED, error, retry_ms, grounds)
    if not room and not busy and not any(place.fits_alone() for place in service.open):
        return Refusal(Code.UNAVAILABLE, _too_small(service))
    forecast = service.forecast
    if not forecast.known:
        return Admitted(room > 0, 0.0, 0.0)
    ahead = queued - room + 1
    plain_s = forecast.wait_s(ahead, room + busy) if ahead > 0 else 0.0
    wait_s = plain_s * forecast.correction
    expected_s = wait_s + forecast.occupancy_s
    margin_s = MARGIN * forecast.error_s if ahead > 0 else 0.0
    excess_s = expected_s + margin_s - deadline_s
    # An idle service takes a call whatever was measured before, or one slow time would shut it.
    if excess_s > 0 and (queued or service.in_flight):
        error = (
            f"predicted wait {wait_s * 1000:.1f} ms and service {forecast.occupancy_s * 1000:.1f} "
            f"ms do not meet the deadline of {deadline_s * 1000:g} ms"
        )
        grounds = AdmissionGrounds(
            queued, room, busy, deadline_s, wait_s, forecast.occupancy_s, margin_s
        )
        return Refusal(Code.RESOURCE_EXHAUSTED, error, max(1.0, excess_s * 1000), grounds)
    return Admitted(room > 0, plain_s, expected_s)


def _drain_ms(service: ServiceBook, queued: int, slots: int) -> float:
    """When a full queue has room again: about half of it served."""
    if service.forecast.occupancy_s <= 0:
        return DEFAULT_RETRY_MS
    return max(1.0, queued * service.forecast.occupancy_s / (2 * (slots or 1)) * 1000)


def _too_small(service: ServiceBook) -> str:
    largest = max(place.node.cpu_millis for place in service.open)
    return (
        f"a request of {service.name!r} needs {service.cpu_millis}m CPU and "
        f"{service.request_memory_bytes} bytes; no node with a ready replica has both "
        f"(the largest gives {largest}m)"
    )
