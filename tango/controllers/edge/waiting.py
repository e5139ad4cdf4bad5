"""Calls from arrival to dispatch: admission into the queues, cancellation, deadlines, timeouts."""

from __future__ import annotations

import heapq
import math
from typing import Final

from tango.controllers.edge.admission import Admitted, Limits, Refusal, admit, limits, malformed
from tango.controllers.edge.books import Books
from tango.controllers.edge.calls import FORWARDED, LINGERING, QUEUED, Call
from tango.controllers.edge.endings import Endings
from tango.controllers.edge.forwarding import Forwarding
from tango.controllers.edge.peers import Peers
from tango.controllers.edge.routing import Router
from tango.controllers.edge.service_book import ServiceBook
from tango.model.commands import AbortForward, SendWorker
from tango.model.events import CallArrived, CallCancelled
from tango.model.messages import CancelDispatches
from tango.model.request import CallRequest, Code

# The timer heap is swept once most of its entries belong to ended calls.
SWEEP_SLACK: Final = 1024


class Waiting:
    """The queues and their timers. due_at: when the first queued or running call runs out of time.

    The heap holds (time, seq, request id): a call's deadline first and, if it is in flight then,
    its timeout; entries of ended calls are dropped when they surface, or by a sweep.
    """

    def __init__(
        self, books: Books, endings: Endings, router: Router, peers: Peers, forwarding: Forwarding
    ) -> None:
        self._books = books
        self._endings = endings
        self._router = router
        self._peers = peers
        self._forwarding = forwarding
        self._seq = 0
        self.heap: list[tuple[float, int, str]] = []
        self.due_at = math.inf

    def arrive(self, event: CallArrived, now: float) -> None:
        """Queue a call, or reject it."""
        books = self._books
        request = event.request
        books.totals.sent += 1
        service = books.services.get(request.service)
        if service is None:
            error = f"service {request.service!r} does not exist at edge {books.edge!r}"
            self._endings.reject(request, None, Refusal(Code.NOT_FOUND, error), now)
            return
        service.counts.sent += 1
        refusal = malformed(request, books)
        if refusal is None:
            times = limits(request, service)
            if isinstance(times, Refusal):
                refusal = times
            else:
                admitted = admit(books, service, times.deadline_s)
                full = isinstance(admitted, Refusal) or not admitted.room
                if full and self._peers.active:
                    admitted = self._spilled(request, service, times, now) or admitted
                if isinstance(admitted, Refusal):
                    refusal = admitted
                else:
                    self._seq += 1
                    call = Call(request, service, self._seq, now, times.deadline_s, times.timeout_s)
                    call.wait_s = admitted.wait_s
                    call.expected_s = admitted.expected_s
                    books.take_in(call)
                    service.queue[call.request_id] = call
                    books.queued += 1
                    heapq.heappush(self.heap, (call.deadline_at, call.seq, call.request_id))
                    if admitted.room:
                        self._router.want(now)
                    return
        assert isinstance(refusal, Refusal)
        self._endings.reject(request, service, refusal, now)

    def _spilled(
        self, request: CallRequest, service: ServiceBook, times: Limits, now: float
    ) -> Admitted | None:
        """Let a call in for a neighbour that has room for it, if it may and can go there.

        It goes with the next solve, or at most those that came since the last one have the same
        room in mind: those are counted.
        """
        if request.origin or self._books.queued >= self._books.settings.max_queue:
            return None
        spill = self._peers.spill(service, times.deadline_s, now)
        if spill.room <= service.spilling:
            return None
        service.spilling += 1
        return Admitted(True, 0.0, spill.need_s)

    def cancel(self, event: CallCancelled, now: float) -> None:
        """The user has gone: forget a queued call, stop a running one; no Reply follows."""
        call = self._books.calls.get(event.request_id)
        if call is None or call.state is LINGERING:
            return
        if call.state is QUEUED:
            self._endings.cancel(call, now, lingers=False)
            return
        self._stop([call])
        self._endings.cancel(call, now, lingers=call.state is not FORWARDED)

    def requeue(self, calls: list[Call], now: float) -> None:
        """Put calls that lost their node back to the front of their queues, oldest first."""
        for call in sorted(calls, key=lambda call: -call.seq):
            call.state = QUEUED
            queue = call.service.queue
            queue[call.request_id] = call
            queue.move_to_end(call.request_id, last=False)
            self._books.queued += 1
            heapq.heappush(self.heap, (call.deadline_at, call.seq, call.request_id))
        self._router.want(now)

    def expire(self, now: float) -> None:
        """Answer queued calls past their deadline and running ones past their timeout."""
        stopped: list[Call] = []
        heap = self.heap
        calls = self._books.calls
        while heap and heap[0][0] <= now:
            _, seq, request_id = heapq.heappop(heap)
            call = calls.get(request_id)
            if call is None or call.seq != seq or call.state is LINGERING:
                continue
            if call.state is QUEUED:
                if call.wait_s > 0:
                    call.service.forecast.waited(call.wait_s, now - call.arrived_at)
                error = "the deadline passed in the queue"
                code = Code.DEADLINE_EXCEEDED
                self._endings.fail(call, code, error, now, may_have_run=False, lingers=False)
            elif call.timeout_at > now:
                heapq.heappush(heap, (call.timeout_at, seq, request_id))
            else:
                error = "the timeout passed while a replica served it"
                code = Code.DEADLINE_EXCEEDED
                away = call.state is FORWARDED
                if away:
                    self._stop([call])
                else:
                    stopped.append(call)
                self._endings.fail(call, code, error, now, may_have_run=True, lingers=not away)
        self._stop(stopped)

    def settle(self) -> None:
        """Find when the next timer is due."""
        heap = self.heap
        calls = self._books.calls
        if len(heap) > 2 * len(calls) + SWEEP_SLACK:
            heap[:] = [entry for entry in heap if self._counts(entry)]
            heapq.heapify(heap)
        while heap:
            at, seq, request_id = heap[0]
            call = calls.get(request_id)
            if call is not None and call.seq == seq and call.state is not LINGERING:
                self.due_at = at
                return
            heapq.heappop(heap)
        self.due_at = math.inf

    def _counts(self, entry: tuple[float, int, str]) -> bool:
        call = self._books.calls.get(entry[2])
        return call is not None and call.seq == entry[1] and call.state is not LINGERING

    def _stop(self, calls: list[Call]) -> None:
        """Tell the workers, or the peers, that nobody waits for these any more."""
        by_session: dict[int, list[str]] = {}
        for call in calls:
            if call.state is FORWARDED:
                self._forwarding.recall([call])
                continue
            node = call.node
            if node is None:
                continue
            hold = node.holds.get(call.request_id)
            if hold is not None and hold.direct:
                self._books.out.append(AbortForward(call.request_id))
            elif node.session is not None:
                by_session.setdefault(node.session, []).append(call.request_id)
        for session, request_ids in by_session.items():
            self._books.out.append(SendWorker(session, CancelDispatches(tuple(request_ids))))
