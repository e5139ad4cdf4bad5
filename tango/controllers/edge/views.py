"""What listings and the central master are shown of the edge's books."""

from __future__ import annotations

from dataclasses import replace

from tango.controllers.edge.books import Books
from tango.controllers.edge.node_book import NodeBook
from tango.controllers.edge.service_book import ServiceBook, ServicePlace, generation_of
from tango.model.cluster import NodeView
from tango.model.cores import ids_of
from tango.model.service import ReplicaState, ReplicaStatus
from tango.model.views import QosView, ReplicaView, ServiceView

MAX_REPLICAS_NAMED = 3


def replica_view(
    books: Books, service: ServiceBook, replica_id: str, node_name: str
) -> ReplicaView:
    """One replica as far as this edge knows; one on a node that is away is not ready."""
    node = books.nodes.get(node_name)
    status = node.statuses.get(replica_id) if node is not None else None
    how = "lost" if books.is_lost(node_name) else "away"
    away = "" if node is not None and node.session is not None else f"node {node_name} is {how}"
    if status is None:
        reason = (away or "not reported yet") if node_name else service.short or "not placed yet"
        state = ReplicaState.STARTING
        generation = generation_of(replica_id)
        status = ReplicaStatus(replica_id, service.name, generation, state, reason=reason)
    elif away:
        status = replace(status, state=ReplicaState.UNHEALTHY, reason=away)
    return ReplicaView(status, node_name)


def service_view(books: Books, service: ServiceBook) -> ServiceView:
    """The service with its replicas, queue and counts."""
    replicas = tuple(replica_view(books, service, *item) for item in service.placement.items())
    ready = sum(view.status.state is ReplicaState.READY for view in replicas)
    reason = service.short
    if not reason and service.record.older:
        reason = rolling(service, replicas)
    elif not reason and ready < service.spec.replicas:
        reason = shortfall(replicas)
    return ServiceView(
        spec=service.spec,
        generation=service.generation,
        edge=books.edge,
        replicas=replicas,
        ready=ready,
        queued=len(service.queue),
        in_flight=service.in_flight,
        counts=service.counts.view(),
        service_time_ms=service.forecast.service_s * 1000,
        reason=reason,
        published=sum(place.published for place in service.places.values()),
        qos=tuple(
            qos_view(place) for _, place in sorted(service.places.items()) if place.qos is not None
        ),
    )


def qos_view(place: ServicePlace) -> QosView:
    """What re-assurance makes of a service on a node."""
    assessment = place.qos.assessment if place.qos is not None else None
    node = place.node.name
    if assessment is None or assessment.slack is None:
        why = assessment.why if assessment is not None else "the first window is not over"
        return QosView(node, place.cpu_millis, saturated=place.saturated, why=why)
    return QosView(
        node,
        place.cpu_millis,
        assessment.samples,
        assessment.slack,
        (1 - assessment.slack) * place.service.spec.deadline_s * 1000,
        place.saturated,
        assessment.why,
    )


def rolling(service: ServiceBook, replicas: tuple[ReplicaView, ...]) -> str:
    """How far a rolling update is, and what it waits for."""
    new = tuple(view for view in replicas if view.status.generation == service.generation)
    ready = sum(view.status.state is ReplicaState.READY for view in new)
    waits = shortfall(new)
    declared = service.spec.replicas
    return f"rolling update to generation {service.generation}: {ready} of {declared} ready" + (
        f"; waits for {waits}" if waits else ""
    )


def shortfall(replicas: tuple[ReplicaView, ...]) -> str:
    """Why replicas are not ready, naming the first few."""
    parts = []
    waiting = [view for view in replicas if view.status.state is not ReplicaState.READY]
    for view in waiting[:MAX_REPLICAS_NAMED]:
        status = view.status
        where = f" on {view.node}" if view.node else ""
        why = f" ({status.reason})" if status.reason else ""
        parts.append(f"{status.replica_id}{where} is {status.state.value}{why}")
    if len(waiting) > MAX_REPLICAS_NAMED:
        parts.append(f"{len(waiting) - MAX_REPLICAS_NAMED} more are not ready")
    return "; ".join(parts)


def unready_reason(books: Books, service: ServiceBook) -> str:
    """Why no call can be served at all; kept until readiness changes."""
    if not service.unready:
        if not service.placement:
            why = "it is declared with 0 replicas"
        else:
            why = service_view(books, service).reason
        service.unready = f"no replica of {service.name!r} is ready: {why}"
    return service.unready


def node_view(books: Books, node: NodeBook) -> NodeView:
    """The node as the central master and listings see it."""
    cordon = books.cordons.get(node.name)
    lc_ports = books.lc_ports(node)
    # Made of each node several times a second, and most have no attempt and no fixed port.
    reclaimable_millis = 0
    be_cores: tuple[int, ...] = ()
    be_ports: tuple[int, ...] = ()
    if node.attempts:
        reclaimable_millis = node.be_reclaimable_millis()
        be_cores = ids_of(node.be_core_mask())
        be_ports = tuple(sorted(node.be_ports()))
    return NodeView(
        node=node.name,
        edge=books.edge,
        ready=node.session is not None,
        capacity=node.hello.capacity,
        enforcement=node.hello.enforcement,
        lc_held_millis=node.lc_cpu_millis,
        be_held_millis=node.be_cpu_millis,
        lc_memory_bytes=node.replica_memory_bytes,
        be_memory_bytes=node.be_memory_bytes,
        replicas=books.replicas_on.get(node.name, 0) + len(node.leaving),
        be_tasks=node.be_tasks,
        be_reclaimable_millis=reclaimable_millis,
        report=node.report,
        labels=node.hello.labels,
        taints=node.hello.taints,
        observe_only=node.hello.observe_only,
        cores=node.hello.cores,
        cores_note=node.hello.cores_note,
        be_cores=be_cores,
        services=tuple(
            sorted([name for name, one in books.services.items() if _serves(one, node.name)])
        ),
        lc_ports=tuple(sorted(lc_ports)) if lc_ports else (),
        be_ports=be_ports,
        checkpoints=node.hello.checkpoints,
        checkpoint_note=node.hello.checkpoint_note,
        checkpoint_shared=node.hello.checkpoint_shared,
        checkpoint_transfer=node.hello.checkpoint_transfer,
        dead=node.dead,
        cordoned=cordon is not None,
        draining=cordon is not None and cordon.draining,
        drain_grace_s=cordon.grace_s if cordon is not None else None,
        saturated=tuple(
            name for name, service in books.services.items() if is_saturated(service, node.name)
        ),
    )


def is_saturated(service: ServiceBook, node: str) -> bool:
    """Whether the service misses its target on the node, and more CPU per request cannot help."""
    if not service.saturated:
        return False
    place = service.places.get(node)
    return place is not None and place.saturated


def _serves(service: ServiceBook, node: str) -> bool:
    """Whether it has a ready replica there."""
    place = service.places.get(node)
    return place is not None and place.slots > 0


def node_views(books: Books) -> tuple[NodeView, ...]:
    """Every node that has dialled in since this edge started, by name."""
    return tuple(node_view(books, books.nodes[name]) for name in sorted(books.nodes))
