"""Live pictures of a cluster: nodes with bars of CPU, services with rates, counts of jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console, Group, RenderableType
from rich.text import Text

from tango.cli.report_view import milliseconds, plain_table
from tango.model.cluster import NodeView
from tango.model.units import format_memory
from tango.model.views import JobCounts, ServiceView
from tango.sdk.observe import ClusterSnapshot, ServiceRate
from tango.workload.latency import LatencySummary
from tango.workload.timeline import NodeSecond

BAR_CELLS, NARROW_BAR_CELLS = 24, 12
# Below so many columns the less urgent figures are left out.
WIDE_COLUMNS = 112
_LC, _BE, _FREE = "bold blue", "yellow", "bright_black"
# What marks services, batch jobs and free CPU; the second where the terminal knows ASCII only.
_MARKS = (("█", "▒", "·"), ("#", "=", "."))


class Panels:
    """Draws snapshots as wide as the console is at that moment; 80 columns are enough."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._marks = _MARKS[console.options.ascii_only]

    def draw(
        self,
        heading: str,
        snapshot: ClusterSnapshot,
        cpu: Mapping[str, NodeSecond],
        rates: Mapping[tuple[str, str], ServiceRate],
        latencies: Mapping[str, LatencySummary] | None = None,
    ) -> RenderableType:
        """The whole picture.

        cpu: by node, as CpuMeter measured it. latencies: by service as a client measured them;
        without any, the time that replicas took is shown.
        """
        wide = self._console.width >= WIDE_COLUMNS
        parts: list[RenderableType] = [Text(heading, style="bold"), Text()]
        parts += [self._nodes(snapshot.nodes, cpu, wide=wide), Text()]
        if snapshot.services:
            parts += [_services(snapshot.services, rates, latencies, wide=wide), Text()]
        if snapshot.jobs is not None:
            parts.append(Text(f"BATCH JOBS  {jobs_words(snapshot.jobs)}"))
        parts += [
            Text(f"AWAY  {who}: {why}", style="bold red") for who, why in snapshot.away.items()
        ]
        return Group(*parts)

    def _nodes(
        self, nodes: Sequence[NodeView], cpu: Mapping[str, NodeSecond], *, wide: bool
    ) -> RenderableType:
        if not nodes:
            return Text("no node has been seen")
        lc, be, _ = self._marks
        made = plain_table(
            "NODE", "SITE", f"CPU: services {lc} batch {be}", "SERVICES", "BATCH", "OF",
            "IN FLIGHT", "TASKS", *(["MEMORY"] if wide else []),
        )  # fmt: skip
        made.columns[1].justify = made.columns[2].justify = "left"
        for node in nodes:
            report = node.report
            use = cpu.get(node.node)
            if not node.ready:
                made.add_row(node.node, node.edge, Text("not connected", style="bold red"))
                continue
            memory = report.lc.memory_bytes + report.be.memory_bytes if report else None
            made.add_row(
                node.node,
                node.edge,
                self._bar(use, node.capacity.cpu_millis, BAR_CELLS if wide else NARROW_BAR_CELLS),
                f"{use.lc_cpu_millis:.0f}m" if use else "-",
                f"{use.be_cpu_millis:.0f}m" if use else "-",
                f"{node.capacity.cpu_millis}m",
                str(report.in_flight) if report else "-",
                str(report.be_tasks) if report else "-",
                *([format_memory(memory) if memory is not None else "-"] if wide else []),
            )
        return made

    def _bar(self, use: NodeSecond | None, capacity_millis: int, cells: int) -> Text:
        """Nodes that share cores by weight may use more than their own: then the bar is full."""
        if use is None:
            return Text("-")
        used = use.lc_cpu_millis + use.be_cpu_millis
        whole = max(capacity_millis, used, 1)
        lc = round(cells * use.lc_cpu_millis / whole)
        be = min(round(cells * use.be_cpu_millis / whole), cells - lc)
        marks = self._marks
        return Text.assemble(
            (marks[0] * lc, _LC),
            (marks[1] * be, _BE),
            (marks[2] * (cells - lc - be), _FREE),
            f" {100 * used / max(capacity_millis, 1):3.0f} %",
        )


def _services(
    services: Sequence[ServiceView],
    rates: Mapping[tuple[str, str], ServiceRate],
    latencies: Mapping[str, LatencySummary] | None,
    *,
    wide: bool,
) -> RenderableType:
    measured = ("p50", "p99") if latencies is not None else ("TIME",)
    extra = ("DEADLINE", "QUEUED", "IN FLIGHT") if wide else ()
    made = plain_table(
        "SERVICE", "SITE", "READY", "RATE", "IN TIME", *measured, "LATE", "REJECTED", "FAILED",
        *extra, gap=2 if wide else 1,
    )  # fmt: skip
    made.columns[1].justify = "left"
    for view in sorted(services, key=lambda view: (view.spec.name, view.edge)):
        rate = rates.get((view.edge, view.spec.name))
        in_time = rate.in_time_share if rate is not None else None
        if latencies is not None:
            latency = latencies.get(view.spec.name, LatencySummary())
            times = [milliseconds(latency.p50), milliseconds(latency.p99)]
        else:
            times = [milliseconds(view.service_time_ms or None)]
        short = view.ready < view.spec.replicas
        cells: list[str | Text] = [
            view.spec.name,
            view.edge,
            Text(f"{view.ready}/{view.spec.replicas}", style="bold red" if short else ""),
            f"{rate.sent_per_s:.1f}/s" if rate is not None else "-",
            f"{100 * in_time:.1f} %" if in_time is not None else "-",
            *times,
            f"{view.counts.late:,}",
            f"{view.counts.rejected:,}",
            f"{view.counts.failed:,}",
        ]
        if wide:
            cells += [
                f"{view.spec.deadline_s * 1000:g} ms",
                str(view.queued),
                str(view.in_flight),
            ]
        made.add_row(*cells)
    return made


def jobs_words(jobs: JobCounts) -> str:
    """Counts in one line; what there is none of may be left out."""
    parts = [
        f"{jobs.pending + jobs.scheduled:,} waiting",
        f"{jobs.running:,} running",
        f"{jobs.succeeded:,} succeeded",
        f"{jobs.failed:,} failed",
    ]
    if jobs.cancelled:
        parts.append(f"{jobs.cancelled:,} cancelled")
    return ", ".join(parts)
