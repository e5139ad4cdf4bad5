"""Tables for people: one function for each kind of thing that is listed."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table

from tango.cli.reasons import why
from tango.model.cluster import Enforcement, NodeView, SideUsage
from tango.model.cores import format_cores
from tango.model.job import JobRecord
from tango.model.peers import PeerView
from tango.model.units import format_cpu, format_memory
from tango.model.views import EdgeView, ServiceView
from tango.sdk.readiness import not_ready_reason


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """Left-aligned columns without lines, as kubectl and docker print them."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        made.add_column(heading, overflow="fold")
    for row in rows:
        made.add_row(*row)
    return made


def show(made: Table) -> None:
    """Print; a pipe gets the full width so that nothing is cut."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=200)
    console.print(made)


def nodes_table(nodes: Sequence[NodeView]) -> Table:
    """`tango get nodes`; what is reserved for backups of tasks only where anything is."""
    reserves = any(node.reserved_bytes for node in nodes)
    rows = []
    for node in nodes:
        report, used = node.report, node.report if measured(node) else None
        rows.append(
            (
                node.node,
                node.edge,
                node_status(node) + (f" ({report.problem})" if report and report.problem else ""),
                format_cpu(node.capacity.cpu_millis),
                f"{used.lc.cpu_millis}m" if used else "-",
                f"{used.be.cpu_millis}m" if used else "-",
                format_memory(node.capacity.memory_bytes),
                format_memory(used.lc.memory_bytes) if used else "-",
                format_memory(used.be.memory_bytes) if used else "-",
                str(node.replicas),
                str(node.be_tasks),
                _cores_cell(node),
                enforcement(node),
                *((format_memory(node.reserved_bytes),) if reserves else ()),
            )
        )
    headings = (
        "NODE", "SITE", "STATUS", "CPU", "LC CPU", "BE CPU", "MEMORY", "LC MEM", "BE MEM",
        "REPLICAS", "TASKS", "CORE IDS", "ENFORCEMENT",
    )  # fmt: skip
    return table((*headings, "RESERVED") if reserves else headings, rows)


def measured(node: NodeView) -> bool:
    """Whether its report counts what is used: without groups nobody counts, and all is 0."""
    report = node.report
    if report is None or node.enforcement is Enforcement.CGROUP:
        return report is not None
    # A worker that only observes has groups where it may make them.
    return report.lc != SideUsage() or report.be != SideUsage()


def enforcement(node: NodeView) -> str:
    """How BE is held down there, and how much of it the kernel did not take."""
    count = len(node.report.mismatches) if node.report else 0
    if node.observe_only:
        return f"none (observes; would set {count})"
    return node.enforcement.value + (f" ({count} differ)" if count else "")


def cores(node: NodeView) -> str:
    """Those that tasks may have for themselves, and which of them are taken; or why none."""
    if not node.cores:
        return f"none: {node.cores_note}" if node.cores_note else "-"
    taken = format_cores(node.be_cores)
    text = format_cores(node.cores) + (f", {taken} taken" if taken else "")
    return text + (f" ({node.cores_note})" if node.cores_note else "")


def _cores_cell(node: NodeView) -> str:
    if not node.cores:
        return "-"
    free = len(set(node.cores) - set(node.be_cores))
    return f"{format_cores(node.cores)} ({free} free)"


def checkpoints(node: NodeView) -> str:
    """Whether tasks can come and go with their state, and by what, or why not."""
    if node.checkpoints:
        ways = [
            way
            for way, there in (
                ("a directory", node.checkpoint_shared),
                ("the sessions", node.checkpoint_transfer),
            )
            if there
        ]
        by = f", by {' or '.join(ways)}" if ways else ""
        return f"yes ({node.checkpoint_note}){by}"
    return f"no: {node.checkpoint_note or 'its version does not know of it'}"


def _enforced(places: Iterable[tuple[str, str]], nodes: Sequence[NodeView]) -> str:
    """Of the nodes among (site, node) that are known."""
    wanted = set(places)
    found = {node.enforcement.value for node in nodes if (node.edge, node.node) in wanted}
    return ", ".join(sorted(found)) or "-"


def node_status(node: NodeView) -> str:
    """One word on whether it is there, and whether it takes anything new."""
    status = "ready" if node.ready else "dead" if node.dead else "not ready"
    if not node.cordoned:
        return status
    if not node.draining:
        return f"{status}, cordoned"
    # Of a node that is away nobody knows what it still runs.
    empty = node.ready and not node.replicas and not node.be_tasks
    return f"{status}, drained" if empty else f"{status}, draining"


def services_table(services: Sequence[ServiceView], nodes: Sequence[NodeView]) -> Table:
    """`tango get services`; nodes: those that their replicas may be on."""
    rows = []
    for view in services:
        counts = view.counts
        short = view.ready < view.spec.replicas and not view.reason
        reason = not_ready_reason(view) if short else view.reason
        where = ", ".join(qos.node for qos in view.qos if qos.saturated)
        if where and not reason:
            reason = f"saturated on {where}"
        rows.append(
            (
                view.spec.name,
                view.edge,
                f"{view.ready}/{view.spec.replicas}",
                f"{view.spec.deadline_s * 1000:g} ms",
                str(view.queued),
                str(view.in_flight),
                str(counts.sent),
                str(counts.completed),
                str(counts.late),
                str(counts.rejected),
                str(counts.failed),
                _enforced(((view.edge, replica.node) for replica in view.replicas), nodes),
                reason,
            )
        )
    headings = (
        "SERVICE", "SITE", "READY", "DEADLINE", "QUEUED", "IN FLIGHT", "SENT", "IN TIME", "LATE",
        "REJECTED", "FAILED", "ENFORCEMENT", "REASON",
    )  # fmt: skip
    return table(headings, rows)


def jobs_table(jobs: Sequence[JobRecord], nodes: Sequence[NodeView]) -> Table:
    """`tango get jobs`; nodes: those that their tasks may be on."""
    now = time.time()
    rows = []
    for job in jobs:
        names = ",".join(dict.fromkeys(task.node for task in job.tasks if task.node))
        codes = ",".join(str(t.exit_code) for t in job.tasks if t.exit_code is not None)
        rows.append(
            (
                job.job_id,
                job.state.value,
                str(len(job.tasks)),
                names or "-",
                codes or "-",
                _age(now - job.submitted_at),
                _age(ran_s(job, now)) if job.started_at else "-",
                f"{sum(task.cpu_s for task in job.tasks):.1f} s",
                _enforced(((task.edge, task.node) for task in job.tasks), nodes),
                why(job),
            )
        )
    headings = (
        "JOB",
        "STATE",
        "TASKS",
        "NODE",
        "EXIT",
        "AGE",
        "RAN",
        "CPU",
        "ENFORCEMENT",
        "REASON",
    )
    return table(headings, rows)


def ran_s(job: JobRecord, now: float) -> float:
    """From the first start to the last end, by the clocks of the nodes where it ran.

    The job's own ended_at is when central heard of it, long after if the worker was down.
    """
    until = max((task.ended_at for task in job.tasks), default=0.0) or job.ended_at
    return (until if job.state.ended else now) - job.started_at


def edges_table(edges: Sequence[EdgeView], peers: Sequence[PeerView] = ()) -> Table:
    """`tango get edges`; peers: of those that answer, for their neighbours."""
    rows = [
        (
            edge.edge,
            edge.address,
            "connected" if edge.connected else "not connected",
            f"{sum(node.ready for node in edge.nodes)}/{len(edge.nodes)}",
            _enforced(((node.edge, node.node) for node in edge.nodes), edge.nodes),
            ", ".join(
                f"{peer.peer} {_ms(peer.rtt_ms)} (offer {_ms(peer.age_ms)} old)"
                for peer in peers
                if peer.edge == edge.edge and peer.neighbour
            )
            or "-",
            edge.version,
        )
        for edge in edges
    ]
    headings = ("SITE", "ADDRESS", "STATUS", "NODES", "ENFORCEMENT", "NEIGHBOURS", "VERSION")
    return table(headings, rows)


def peers_table(peers: Sequence[PeerView]) -> Table:
    """`tango get peers`: the sites that each site dials, with delay there and back."""
    rows = [
        (
            peer.edge,
            peer.peer,
            peer.address,
            peer_status(peer),
            _ms(peer.rtt_ms),
            _ms(peer.age_ms),
            str(peer.nodes),
            str(peer.slots),
            str(peer.forwarded),
            str(peer.pending),
            str(peer.refused),
            str(peer.lost),
        )
        for peer in peers
    ]
    headings = (
        "SITE", "PEER", "ADDRESS", "STATUS", "RTT", "OFFER AGE", "NODES", "SLOTS", "FORWARDED",
        "PENDING", "REFUSED", "LOST",
    )  # fmt: skip
    return table(headings, rows)


def peer_status(peer: PeerView) -> str:
    """Whether it is there, and whether routing uses it."""
    if not peer.connected:
        return "not connected"
    if not peer.neighbour:
        return "connected, too far"
    return "neighbour" if peer.fresh else "neighbour, offer too old"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} ms"


def _age(seconds: float) -> str:
    if seconds < 120:
        return f"{max(seconds, 0):.0f}s"
    if seconds < 7200:
        return f"{seconds / 60:.0f}m"
    return f"{seconds / 3600:.0f}h"
