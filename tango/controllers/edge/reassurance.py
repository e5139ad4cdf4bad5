"""QoS re-assurance at the edge: latencies by service and node, and what each window makes of them.

The CPU per request of a place (a service on a node) is what routing and admission reckon with, and
what quotas that follow requests are told to follow. It lasts as long as this edge runs: a restarted
one begins with what services declare.
"""

from __future__ import annotations

import heapq
import math
from typing import Final

from tango.algorithms.quota.reassurance import UNADJUSTED, Assessment, assess
from tango.controllers.edge.books import Books
from tango.controllers.edge.calls import Call
from tango.controllers.edge.routing import Router
from tango.controllers.edge.service_place import PlaceQos, ServicePlace
from tango.controllers.edge.services import Services
from tango.model.decision import ASSURE
from tango.model.service import QuotaMode

# Latencies kept of a window; beyond that every second one, then every fourth, and so on.
MAX_SAMPLES: Final = 256
# A window with too few requests is made so many times as long at most.
LONGEST_WINDOWS: Final = 10
# Fewer say nothing of a percentile, however long the window.
LEAST_SAMPLES: Final = 5


class Reassurance:
    """One window at a time for each place that has requests, or an adjustment to give back."""

    def __init__(self, books: Books, router: Router, services: Services) -> None:
        self._books = books
        self._router = router
        self._services = services
        self._rule = books.settings.reassurance
        self._order = 0
        self._heap: list[tuple[float, int, ServicePlace]] = []
        self.due_at = math.inf

    def served(self, call: Call, place: ServicePlace, now: float) -> None:
        """A request of the place has its answer, or its time is over.

        What another site forwarded tells nothing: its deadline is what was left of it.
        """
        if not self._rule.enabled or call.request.origin:
            return
        qos = place.qos
        if qos is None:
            qos = place.qos = PlaceQos(now)
            self._plan(place, qos, now)
        qos.seen += 1
        if qos.seen % qos.stride:
            return
        target_s = call.deadline_at - call.arrived_at
        qos.ratios.append((now - call.arrived_at) / target_s)
        qos.node_ratios.append((now - call.dispatched_at) / target_s)
        if len(qos.ratios) >= MAX_SAMPLES:
            qos.stride *= 2
            del qos.ratios[::2], qos.node_ratios[::2]

    def settle(self, now: float) -> None:
        """Judge the windows that are over."""
        heap = self._heap
        while heap and heap[0][0] <= now:
            _, ticket, place = heapq.heappop(heap)
            qos = place.qos
            # Another ticket: the service was declared anew in between.
            if qos is not None and qos.ticket == ticket and not place.service.deleted:
                self._judge(place, qos, now)
        self.due_at = heap[0][0] if heap else math.inf

    def _plan(self, place: ServicePlace, qos: PlaceQos, now: float) -> None:
        self._order += 1
        qos.ticket = self._order
        heapq.heappush(self._heap, (now + self._rule.window_s, self._order, place))
        self.due_at = self._heap[0][0]

    def _judge(self, place: ServicePlace, qos: PlaceQos, now: float) -> None:
        service = place.service
        samples = len(qos.ratios)
        age_s = now - qos.begun_at
        longest = age_s >= LONGEST_WINDOWS * self._rule.window_s
        if 0 < samples < self._rule.min_samples and not longest:
            self._plan(place, qos, now)
            return
        if samples < min(LEAST_SAMPLES, self._rule.min_samples):
            qos.ratios.clear()
            qos.node_ratios.clear()
        state, assessment = assess(
            self._rule,
            service.cpu_millis,
            place.node.cpu_millis,
            qos.state,
            qos.ratios,
            qos.node_ratios,
        )
        if state == UNADJUSTED and not qos.ratios:
            place.qos = None
        else:
            place.qos = PlaceQos(now, state, assessment)
            self._plan(place, place.qos, now)
        self._adopt(place, assessment, now)

    def _adopt(self, place: ServicePlace, assessment: Assessment, now: float) -> None:
        """Let the decision take effect: room, routing, and quotas that follow requests."""
        books, service = self._books, place.service
        cpu_millis = service.cpu_millis + assessment.after_millis
        changed = cpu_millis != place.cpu_millis
        place.cpu_millis = cpu_millis
        place.node.version += 1
        if place.saturated != assessment.saturated:
            place.saturated = assessment.saturated
            changed = True
            service.saturated += 1 if place.saturated else -1
            books.note(
                "warning" if place.saturated else "info",
                "service_saturated" if place.saturated else "service_not_saturated",
                service=service.name,
                node=place.node.name,
                slack=assessment.slack,
                cpu_per_request_millis=cpu_millis,
            )
        if not changed:
            return
        books.decisions.record(ASSURE, now, service.name, place.node.name, cpu_millis, assessment)
        books.changed(service)
        if service.spec.quota is QuotaMode.FOLLOW:
            self._services.targets(place.node)
        self._router.want(now)
