"""What comes back of dispatched calls: answers, refusals by the worker, losses with a session."""

from __future__ import annotations

from typing import Final

from tango.controllers.edge.books import Books
from tango.controllers.edge.calls import IN_FLIGHT, LINGERING, OK, QUEUED, Call
from tango.controllers.edge.endings import Endings
from tango.controllers.edge.node_book import NodeBook
from tango.controllers.edge.reassurance import Reassurance
from tango.controllers.edge.routing import Router
from tango.controllers.edge.waiting import Waiting
from tango.model.decision import RETURN
from tango.model.messages import RequestsDone, WorkerState
from tango.model.request import Code, RequestDone

# How often a worker may hand one call back unseen before its user is told.
MAX_REFUSALS: Final = 2


class InFlight:
    """Ends or requeues dispatched calls; reservations go only when the node has let go."""

    def __init__(
        self,
        books: Books,
        endings: Endings,
        router: Router,
        waiting: Waiting,
        reassurance: Reassurance,
    ) -> None:
        self._books = books
        self._endings = endings
        self._router = router
        self._waiting = waiting
        self._reassurance = reassurance

    def done(self, node: NodeBook, message: RequestsDone, now: float) -> None:
        """A worker's answers: release, measure, reply (or try again where it never ran)."""
        again: list[Call] = []
        for done in message.done:
            hold = node.release(done.request_id)
            if hold is None:
                continue
            call = hold.call
            if call is None:
                self._forget(done.request_id)
                continue
            if done.ran and (done.code is OK or now >= call.timeout_at):
                self._endings.measure(call, done, now)
                if hold.place is not None:
                    self._reassurance.served(call, hold.place, now)
            if call.state is LINGERING:
                self._endings.put_away(call, lingers=False)
            elif self._unseen(call, done, now):
                call.refusals += 1
                again.append(call)
                self._record_return(call, node, done.error, now)
            else:
                self._endings.finish(call, done, now)
        self._books.nodes_dirty = True
        if again:
            self._waiting.requeue(again, now)
        elif self._books.queued:
            self._router.want(now)

    def lost(self, node: NodeBook, reason: str, now: float) -> None:
        """The node's session ended: nothing that its worker carries is held until it resyncs."""
        carried = [request_id for request_id, hold in node.holds.items() if not hold.direct]
        self._drop(node, carried, reason, now)

    def resync(self, node: NodeBook, state: WorkerState, now: float) -> None:
        """Rebuild the node's reservations from what its worker says it serves."""
        listed = dict.fromkeys(state.in_flight)
        gone = [
            request_id
            for request_id, hold in node.holds.items()
            if request_id not in listed and not hold.direct
        ]
        self._drop(node, gone, f"node {node.name} no longer has the request", now)
        strangers = []
        for request_id in listed:
            if request_id in node.holds:
                continue
            call = self._books.calls.get(request_id)
            if call is not None and call.state is QUEUED and call.node is node:
                self._readopt(node, call)
            else:
                strangers.append(request_id)
        self._hold_strangers(node, state, strangers)

    def _unseen(self, call: Call, done: RequestDone, now: float) -> bool:
        """Whether a second try is safe, allowed and still in time."""
        return (
            not done.ran
            and done.code is Code.UNAVAILABLE
            and call.refusals < MAX_REFUSALS
            and now < call.deadline_at
            and not call.service.deleted
        )

    def _drop(self, node: NodeBook, request_ids: list[str], reason: str, now: float) -> None:
        """Release these; requeue what may run twice, tell the users of the others."""
        again: list[Call] = []
        for request_id in request_ids:
            hold = node.release(request_id)
            assert hold is not None
            call = hold.call
            if call is None:
                self._forget(request_id)
            elif call.state is LINGERING:
                self._endings.put_away(call, lingers=False)
            elif self._repeatable(call, now):
                again.append(call)
                self._record_return(call, node, reason, now)
            else:
                code = Code.UNAVAILABLE
                self._endings.fail(call, code, reason, now, may_have_run=True, lingers=False)
        if again:
            self._waiting.requeue(again, now)

    def _record_return(self, call: Call, node: NodeBook, why: str, now: float) -> None:
        record = self._books.decisions.request
        record(RETURN, now, call.request_id, call.service.name, node.name, why)

    def _repeatable(self, call: Call, now: float) -> bool:
        """Whether a call that may have run may run again. Parts of a stream may be out already."""
        service = call.service
        return (
            service.spec.idempotent
            and not call.request.stream
            and not service.deleted
            and now < call.deadline_at
        )

    def _readopt(self, node: NodeBook, call: Call) -> None:
        """A call that was requeued when this node's session broke still runs there."""
        del call.service.queue[call.request_id]
        self._books.queued -= 1
        call.state = IN_FLIGHT
        node.hold(call.request_id, call.service.place(node), call)

    def _hold_strangers(self, node: NodeBook, state: WorkerState, request_ids: list[str]) -> None:
        """Reserve for requests that this edge does not know (it was restarted).

        The worker tells how many run at each replica but not which: strangers are booked to the
        services that have more in flight there than is known, which keeps the sums right.
        """
        books = self._books
        unknown: dict[str, int] = {}
        for status in state.replicas:
            unknown[status.service] = unknown.get(status.service, 0) + status.in_flight
        for hold in node.holds.values():
            if hold.place is not None:
                name = hold.place.service.name
                unknown[name] = unknown.get(name, 0) - 1
        owners = [
            service
            for service in books.services.values()
            for _ in range(unknown.get(service.name, 0))
        ]
        for index, request_id in enumerate(request_ids):
            place = owners[index].place(node) if index < len(owners) else None
            node.hold(request_id, place, None)
            books.anonymous[request_id] = books.anonymous.get(request_id, 0) + 1

    def _forget(self, request_id: str) -> None:
        """A stranger let go of a node."""
        anonymous = self._books.anonymous
        anonymous[request_id] -= 1
        if not anonymous[request_id]:
            del anonymous[request_id]
