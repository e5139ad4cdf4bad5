"""Requests in flight on this node: which replica serves each, and the quota that goes with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from tango.controllers.worker.groups import GroupTree
from tango.controllers.worker.outbox import Outbox
from tango.controllers.worker.phase import Phase
from tango.controllers.worker.replica import Replica, ReplicaBooks
from tango.controllers.worker.replica_life import ReplicaLife
from tango.model.commands import AbortForward, Forward
from tango.model.decision import REQUEST_DECLINE
from tango.model.events import RequestFinished
from tango.model.messages import CancelDispatches, Dispatches, RequestsDone
from tango.model.request import Code, Dispatch, RequestDone
from tango.model.service import ReplicaState


class Requests:
    """Books of Forwards that are not answered yet, by request id."""

    def __init__(
        self,
        node: str,
        books: ReplicaBooks,
        life: ReplicaLife,
        groups: GroupTree,
        out: Outbox,
    ) -> None:
        self._node = node
        self._books = books
        self._life = life
        self._groups = groups
        self._out = out
        self._serving: dict[str, Replica] = {}

    def __len__(self) -> int:
        return len(self._serving)

    def ids(self) -> tuple[str, ...]:
        """Requests in flight, oldest first."""
        return tuple(self._serving)

    def dispatch(self, message: Dispatches, now: float) -> None:
        """Forward each to a replica; answer at once what none can take.

        The quotas of the whole batch grow first, each in one write.
        """
        forwards: list[Forward] = []
        refused: list[RequestDone] = []
        counts: dict[str, int] = {}
        for request in message.requests:
            if request.request_id in self._serving:
                continue
            replica = self._books.pick(request.service)
            if replica is None:
                refused.append(self._refusal(request))
                continue
            replica.in_flight += 1
            self._serving[request.request_id] = replica
            counts[replica.group] = replica.busy
            forwards.append(Forward(request, replica.replica_id, replica.port))
        if counts:
            self._groups.set_in_flight(counts, now)
        for forward in forwards:
            self._out.add(forward)
        if refused:
            self._out.send(RequestsDone(tuple(refused)))

    def cancel(self, message: CancelDispatches, now: float) -> None:
        """Stop serving these; each is answered as usual, and counts until then."""
        del now
        for request_id in message.request_ids:
            if request_id in self._serving:
                self._out.add(AbortForward(request_id))

    def finished(self, event: RequestFinished, now: float) -> None:
        """An answer, sent on whatever session is on: a resync has told it what was in flight."""
        done = event.done
        replica = self._serving.pop(done.request_id, None)
        if replica is None:
            return
        replica.in_flight -= 1
        if self._out.session is not None:
            if not done.replica:
                done = replace(done, replica=replica.replica_id)
            self._out.send(RequestsDone((done,)))
        self._groups.set_in_flight({replica.group: replica.busy}, now)
        if replica.state is not ReplicaState.STOPPING or replica.in_flight:
            return
        # Clients that call it directly have not all let go of it yet, unless it has died.
        if not replica.published or replica.phase is Phase.NONE:
            self._life.drained(replica, now)

    def publish(self, shares: Mapping[str, int], now: float) -> None:
        """Clients may have so many requests under way at these replicas, and none at others."""
        counts: dict[str, int] = {}
        drained = []
        for name, replica in self._books.by_id.items():
            slots = shares.get(name, 0)
            if slots == replica.published:
                continue
            replica.published = slots
            counts[replica.group] = replica.busy
            if not replica.busy and replica.state is ReplicaState.STOPPING:
                drained.append(replica)
        if counts:
            self._groups.set_in_flight(counts, now)
        for replica in drained:
            self._life.drained(replica, now)

    def _refusal(self, request: Dispatch) -> RequestDone:
        if self._books.has_ready(request.service):
            why = f"every replica of {request.service!r} on {self._node} is busy"
        else:
            why = f"no replica of {request.service!r} on {self._node} is ready"
        record = self._out.decisions.request
        record(REQUEST_DECLINE, self._out.now, request.request_id, request.service, why)
        return RequestDone(request.request_id, Code.UNAVAILABLE, error=why, ran=False)

    def validate(self) -> None:
        """AssertionError where replicas count other requests than those in flight."""
        counts: dict[str, int] = {}
        for replica in self._serving.values():
            counts[replica.replica_id] = counts.get(replica.replica_id, 0) + 1
            known = self._books.by_id.get(replica.replica_id)
            assert known is replica, f"{replica.replica_id}: gone while it serves"
        for name, replica in self._books.by_id.items():
            assert replica.in_flight == counts.get(name, 0), f"{name}: wrong count in flight"
