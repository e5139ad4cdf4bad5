"""Explains requests, services, nodes and jobs from the edge's books and its decision records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from itertools import islice

from tango.algorithms.traffic.residual import NO_CPU, NO_MEMORY, NO_SLOT
from tango.controllers.edge.books import Books
from tango.controllers.edge.calls import Call, CallState
from tango.controllers.edge.node_book import NodeBook
from tango.controllers.edge.service_book import ServiceBook
from tango.controllers.edge.service_place import ServicePlace
from tango.controllers.edge.views import node_view, service_view
from tango.controllers.forgotten import no_record, overwritten
from tango.model.decision import END, FORWARD, REJECT, ROUTE, Decision
from tango.model.decision_text import ms, sentence
from tango.model.errors import NotFound
from tango.model.explanation import Finding, Subject
from tango.model.job import AttemptState, AttemptStatus, parse_attempt_id
from tango.model.units import format_cpu, format_memory

MAX_NAMED = 5
# Records that a request's summary is made of: it may have come back a few times.
MAX_OF_REQUEST = 100


def findings(
    books: Books, name: str, subjects: Collection[Subject], limit: int, now: float
) -> tuple[Finding, ...]:
    """One for each of the subjects that the edge knows under that name; NotFound for none."""
    asked = [
        (Subject.SERVICE, _service),
        (Subject.NODE, _node),
        (Subject.JOB, _job),
        (Subject.REQUEST, _request),
    ]
    found: list[Finding] = []
    for subject, explain in asked:
        if subject in subjects:
            finding = explain(books, name, limit, now)
            if finding is not None:
                found.append(finding)
    if not found:
        last = next(subject for subject, _ in reversed(asked) if subject in subjects)
        raise NotFound(f"{books.edge}: {no_record(books.decisions, last, name, now)}")
    return tuple(found)


# ---- requests


def _request(books: Books, name: str, limit: int, now: float) -> Finding | None:
    records = list(islice(books.decisions.about("request", name), MAX_OF_REQUEST))[::-1]
    shown = tuple(records[-limit:])
    call = books.calls.get(name)
    if call is not None and call.state is not CallState.LINGERING:
        return Finding(Subject.REQUEST, name, _pending(call, now), shown)
    if not records:
        return None
    routes = [record for record in records if record[2] in (ROUTE, FORWARD)]
    ends = [record for record in records if record[2] in (END, REJECT)]
    if not ends:
        text = sentence(records[-1])
    elif ends[-1][2] is REJECT or not routes:
        text = sentence(ends[-1])
    else:
        text = f"{sentence(ends[-1])}. It was {_after(sentence(routes[-1]), ' was ')}"
    missing: tuple[str, ...] = ()
    if ends and not routes and ends[-1][2] is END and ends[-1][END.index["node"]]:
        missing = (no_record(books.decisions, Subject.REQUEST, f"{name}'s route", now),)
    here = [record for record in routes if record[2] is ROUTE]
    nodes = tuple(dict.fromkeys(record[ROUTE.index["node"]] for record in here))
    return Finding(Subject.REQUEST, name, f"{_capital(text)}.", shown, missing, nodes)


def _pending(call: Call, now: float) -> str:
    service, name = call.service, call.request_id
    so_far = f"deadline {_left(call.deadline_at - now)}"
    if call.state is CallState.IN_FLIGHT and call.node is not None:
        return (
            f"Request {name} of {service.name} is being served on {call.node.name} since "
            f"{ms(now - call.dispatched_at)}, {so_far}."
        )
    if call.state is CallState.FORWARDED and call.peer is not None:
        return (
            f"Request {name} of {service.name} is with site {call.peer.name} since "
            f"{ms(now - call.dispatched_at)}, {so_far}."
        )
    ahead = list(service.queue).index(name)
    full = [f"{place.node.name}: {_lack(place)}" for place in service.open[:MAX_NAMED]]
    why = "; ".join(full) if full else "no replica is ready"
    return (
        f"Request {name} of {service.name} waits since {ms(now - call.arrived_at)} with {ahead} "
        f"before it, {so_far}; predicted at arrival: {ms(call.expected_s)} in all; {why}."
    )


def _left(seconds: float) -> str:
    return f"in {ms(seconds)}" if seconds >= 0 else f"{ms(-seconds)} ago"


def _lack(place: ServicePlace) -> str:
    node, service = place.node, place.service
    if place.in_flight + place.published >= place.slots:
        published = f", {place.published} published to clients" if place.published else ""
        return f"{NO_SLOT} ({place.in_flight} of {place.slots} in use{published})"
    if node.cpu_millis - node.lc_cpu_millis < place.cpu_millis:
        free = format_cpu(max(0, node.cpu_millis - node.lc_cpu_millis))
        return f"{NO_CPU} ({free} free, {format_cpu(place.cpu_millis)} needed)"
    if node.lc_memory_left() < service.request_memory_bytes:
        return f"{NO_MEMORY} ({format_memory(max(0, node.lc_memory_left()))} free)"
    if place.saturated:
        return "saturated: taken only where no other node has room"
    return "has room; the next solve may send it there"


# ---- services


def _service(books: Books, name: str, limit: int, now: float) -> Finding | None:
    records = list(islice(books.decisions.about("service", name), limit))
    service = books.services.get(name)
    if service is None and not records:
        return None
    missing = overwritten(books.decisions, Subject.SERVICE, now)
    requests = list(books.decisions.requests_of("service", name))
    # One example of each outcome that a request can meet, the latest.
    for form in (ROUTE, REJECT):
        latest = next((record for record in requests if record[2] is form), None)
        if latest is not None:
            records.append(latest)
    records.sort(key=lambda record: record[0])
    text = _of_service(books, service) if service is not None else f"Service {name} is gone."
    nodes: tuple[str, ...] = ()
    if service is not None:
        nodes = tuple(sorted({node for node in service.placement.values() if node}))
    summary = f"{text} {_requests(requests, now)}"
    return Finding(Subject.SERVICE, name, summary, tuple(records), missing, nodes)


def _of_service(books: Books, service: ServiceBook) -> str:
    view = service_view(books, service)
    where = Counter(one.node for one in view.replicas if one.node)
    text = f"Service {service.name} has {view.ready} of {service.spec.replicas} replicas ready"
    if where:
        text += " (" + ", ".join(f"{count} on {node}" for node, count in sorted(where.items()))
        text += ")"
    if view.reason:
        text += f": {view.reason}"
    return f"{text}; {view.queued} requests are queued, {view.in_flight} in flight."


def _requests(records: Iterable[Decision], now: float) -> str:
    """How those that are still recorded were decided."""
    to: Counter[str] = Counter()
    ends: Counter[str] = Counter()
    oldest = now
    for record in records:
        oldest = record[1]
        if record[2] is ROUTE:
            to[record[ROUTE.index["node"]]] += 1
        elif record[2] is FORWARD:
            to[f"site {record[FORWARD.index['site']]}"] += 1
        elif record[2] is END:
            ends[record[END.index["outcome"]].value] += 1
        elif record[2] is REJECT:
            ends["rejected"] += 1
    if not to and not ends:
        return "No request of it is recorded."
    parts = [f"{count} routed to {node}" for node, count in sorted(to.items())]
    parts += [f"{count} {outcome}" for outcome, count in sorted(ends.items())]
    return f"Of the last {now - oldest:.1f} s are recorded: {', '.join(parts)}."


# ---- nodes


def _node(books: Books, name: str, limit: int, now: float) -> Finding | None:
    records = list(islice(books.decisions.about("node", name), limit))[::-1]
    node = books.nodes.get(name)
    if node is None and not records and name not in books.cordons:
        return None
    missing = overwritten(books.decisions, Subject.NODE, now)
    if node is None:
        text = f"Node {name} has not dialled in since this edge started."
        return Finding(Subject.NODE, name, text, tuple(records), missing)
    text = _of_node(books, node)
    return Finding(Subject.NODE, name, text, tuple(records), missing, (name,))


def _of_node(books: Books, node: NodeBook) -> str:
    view = node_view(books, node)
    state = "ready" if view.ready else "dead" if view.dead else "away"
    state += ", draining" if view.draining else ", cordoned" if view.cordoned else ""
    state += f", takes nothing new ({node.problem})" if node.problem else ""
    return (
        f"Node {node.name} is {state}: of {format_cpu(node.cpu_millis)} CPU and "
        f"{format_memory(node.memory_bytes)}, LC requests in flight hold "
        f"{format_cpu(view.lc_held_millis)} CPU, {view.replicas} replicas "
        f"{format_memory(max(0, view.lc_memory_bytes))}, and {view.be_tasks} BE tasks "
        f"{format_cpu(view.be_held_millis)} CPU and {format_memory(view.be_memory_bytes)}."
    )


# ---- jobs: only their attempts are known here


def _job(books: Books, name: str, limit: int, now: float) -> Finding | None:
    records = list(islice(books.decisions.about("job", name), limit))[::-1]
    here = [
        (node.name, status)
        for node in books.nodes.values()
        for attempt, status in node.attempts.items()
        if (parsed := parse_attempt_id(attempt)) is not None and parsed[0] == name
    ]
    if not here and not records:
        return None
    parts = [f"attempt {status.attempt_id} {_runs(status)} on {node}" for node, status in here]
    text = "; ".join(parts) if parts else f"no attempt of job {name} is here now"
    nodes = [node for node, _ in here]
    nodes += [record[record[2].index["node"]] for record in records if "node" in record[2].index]
    missing = overwritten(books.decisions, Subject.JOB, now)
    known = tuple(node for node in dict.fromkeys(nodes) if node in books.nodes)
    return Finding(Subject.JOB, name, f"{_capital(text)}.", tuple(records), missing, known)


def _runs(status: AttemptStatus) -> str:
    if status.state is AttemptState.ENDED:
        return "has ended"
    return f"is {status.state.value}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _after(text: str, mark: str) -> str:
    return text.partition(mark)[2]
