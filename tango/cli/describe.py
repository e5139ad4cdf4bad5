"""`tango describe service|job|node|edge NAME`: everything there is to say about one of them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

import click
from rich.markup import escape

from tango.cli import tables
from tango.cli.images import held_images, images_on
from tango.cli.listing import with_reserved
from tango.cli.options import output_option, print_json, with_client
from tango.model.affinity import NodeTerms
from tango.model.cluster import NodeView
from tango.model.cores import format_cores
from tango.model.errors import NotFound
from tango.model.fixed_ports import ports_text
from tango.model.job import JobRecord, JobState, TaskRecord, TaskSpec
from tango.model.layers import NodeImages
from tango.model.service import ReplicaStatus
from tango.model.units import format_count, format_cpu, format_memory
from tango.model.views import EdgeView, ServiceView
from tango.sdk.client import Client

KINDS = ("service", "job", "node", "edge")
MAX_JOBS = 1000
Facts = Iterable[tuple[str, str]]


@click.command()
@click.argument("kind", type=click.Choice(KINDS))
@click.argument("name")
@click.option("--site", default="", help="Of a service or node.  [default: all that have it]")
@output_option
@with_client
async def describe(client: Client, kind: str, name: str, site: str, output: str) -> None:
    """Say all that is known of a service, job, node or edge."""
    if kind == "job":
        job = await client.job(name)
        print_json(job) if output == "json" else show_job(job)
    elif kind == "service":
        found = [
            view
            for view in await client.services()
            if view.spec.name == name and site in ("", view.edge)
        ]
        _known(found, "service", name)
        if output == "json":
            print_json(found)
            return
        for view in found:
            show_service(view)
    elif kind == "node":
        await _node(client, name, site, output)
    else:
        edges = [view for view in await client.edges() if view.edge == name]
        _known(edges, "edge", name)
        services = [view for view in await client.services() if view.edge == name]
        if output == "json":
            print_json({"edge": edges[0], "services": services})
        else:
            show_edge(edges[0], services)


async def _node(client: Client, name: str, site: str, output: str) -> None:
    found = await with_reserved(client, await client.nodes())
    nodes = [v for v in found if v.node == name and site in ("", v.edge)]
    _known(nodes, "node", name)
    services = await client.services()
    jobs, _ = await client.jobs(JobState.SCHEDULED, JobState.RUNNING, limit=MAX_JOBS)
    told = await client.images()
    documents = []
    for node in nodes:
        images = images_on(told, node.edge, node.node)
        replicas = [
            one
            for view in services
            if view.edge == node.edge
            for one in view.replicas
            if one.node == node.node
        ]
        tasks = [
            task
            for job in jobs
            for task in job.tasks
            if (task.edge, task.node) == (node.edge, node.node) and not task.state.ended
        ]
        documents.append({"node": node, "replicas": replicas, "tasks": tasks, "images": images})
        if output != "json":
            show_node(node, images)
            _rows(
                "Replicas",
                ("REPLICA", "STATE", "PORT", "PID", "RESTARTS", "REASON"),
                (_replica_row(one.status) for one in replicas),
            )
            _rows(
                "Tasks",
                ("ATTEMPT", "STATE", "CORE IDS"),
                ((t.attempt_id, t.state.value, format_cores(t.cores) or "-") for t in tasks),
            )
    if output == "json":
        print_json(documents)


def _known(found: Sequence[object], kind: str, name: str) -> None:
    if not found:
        raise NotFound(f"{kind} {name!r} is unknown; `tango get {kind}s` lists those there are")


def show_service(view: ServiceView) -> None:
    """One service at one site."""
    spec, counts = view.spec, view.counts
    rejected = f"{counts.rejected} rejected, {counts.failed} failed"
    _facts(
        ("Service", spec.name),
        ("Site", view.edge),
        ("Command", " ".join(spec.argv)),
        ("Generation", str(view.generation)),
        ("Replicas", f"{view.ready} ready of {spec.replicas}"),
        ("Reason", view.reason),
        ("Deadline", f"{spec.deadline_s * 1000:g} ms (timeout {spec.timeout_s * 1000:g} ms)"),
        ("Per request", f"{format_cpu(spec.cpu_per_request_millis)} CPU"),
        ("Concurrency", f"{spec.concurrency} a replica"),
        ("Memory", f"{format_memory(spec.memory_bytes)} a replica"),
        ("Images", ", ".join(spec.images)),
        *_terms_facts(spec.terms),
        ("Now", f"{view.queued} queued, {view.in_flight} in flight"),
        ("Published", f"{view.published} slots set aside" if view.published else ""),
        ("Service time", f"{view.service_time_ms:.2f} ms"),
        (
            "Requests",
            f"{counts.sent} sent: {counts.completed} in time, {counts.late} late, {rejected}",
        ),
    )
    if view.qos:
        _rows(
            "Re-assurance",
            ("NODE", "CPU PER REQUEST", "SLACK", "LATENCY", "WHY"),
            (
                (
                    qos.node,
                    format_cpu(qos.cpu_per_request_millis),
                    f"{qos.slack:.2f}" if qos.samples else "-",
                    f"{qos.latency_ms:.2f} ms" if qos.samples else "-",
                    qos.why,
                )
                for qos in view.qos
            ),
        )
    _rows(
        "Replicas",
        ("REPLICA", "STATE", "PORT", "PID", "RESTARTS", "REASON", "NODE", "GENERATION"),
        (
            (*_replica_row(one.status), one.node or "-", str(one.status.generation))
            for one in view.replicas
        ),
    )


def _replica_row(status: ReplicaStatus) -> tuple[str, ...]:
    return (
        status.replica_id,
        status.state.value,
        str(status.port or "-"),
        str(status.pid or "-"),
        str(status.restarts),
        status.reason,
    )


def show_job(job: JobRecord) -> None:
    """One job with its tasks."""
    spec = job.spec
    _facts(
        ("Job", job.job_id),
        ("State", job.state.value),
        ("Reason", job.reason),
        ("Priority", str(spec.priority)),
        ("Retries", f"{spec.retries}, after {spec.backoff_s:g} s, doubling"),
        ("Submitted", _when(job.submitted_at)),
        ("Started", _when(job.started_at)),
        ("Ended", _when(job.ended_at)),
    )
    for task, record in zip(spec.tasks, job.tasks, strict=True):
        click.echo()
        _facts(
            ("Task", task.name),
            ("Command", " ".join(task.argv)),
            ("Asks for", _asked(task)),
            *_terms_facts(task.terms),
            *_wanted_facts(task, record),
            *_task_facts(record),
        )


def _asked(task: TaskSpec) -> str:
    text = f"{format_cpu(task.cpu_millis)} CPU, {format_memory(task.memory_bytes)}"
    if task.cpuset:
        text += f", core {format_cores(task.cpuset)}"
    elif task.cores:
        text += f", {task.cores} core{'s' if task.cores > 1 else ''} of its own"
    if task.ports:
        text += f", {ports_text(task.ports)}"
    return text + (f", on node {task.node}" if task.node else "")


def _terms_facts(terms: NodeTerms | None) -> Facts:
    """What it says of nodes."""
    if terms is None:
        return ()
    prefers = (f"{one.text} ({weight:g})" for one, weight in terms.prefers)
    return (
        ("Requires", "; ".join(one.text for one in terms.requires)),
        ("Prefers", "; ".join(prefers)),
        ("Tolerates", "; ".join(one.text for one in terms.tolerations)),
    )


def _wanted_facts(task: TaskSpec, record: TaskRecord) -> Facts:
    """Images, a delay bound and a backup, where it names or asks for them."""
    near, backup = "", ""
    if task.near is not None:
        near = f"within {task.near.within_s * 1000:g} ms of {task.near.whom}"
    if task.backup and not record.state.ended:
        backup = f"on {record.backup}" if record.backup else "none yet"
    images = ", ".join(task.images)
    return ("Images", images), ("Near", near), ("Backup", backup), ("Warning", record.warning)


def _task_facts(record: TaskRecord) -> Facts:
    place = f"{record.node} of {record.edge}" if record.node else ""
    moved = record.moved
    if record.losses or record.evictions:
        moved = f"lost {format_count(record.losses, 'time')} with a node, "
        moved += f"evicted {format_count(record.evictions, 'time')}"
        moved += f"; the last time: {record.moved}"
    to = record.migration
    migrating = "" if to is None else f"with its state to {to.to_node} of {to.to_edge}"
    if to is not None and to.back:
        migrating = f"back with its state, for it did not get to {to.to_node}: {to.back}"
    end = f"exit code {record.exit_code}" if record.exit_code is not None else ""
    return (
        ("State", record.state.value),
        ("Reason", record.reason),
        ("Attempt", record.attempt_id),
        ("On", place),
        ("Cores", format_cores(record.cores)),
        ("Moved", moved),
        ("Being moved", record.evicting or migrating),
        ("Failures", str(record.failures) if record.failures else ""),
        ("End", f"signal {record.signal}" if record.signal else end),
        ("CPU time", f"{record.cpu_s:.2f} s"),
        ("Started", _when(record.started_at)),
        ("Ended", _when(record.ended_at)),
    )


def show_node(node: NodeView, images: NodeImages | None = None) -> None:
    """One node. images: what its engine holds, None where it reports none."""
    report = node.report
    usage = []
    if report is not None:
        counted = tables.measured(node)
        usage = [
            (
                f"{side} uses",
                f"{used.cpu_millis}m CPU, {format_memory(used.memory_bytes)}"
                if counted
                else "unknown: without control groups nobody counts it",
            )
            for side, used in (("LC", report.lc), ("BE", report.be))
        ]
        usage += [
            ("Mismatch", f"{one.group} {one.field}: wanted {one.wanted}, found {one.found}")
            for one in report.mismatches
        ]
    capacity = node.capacity
    _facts(
        ("Node", node.node),
        ("Site", node.edge),
        ("Status", tables.node_status(node)),
        ("Problem", report.problem if report is not None else ""),
        ("Enforcement", tables.enforcement(node)),
        (
            "Capacity",
            f"{format_cpu(capacity.cpu_millis)} CPU, {format_memory(capacity.memory_bytes)}",
        ),
        ("LC holds", f"{node.lc_held_millis}m CPU, {format_memory(node.lc_memory_bytes)}"),
        ("BE holds", f"{node.be_held_millis}m CPU, {format_memory(node.be_memory_bytes)}"),
        ("Cores", tables.cores(node)),
        ("Fixed ports", _ports(node)),
        ("Serves", ", ".join(node.services)),
        ("Reserved", _reserved(node)),
        *usage,
        ("Checkpoints", tables.checkpoints(node)),
        ("Images", held_images(images)),
        ("Saturated", ", ".join(node.saturated)),
        ("Labels", ", ".join(f"{key}={value}" for key, value in node.labels)),
        ("Taints", ", ".join(taint.text for taint in node.taints)),
    )


def _reserved(node: NodeView) -> str:
    if not node.reserved_millis and not node.reserved_bytes:
        return ""
    ports = f", {ports_text(node.reserved_ports)}" if node.reserved_ports else ""
    size = f"{node.reserved_millis}m CPU, {format_memory(node.reserved_bytes)}"
    return f"{size}{ports} for backups of tasks"


def _ports(node: NodeView) -> str:
    """Those that are taken."""
    sides = (("LC", node.lc_ports), ("BE", node.be_ports))
    return "; ".join(f"{side} has {ports_text(ports)}" for side, ports in sides if ports)


def show_edge(edge: EdgeView, services: Sequence[ServiceView]) -> None:
    """One site."""
    _facts(
        ("Edge", edge.edge),
        ("Address", edge.address),
        ("Status", "connected" if edge.connected else "not connected"),
        ("Version", edge.version),
    )
    click.echo()
    tables.show(tables.nodes_table(edge.nodes))
    click.echo()
    tables.show(tables.services_table(services, edge.nodes))


def _facts(*facts: tuple[str, str]) -> None:
    """Name and value, one a line; what is empty is left out."""
    for name, value in facts:
        if value:
            click.echo(f"{name + ':':<14}{value}")


def _rows(title: str, headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    found = list(rows)
    click.echo()
    if not found:
        click.echo(f"{title}: none")
        return
    tables.show(tables.table(headings, [[escape(cell) for cell in row] for row in found]))


def _when(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at)) if at else ""
