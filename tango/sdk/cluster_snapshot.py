"""A running cluster as a snapshot for placement, from what its masters tell every client."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from tango.algorithms.placement.cluster import NodeRow
from tango.algorithms.placement.cluster_snapshot import (
    ClusterSnapshot,
    Placed,
    Reservation,
    RoundTrips,
)
from tango.algorithms.placement.pod import Pod
from tango.model.cluster import NodeView
from tango.model.job import JobRecord, JobState
from tango.model.peers import PeerView
from tango.model.views import ImagesView, ServiceView
from tango.sdk.client import Client
from tango.sdk.held_images import HeldRow, images_of
from tango.wire.edge_client import EdgeClient

_AT_WORK = (JobState.SCHEDULED, JobState.RUNNING)


async def cluster_snapshot(client: Client) -> ClusterSnapshot:
    """Nodes, tasks and what is reserved for backups as the central master knows them, replicas and
    round trips from the sites.

    A site that does not answer is there with its nodes, and what they hold as one pod. Images are
    those that nodes report and registries know. Of the cores that tasks may have their number
    counts, not the ids. Raises Unavailable where the central master is away.
    """
    views = tuple(node for edge in await client.edges() for node in edge.nodes)
    jobs, _ = await client.jobs(*_AT_WORK)
    services, _ = await client.from_sites(EdgeClient.services)
    peers, _ = await client.from_sites(EdgeClient.peers)
    return snapshot_of(views, jobs, services, peers, await client.images())


def snapshot_of(
    views: tuple[NodeView, ...],
    jobs: tuple[JobRecord, ...],
    services: tuple[ServiceView, ...],
    peers: tuple[PeerView, ...],
    images: ImagesView | None = None,
) -> ClusterSnapshot:
    """As cluster_snapshot, from the listings; by site and node. Two of one name are SITE/NODE."""
    views = tuple(sorted(views, key=lambda view: (view.edge, view.node)))
    count = Counter(view.node for view in views)
    names = {
        (view.edge, view.node): view.node if count[view.node] == 1 else f"{view.edge}/{view.node}"
        for view in views
    }
    held: dict[tuple[str, str], list[Pod]] = {place: [] for place in names}
    for (edge, node), pod in (*_tasks(jobs), *_replicas(services)):
        if (edge, node) in held:
            held[edge, node].append(pod)
    within = {
        place: _within(view, names[place], held[place])
        for view in views
        for place in ((view.edge, view.node),)
    }
    full = {f"{edge}/{node}": name for (edge, node), name in names.items()}
    backups = {
        f"{job.job_id}/{task.name}": full.get(record.backup, "")
        for job in jobs
        for task, record in zip(job.spec.tasks, job.tasks, strict=True)
    }
    reservations = tuple(
        kept
        for view in views
        for place in ((view.edge, view.node),)
        if (kept := _kept(view, names[place], within[place])) is not None
    )
    keeping = {kept.node for kept in reservations}
    rows, held_by = images_of(images) if images is not None else ((), {})
    nothing = HeldRow()
    return ClusterSnapshot(
        tuple(
            _node(view, names[view.edge, view.node], held_by.get((view.edge, view.node), nothing))
            for view in views
        ),
        rows,
        round_trips=_round_trips(peers, {view.edge for view in views}),
        pods=tuple(
            # Nodes and jobs were read one after the other: what was kept may have gone meanwhile.
            Placed(pod, names[place], host if host in keeping - {names[place]} else "")
            for place, pods in within.items()
            for pod in pods
            for host in (backups.get(pod.name, ""),)
        ),
        reservations=reservations,
    )


def _node(view: NodeView, name: str, held: HeldRow) -> NodeRow:
    report = view.report
    short = report is not None and bool(report.problem or report.memory_short_bytes > 0)
    return NodeRow(
        name,
        view.capacity.cpu_millis,
        view.capacity.memory_bytes,
        cores=len(view.cores),
        site=view.edge,
        labels=view.labels,
        images=held.images,
        layers=held.layers,
        bandwidth_bytes_per_s=held.bandwidth_bytes_per_s,
        taints=view.taints,
        cordoned=view.cordoned or not view.ready or short,
    )


def _tasks(jobs: tuple[JobRecord, ...]) -> list[tuple[tuple[str, str], Pod]]:
    return [
        (
            (record.edge, record.node),
            Pod(
                f"{job.job_id}/{task.name}",
                task.cpu_millis,
                task.memory_bytes,
                cores=len(record.cores),
                ports=task.ports,
                priority=job.spec.priority,
            ),
        )
        for job in jobs
        for task, record in zip(job.spec.tasks, job.tasks, strict=True)
        if record.node and record.state in _AT_WORK
    ]


def _replicas(services: tuple[ServiceView, ...]) -> list[tuple[tuple[str, str], Pod]]:
    """They hold memory; CPU is held by the requests that they serve."""
    return [
        (
            (view.edge, replica.node),
            Pod(
                f"{view.edge}/{replica.status.replica_id}",
                memory_bytes=view.spec.memory_bytes,
                ports=(view.spec.port,) if view.spec.port else (),
                group=view.spec.name,
                priority=view.spec.priority,
            ),
        )
        for view in services
        for replica in view.replicas
        if replica.node
    ]


def _within(view: NodeView, name: str, pods: list[Pod]) -> list[Pod]:
    """Never more than the node has, and as much as it says that it holds.

    Requests in flight, and what the listings do not show, are one pod. Where BE has CPU that LC
    reserves and does not use, more is held than there is.
    """
    cpu, memory = view.capacity.cpu_millis, view.capacity.memory_bytes
    ports: set[int] = set()
    found = []
    for pod in pods:
        # A port twice is an old replica that leaves while the new one waits for it.
        free = tuple(port for port in pod.ports if port not in ports)
        ports.update(free)
        fitting = replace(
            pod,
            cpu_millis=min(pod.cpu_millis, cpu),
            memory_bytes=min(pod.memory_bytes, memory),
            ports=free,
        )
        cpu, memory = cpu - fitting.cpu_millis, memory - fitting.memory_bytes
        found.append(fitting)
    told_cpu = view.lc_held_millis + view.be_held_millis
    told_memory = view.lc_memory_bytes + view.be_memory_bytes
    more_cpu = min(cpu, told_cpu - sum(pod.cpu_millis for pod in pods))
    more_memory = min(memory, told_memory - sum(pod.memory_bytes for pod in pods))
    more_ports = tuple(sorted({*view.lc_ports, *view.be_ports} - ports))
    if more_cpu > 0 or more_memory > 0 or more_ports:
        held = Pod(f"{name}/held", max(0, more_cpu), max(0, more_memory), ports=more_ports)
        found.append(held)
    return found


def _kept(view: NodeView, name: str, pods: list[Pod]) -> Reservation | None:
    """What is reserved there, as far as the node has it: LC may be in its place, even of all."""
    if view.reserved_millis <= 0 and view.reserved_bytes <= 0:
        return None
    cpu = min(view.reserved_millis, view.capacity.cpu_millis - sum(p.cpu_millis for p in pods))
    memory = min(
        view.reserved_bytes, view.capacity.memory_bytes - sum(p.memory_bytes for p in pods)
    )
    taken = {port for pod in pods for port in pod.ports}
    ports = tuple(port for port in view.reserved_ports if port not in taken)
    return Reservation(name, max(0, cpu), max(0, memory), ports)


def _round_trips(peers: tuple[PeerView, ...], sites: set[str]) -> RoundTrips | None:
    pairs = tuple(
        (peer.edge, peer.peer, peer.rtt_ms)
        for peer in peers
        if peer.rtt_ms is not None and peer.edge in sites and peer.peer in sites
    )
    return RoundTrips("sites", pairs) if pairs else None
