"""A call on its way through the edge, and the counts of how calls ended."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final

from tango.model.request import CallRequest, Code, Outcome
from tango.model.views import RequestCounts

if TYPE_CHECKING:
    from tango.controllers.edge.node_book import NodeBook
    from tango.controllers.edge.peer_book import PeerBook
    from tango.controllers.edge.service_book import ServiceBook


class CallState(enum.Enum):
    """QUEUED, IN_FLIGHT and FORWARDED await their answer; LINGERING has it (or wants none), but its
    node still holds its reservation; ENDED is gone from the books."""

    QUEUED = "queued"
    IN_FLIGHT = "in flight"
    FORWARDED = "forwarded"
    LINGERING = "lingering"
    ENDED = "ended"


# To look a member up takes compiled code as long as a dozen other steps, and these are needed
# several times for each call.
QUEUED: Final = CallState.QUEUED
IN_FLIGHT: Final = CallState.IN_FLIGHT
FORWARDED: Final = CallState.FORWARDED
LINGERING: Final = CallState.LINGERING
ENDED: Final = CallState.ENDED
COMPLETED: Final = Outcome.COMPLETED
LATE: Final = Outcome.LATE
OK: Final = Code.OK


class Counts:
    """How requests ended so far; a cancelled one counts as failed."""

    __slots__ = ("completed", "failed", "late", "rejected", "sent")

    def __init__(self) -> None:
        self.sent = self.completed = self.late = self.rejected = self.failed = 0

    def end(self, outcome: Outcome, count: int = 1) -> None:
        """That many requests ended so."""
        if outcome is COMPLETED:
            self.completed += count
        elif outcome is LATE:
            self.late += count
        elif outcome is Outcome.REJECTED:
            self.rejected += count
        else:
            self.failed += count

    @property
    def pending(self) -> int:
        """Sent and not ended."""
        return self.sent - self.completed - self.late - self.rejected - self.failed

    def view(self) -> RequestCounts:
        """The counts as listings show them."""
        return RequestCounts(self.sent, self.completed, self.late, self.rejected, self.failed)


class Call:
    """An admitted request. node: where it was dispatched last; times are `now` of the shell.

    wait_s: the wait predicted at arrival before correction, 0 where it found a free slot.
    expected_s: the whole latency predicted then.
    peer, peer_node: where it was forwarded last. refused_by: peers that would not have it.
    """

    __slots__ = (
        "arrived_at",
        "deadline_at",
        "dispatched_at",
        "expected_s",
        "node",
        "peer",
        "peer_node",
        "refusals",
        "refused_by",
        "request",
        "request_id",
        "seq",
        "service",
        "state",
        "timeout_at",
        "wait_s",
    )

    def __init__(
        self,
        request: CallRequest,
        service: ServiceBook,
        seq: int,
        now: float,
        deadline_s: float,
        timeout_s: float,
    ) -> None:
        self.request = request
        self.request_id = request.request_id
        self.service = service
        self.seq = seq
        self.arrived_at = now
        self.deadline_at = now + deadline_s
        self.timeout_at = now + timeout_s
        self.state: CallState = QUEUED
        self.node: NodeBook | None = None
        self.dispatched_at = now
        self.refusals = 0
        self.peer: PeerBook | None = None
        self.peer_node = ""
        self.refused_by: tuple[str, ...] = ()
        self.wait_s = 0.0
        self.expected_s = 0.0
