"""How calls end: classification of what came back, the books' counts, and the one Reply."""

from __future__ import annotations

from dataclasses import replace

from tango.controllers.edge.admission import Refusal
from tango.controllers.edge.books import Books
from tango.controllers.edge.calls import (
    COMPLETED,
    ENDED,
    FORWARDED,
    LATE,
    LINGERING,
    OK,
    QUEUED,
    Call,
)
from tango.controllers.edge.forecast import EWMA_WEIGHT
from tango.controllers.edge.service_book import ServiceBook
from tango.model.commands import Reply
from tango.model.decision import END, REJECT
from tango.model.request import CallReply, CallRequest, Code, Outcome, RequestDone


class Endings:
    """Ends calls: each exactly once, with a Reply unless its user has gone."""

    def __init__(self, books: Books) -> None:
        self._books = books

    def reject(
        self, request: CallRequest, service: ServiceBook | None, refusal: Refusal, now: float
    ) -> None:
        """Refuse a request at arrival; it has been counted as sent."""
        books = self._books
        books.totals.rejected += 1
        if service is not None:
            service.counts.rejected += 1
        request_id = request.request_id
        code, error = refusal.code, refusal.error
        retry_after_ms, grounds = refusal.retry_after_ms, refusal.grounds
        books.decisions.request(
            REJECT, now, request_id, request.service, code, error, grounds, retry_after_ms
        )
        books.out.append(
            Reply(
                CallReply(
                    request_id, Outcome.REJECTED, code, error=error, retry_after_ms=retry_after_ms
                )
            )
        )

    def finish(self, call: Call, done: RequestDone, now: float) -> None:
        """Answer with what the worker sent; measure its service. The hold is released already."""
        total_s = now - call.arrived_at
        if done.code is not OK or done.http_status >= 500:
            outcome = Outcome.FAILED
        elif now <= call.deadline_at:
            outcome = COMPLETED
        else:
            outcome = LATE
        self._leave(call, outcome, done.error, now)
        call.state = ENDED
        books = self._books
        books.forget(call)
        node = call.node
        queue_s = call.dispatched_at - call.arrived_at
        network_s = total_s - queue_s - done.service_s
        books.out.append(
            Reply(
                CallReply(
                    call.request_id,
                    outcome,
                    done.code,
                    done.http_status,
                    done.headers,
                    done.body,
                    node.name if node is not None else "",
                    done.replica,
                    queue_s * 1000,
                    network_s * 1000 if network_s > 0 else 0.0,
                    done.service_s * 1000,
                    total_s * 1000,
                    done.error,
                    done.ran,
                )
            )
        )

    def pass_on(self, call: Call, reply: CallReply, now: float) -> None:
        """Answer with what the peer sent that served it, in the times of this site."""
        assert call.peer is not None
        total_s = now - call.arrived_at
        if reply.code is not OK or reply.http_status >= 500:
            outcome = Outcome.FAILED
        elif now <= call.deadline_at:
            outcome = COMPLETED
        else:
            outcome = LATE
        self._leave(call, outcome, reply.error, now)
        self.put_away(call, lingers=False)
        queue_ms = (call.dispatched_at - call.arrived_at) * 1000 + reply.queue_ms
        network_ms = total_s * 1000 - queue_ms - reply.service_ms
        self._books.out.append(
            Reply(
                replace(
                    reply,
                    outcome=outcome,
                    queue_ms=queue_ms,
                    network_ms=max(0.0, network_ms),
                    total_ms=total_s * 1000,
                    site=call.peer.name,
                )
            )
        )

    def turn_away(self, call: Call, error: str, now: float) -> None:
        """Reject an admitted call: whoever could have served it in time has refused it, unseen."""
        self._leave(call, Outcome.REJECTED, error, now)
        self.put_away(call, lingers=False)
        total_ms = (now - call.arrived_at) * 1000
        self._books.out.append(
            Reply(
                CallReply(
                    call.request_id,
                    Outcome.REJECTED,
                    Code.RESOURCE_EXHAUSTED,
                    queue_ms=total_ms,
                    total_ms=total_ms,
                    error=error,
                    retry_after_ms=max(1.0, call.service.forecast.occupancy_s * 1000),
                )
            )
        )

    def fail(
        self, call: Call, code: Code, error: str, now: float, *, may_have_run: bool, lingers: bool
    ) -> None:
        """Answer an admitted call that got no answer from a replica.

        lingers: its node still holds its reservation, so its id stays in the books.
        """
        node = call.node if may_have_run else None
        away = call.peer if may_have_run and call.state is FORWARDED else None
        if away is not None:
            node = None
        self._leave(call, Outcome.FAILED, error, now)
        self.put_away(call, lingers=lingers)
        waited_until = call.dispatched_at if may_have_run else now
        self._books.out.append(
            Reply(
                CallReply(
                    call.request_id,
                    Outcome.FAILED,
                    code,
                    node=node.name if node is not None else "",
                    queue_ms=(waited_until - call.arrived_at) * 1000,
                    network_ms=(now - waited_until) * 1000,
                    total_ms=(now - call.arrived_at) * 1000,
                    error=error,
                    may_have_run=may_have_run,
                    site=away.name if away is not None else "",
                )
            )
        )

    def cancel(self, call: Call, now: float, *, lingers: bool) -> None:
        """End a call whose user has gone: counted as failed, without a Reply."""
        self._leave(call, Outcome.FAILED, "cancelled by the caller", now)
        self.put_away(call, lingers=lingers)

    def put_away(self, call: Call, *, lingers: bool) -> None:
        """Move an answered call out of the books, or let it linger with its reservation."""
        if lingers:
            call.state = LINGERING
        else:
            call.state = ENDED
            self._books.forget(call)

    def measure(self, call: Call, done: RequestDone, now: float) -> None:
        """Learn how long a request of this service holds its slot, and the way to its node."""
        service = call.service
        occupancy_s = now - call.dispatched_at
        service.forecast.served(occupancy_s, done.service_s, service.spec.deadline_s)
        if call.wait_s > 0:
            service.forecast.missed(call.expected_s, now - call.arrived_at)
        node = call.node
        way_s = occupancy_s - done.service_s
        # Of a worker of an earlier version, which answers no pings.
        if node is not None and way_s > 0 and not node.trips.known:
            before_s = node.rtt_s
            more_s = EWMA_WEIGHT * (way_s - before_s) if before_s > 0 else way_s
            node.measured(before_s + more_s)

    def _leave(self, call: Call, outcome: Outcome, error: str, now: float) -> None:
        """Count the end, and take the call out of its queue."""
        books = self._books
        service = call.service
        books.totals.end(outcome)
        service.counts.end(outcome)
        if call.state is QUEUED:
            del service.queue[call.request_id]
            books.queued -= 1
        node = call.node.name if call.node is not None else ""
        if call.state is FORWARDED and call.peer is not None:
            node = f"{call.peer.name}/{call.peer_node}"
        at = call.arrived_at
        books.decisions.request(
            END, now, call.request_id, service.name, node, outcome, error, now - at,
            call.deadline_at - at,
        )  # fmt: skip
