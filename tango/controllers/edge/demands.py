"""What a traffic policy is shown of a service's queue: this site's users', then each guest's."""

from __future__ import annotations

import math
from dataclasses import replace

from tango.controllers.edge.books import Books
from tango.controllers.edge.calls import QUEUED, Call
from tango.controllers.edge.service_book import ServiceBook
from tango.model.plan import Demand


def demands_of(books: Books, service: ServiceBook, now: float, *, spilled: bool) -> list[Demand]:
    """One demand for each origin. spilled: neighbours' nodes are offered for the service.

    Then the slack counts: that of the youngest, for the commit looks at each call's own, and a node
    is of use while one of them meets it.
    """
    guests: dict[str, list[Call]] = {}
    spec, queue = service.spec, service.queue
    own = len(queue)
    for origin, calls in books.guests.items():
        for call in calls.values():
            if call.service is service and call.state is QUEUED:
                guests.setdefault(origin, []).append(call)
                own -= 1
    demand = Demand(
        service.name,
        own,
        service.cpu_millis,
        service.request_memory_bytes,
        spec.priority,
        service_s=service.forecast.service_s,
        slack_s=next(reversed(queue.values())).deadline_at - now if spilled else math.inf,
        dispatched=service.dispatched,
    )
    if not guests:
        return [demand]
    demands = [demand] if own else []
    for origin, waiting in guests.items():
        # A guest's requests never get ahead of what the service is given here.
        priority = min(spec.priority, waiting[0].request.priority)
        demands.append(
            replace(demand, count=len(waiting), priority=priority, origin=origin, slack_s=math.inf)
        )
    return demands
