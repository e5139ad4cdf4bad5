"""One node in the edge's books: its session, reservations, replicas and attempts."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tango.algorithms.quota.hrm import be_memory_room, lc_memory_room
from tango.algorithms.quota.reclaim import Reclaim
from tango.algorithms.quota.sides import BE
from tango.controllers.edge.rtt import RoundTrips
from tango.model.cluster import GroupReport, NodeReport
from tango.model.cores import mask_of
from tango.model.job import AttemptState, AttemptStatus
from tango.model.layers import NodeImages
from tango.model.messages import WorkerHello
from tango.model.service import ReplicaStatus

if TYPE_CHECKING:
    from tango.controllers.edge.calls import Call
    from tango.controllers.edge.service_place import ServicePlace


class Hold:
    """What one request holds on a node until its worker confirms the end.

    place is None where the service is not known, call where the request is not (after a restart).
    direct: this edge has called the replica itself, so that it is the one that confirms.
    """

    __slots__ = ("call", "cpu_millis", "direct", "memory_bytes", "place")

    def __init__(
        self,
        place: ServicePlace | None,
        cpu_millis: int,
        memory_bytes: int,
        call: Call | None,
        direct: bool,
    ) -> None:
        self.place = place
        self.cpu_millis = cpu_millis
        self.memory_bytes = memory_bytes
        self.call = call
        self.direct = direct


class NodeBook:
    """A node that has dialled in since this edge started; session is None while it is away.

    dead: nothing was heard of it for too long. leaving: replica id -> service, of replicas that
    shall not run there any more and are not gone yet; leaving_ports: fixed ones of theirs.
    address: the host that its worker dials from.
    replica_memory_bytes: declared by replicas placed here, or about to be. services: how many have
    ready replicas here. be_evicted_bytes: the part of be_memory_bytes that attempts hold which are
    being evicted. reclaim: what CPU its attempts do not use. images, image_names: what its engine
    holds, None where it has said nothing. rtt_s: delay to its worker and back,
    from pings of which trips keeps count.
    version: rises with whatever decides what LC may still take here and what a policy is shown of
    it, the adjustments and slots of its places among it; what was worked out for an earlier one is
    out of date.
    """

    __slots__ = (
        "address",
        "attempts",
        "be_cpu_millis",
        "be_evicted_bytes",
        "be_memory_bytes",
        "be_tasks",
        "cpu_millis",
        "dead",
        "groups",
        "heard_at",
        "hello",
        "holds",
        "image_names",
        "images",
        "lc_cpu_millis",
        "lc_request_memory_bytes",
        "leaving",
        "leaving_ports",
        "memory_bytes",
        "name",
        "pinged_at",
        "reclaim",
        "replica_memory_bytes",
        "report",
        "rtt_s",
        "services",
        "session",
        "statuses",
        "trips",
        "version",
    )

    def __init__(self, hello: WorkerHello, replica_memory_bytes: int) -> None:
        self.name = hello.node
        self.hello = hello
        self.cpu_millis = hello.capacity.cpu_millis
        self.memory_bytes = hello.capacity.memory_bytes
        self.replica_memory_bytes = replica_memory_bytes
        self.session: int | None = None
        self.heard_at = 0.0
        self.dead = False
        self.leaving: dict[str, str] = {}
        self.leaving_ports: dict[str, int] = {}
        self.holds: dict[str, Hold] = {}
        self.lc_cpu_millis = 0
        self.lc_request_memory_bytes = 0
        self.statuses: dict[str, ReplicaStatus] = {}
        self.attempts: dict[str, AttemptStatus] = {}
        self.be_cpu_millis = 0
        self.be_memory_bytes = 0
        self.be_evicted_bytes = 0
        self.be_tasks = 0
        self.reclaim = Reclaim()
        self.report: NodeReport | None = None
        self.images: NodeImages | None = None
        self.image_names: frozenset[str] = frozenset()
        # Of the last report that had any: only every tenth or so does.
        self.groups: tuple[GroupReport, ...] = ()
        self.rtt_s = 0.0
        self.trips = RoundTrips()
        self.pinged_at = -math.inf
        self.address = ""
        self.services = 0
        self.version = 0

    @property
    def problem(self) -> str:
        """What its worker last said is wrong with it, "" for nothing: it takes nothing new then."""
        return self.report.problem if self.report is not None else ""

    def holds_images(self, images: NodeImages) -> None:
        """Its engine holds these from now on."""
        self.images = images
        self.image_names = frozenset(name for image in images.images for name in image.names)

    def resize(self, cpu_millis: int, memory_bytes: int) -> None:
        """Its worker says what it has."""
        self.cpu_millis = cpu_millis
        self.memory_bytes = memory_bytes
        self.version += 1

    def measured(self, rtt_s: float) -> None:
        """The way to its worker and back takes so long, as far as one knows."""
        if rtt_s != self.rtt_s:
            self.rtt_s = rtt_s
            self.version += 1

    def claim(self, replica_memory_bytes: int) -> None:
        """Its replicas declare so much memory."""
        self.replica_memory_bytes = replica_memory_bytes
        self.version += 1

    def lc_memory_left(self) -> int:
        """Memory that LC may still take: what is free and what BE holds."""
        return lc_memory_room(
            self.memory_bytes, self.replica_memory_bytes + self.lc_request_memory_bytes
        )

    def be_memory_left(self) -> int:
        """Memory that BE may still take; below zero where it is to yield some to LC."""
        lc_held = self.replica_memory_bytes + self.lc_request_memory_bytes
        return be_memory_room(self.memory_bytes, lc_held, self.be_memory_bytes)

    def read_use(self, report: NodeReport, now: float) -> None:
        """A report has counters of all groups: see what CPU attempts use."""
        prefix = f"{BE}/"
        used_s = {
            group.group.removeprefix(prefix): group.cpu_s
            for group in report.groups
            if group.group.startswith(prefix)
        }
        self.reclaim.read(used_s, report.be_satisfaction, now)

    def be_reclaimable_millis(self) -> int:
        """CPU that attempts hold here and measurably do not use."""
        return self.reclaim.millis(
            {
                attempt_id: status.cpu_millis
                for attempt_id, status in self.attempts.items()
                if status.state is not AttemptState.ENDED
            }
        )

    def be_core_mask(self) -> int:
        """A bit for each core that attempts have here which have not ended."""
        mask = 0
        for status in self.attempts.values():
            if status.cores and status.state is not AttemptState.ENDED:
                mask |= mask_of(status.cores)
        return mask

    def be_ports(self) -> dict[int, str]:
        """Fixed ports of attempts which have not ended, and whose they are."""
        return {
            port: attempt_id
            for attempt_id, status in self.attempts.items()
            if status.ports and status.state is not AttemptState.ENDED
            for port in status.ports
        }

    def be_cpu_left(self) -> int:
        """CPU that BE may still take: what BE does not hold, or holds and does not use.

        LC takes CPU from BE at once, by the kernel's weights: what it holds does not count.
        """
        return self.cpu_millis - self.be_cpu_millis + self.be_reclaimable_millis()

    def hold(
        self,
        request_id: str,
        place: ServicePlace | None,
        call: Call | None,
        direct: bool = False,
    ) -> None:
        """Reserve what one request of the place's service needs; nothing where it is unknown."""
        cpu_millis = memory_bytes = 0
        if place is not None:
            service = place.service
            cpu_millis = place.cpu_millis
            memory_bytes = service.request_memory_bytes
            place.in_flight += 1
            service.in_flight += 1
        self.holds[request_id] = Hold(place, cpu_millis, memory_bytes, call, direct)
        self.lc_cpu_millis += cpu_millis
        self.lc_request_memory_bytes += memory_bytes
        self.version += 1

    def release(self, request_id: str) -> Hold | None:
        """Give back what a request held; None if it held nothing."""
        hold = self.holds.pop(request_id, None)
        if hold is None:
            return None
        self.lc_cpu_millis -= hold.cpu_millis
        self.lc_request_memory_bytes -= hold.memory_bytes
        self.version += 1
        place = hold.place
        if place is not None:
            place.in_flight -= 1
            place.service.in_flight -= 1
        return hold

    def put_attempt(self, status: AttemptStatus) -> None:
        """Book an attempt's status in place of the earlier one; an ended one holds nothing."""
        self.drop_attempt(status.attempt_id)
        self.attempts[status.attempt_id] = status
        self._count(status, 1)

    def drop_attempt(self, attempt_id: str) -> None:
        """Forget an attempt; fine if unknown."""
        status = self.attempts.pop(attempt_id, None)
        if status is not None:
            self._count(status, -1)

    def _count(self, status: AttemptStatus, sign: int) -> None:
        if status.state is not AttemptState.ENDED:
            self.be_cpu_millis += sign * status.cpu_millis
            self.be_memory_bytes += sign * status.memory_bytes
            if status.evicted:
                self.be_evicted_bytes += sign * status.memory_bytes
            self.be_tasks += sign
