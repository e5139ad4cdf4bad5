"""Direct calls: the edge calls replicas on its own machine itself, and tells their workers."""

from __future__ import annotations

import math
from typing import Final

from tango.controllers.edge.books import Books
from tango.controllers.edge.lane import Lane
from tango.controllers.edge.node_book import NodeBook
from tango.controllers.edge.service_place import ServicePlace
from tango.controllers.edge.shares import Shares
from tango.model.commands import Forward
from tango.model.request import CallRequest, Code, Dispatch, RequestDone
from tango.model.service import QuotaMode

# What a worker was told is lowered after so long without need.
HOLD_S: Final = 1.0
# A replica that did not listen is not called for so long.
SHUN_S: Final = 0.5


class Direct:
    """due_at: when to look what workers may be told less of; infinity while they know of nothing.

    A replica is called directly if its worker says that it has the edge's own loopback interface,
    its requests are not streamed, and it has no quota: that has to grow before the request is
    there, which is the worker's to see to. Its worker picks the replica otherwise, and knows of
    what is direct as of clients that follow routes (ADR 0019).
    """

    def __init__(self, books: Books, shares: Shares) -> None:
        self._books = books
        self._shares = shares
        self._lanes: dict[str, Lane] = {}
        self._serving: dict[str, Lane] = {}
        # Nodes whose workers are to be told.
        self._untold: set[str] = set()
        self.due_at = math.inf

    def pick(self, place: ServicePlace, request: CallRequest, now: float) -> Lane | None:
        """The replica there with the most room; None where the worker is to choose.

        Which replicas have the requests that the worker carries is not known here: each is taken
        to have all of them.
        """
        lanes = place.lanes
        if lanes is None:
            lanes = self._find_lanes(place)
        if not lanes or request.stream:
            return None
        carried = place.in_flight - place.direct
        followed = self._books.followed_slots
        best: Lane | None = None
        most = 0
        for lane in lanes:
            room = lane.concurrency - lane.in_flight - carried
            if followed:
                room -= followed.get(lane.replica, 0)
            if room > most and now >= lane.shunned_until:
                best, most = lane, room
        return best

    def send(self, lane: Lane, request: Dispatch) -> None:
        """Call the replica; the request's reservation is booked already."""
        self._serving[request.request_id] = lane
        if lane.begin():
            self._untold.add(lane.node.name)
        self._books.out.append(Forward(request, lane.replica, lane.port))

    def in_flight(self, replica: str) -> int:
        """How many requests this edge itself has there."""
        lane = self._lanes.get(replica)
        return lane.in_flight if lane is not None else 0

    def make_way(self, place: ServicePlace) -> None:
        """The worker is to carry requests of that place: no slot may stay set aside for nothing."""
        for lane in place.lanes or ():
            if lane.make_way():
                self._untold.add(place.node.name)

    def ended(self, done: RequestDone, now: float) -> NodeBook | None:
        """A call has its answer, or will have none; the node that it held, None if unknown."""
        lane = self._serving.pop(done.request_id, None)
        if lane is None:
            return None
        if lane.end():
            self._untold.add(lane.node.name)
        self._drop(lane)
        if not done.ran and done.code is Code.UNAVAILABLE:
            lane.shunned_until = now + SHUN_S
        return lane.node

    @property
    def restless(self) -> bool:
        """Whether there is something to settle before `due_at`."""
        return bool(self._untold or self._books.moved)

    def settle(self, now: float) -> None:
        """Replicas that came or went, what is not needed any more, and word to workers."""
        if self._books.moved:
            moved, self._books.moved = self._books.moved, set()
            self._follow(moved)
        if now >= self.due_at:
            self.due_at = math.inf
            for lane in self._lanes.values():
                if lane.look():
                    self._untold.add(lane.node.name)
        if self.due_at == math.inf and any(lane.told for lane in self._lanes.values()):
            self.due_at = now + HOLD_S
        self.tell()

    def tell(self) -> None:
        """Workers whose replicas have more or fewer direct calls than they know of."""
        if not self._untold:
            return
        told: dict[str, dict[str, int]] = {name: {} for name in self._untold}
        for lane in self._lanes.values():
            there = told.get(lane.node.name)
            if there is not None and lane.told:
                there[lane.replica] = lane.told
        self._untold = set()
        for name in sorted(told):
            self._shares.direct[name] = told[name]
            self._shares.tell_one(name)

    def _follow(self, services: set[str]) -> None:
        """Look again at where these can be called."""
        lanes = [lane for lane in self._lanes.values() if lane.place.service.name in services]
        for place in {lane.place: None for lane in lanes}:
            self._find_lanes(place)
        for lane in lanes:
            # Its session may be a new one, which knows of nothing.
            self._untold.add(lane.node.name)
            if lane.leaving:
                lane.make_way()
                self._drop(lane)

    def _drop(self, lane: Lane) -> None:
        """Forget one that leaves, once nothing is under way there."""
        if lane.leaving and not lane.in_flight and self._lanes.get(lane.replica) is lane:
            del self._lanes[lane.replica]

    def _find_lanes(self, place: ServicePlace) -> tuple[Lane, ...]:
        node, service = place.node, place.service
        for lane in place.lanes_before:
            lane.leaving = True
        found = []
        own = self._books.loopback
        if own and node.hello.loopback == own:
            for status, spec in service.ready_on(node):
                if not status.port or spec.quota is not QuotaMode.NONE:
                    continue
                replica = status.replica_id
                known = self._lanes.get(replica)
                if known is not None and known.place is place:
                    lane = known
                else:
                    # What is known is of another node that it was on: it ends by itself.
                    lane = self._lanes[replica] = Lane(replica, node, place)
                lane.port, lane.concurrency = status.port, spec.concurrency
                lane.leaving = False
                found.append(lane)
        place.lanes = place.lanes_before = tuple(found)
        return place.lanes

    def validate(self) -> None:
        """AssertionError where the books do not agree with themselves."""
        counts: dict[Lane, int] = {}
        places: dict[ServicePlace, int] = {}
        for request_id, lane in self._serving.items():
            counts[lane] = counts.get(lane, 0) + 1
            places[lane.place] = places.get(lane.place, 0) + 1
            hold = lane.node.holds.get(request_id)
            assert hold is not None, f"{request_id} is direct, and not booked"
            assert hold.direct, f"{request_id} is booked as the worker's"
        for node in self._books.nodes.values():
            for request_id, hold in node.holds.items():
                assert hold.direct == (request_id in self._serving), f"{request_id}: direct or not"
        for name, lane in self._lanes.items():
            assert lane.replica == name
            assert lane.in_flight == counts.get(lane, 0), f"{name}: wrong count in flight"
            assert lane.told >= lane.in_flight, f"{name}: its worker does not know of all"
            if not lane.leaving:
                assert lane.in_flight <= lane.concurrency, f"{name}: too many in flight"
        for service in self._books.services.values():
            for place in service.places.values():
                assert place.direct == places.get(place, 0), f"{service.name}: direct ones are off"
