"""A run's report for people: tables with a plain word beside each figure; and as a JSON file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from tango.cli.whole_file import whole_file
from tango.sdk.load_record import RunRecord
from tango.workload.latency import LatencySummary
from tango.workload.reasons import Reasons
from tango.workload.report import JobCounts, NodeReport, Report

SHOWN_REASONS = 3
PIPE_COLUMNS = 112
_MEANING = {
    "completed": ("in time", "answered within the deadline"),
    "late": ("late", "answered, but after the deadline"),
    "rejected": ("rejected", "refused at once by the edge, which saw that it would be late"),
    "failed": ("failed", "no answer, or an error for an answer"),
}


def write_report(report: Report, path: Path) -> None:
    """The report as JSON; the file is there whole or not at all. Raises InvalidField."""
    with whole_file(path, "report") as part:
        part.write_text(json.dumps(report.to_dict(), indent=2) + "\n", encoding="utf-8")


def print_view(view: RenderableType, pipe_columns: int = PIPE_COLUMNS) -> None:
    """On standard output; a pipe gets the full width so that nothing is cut."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=pipe_columns)
    console.print(view)


def share(part: float, whole: float) -> str:
    """ "12.3 %", or "-" of nothing."""
    return f"{100 * part / whole:.1f} %" if whole else "-"


def milliseconds(value: float | None) -> str:
    """To three digits or so; "-" where there was no answer."""
    if value is None:
        return "-"
    return f"{value:.1f} ms" if value < 100 else f"{value:,.0f} ms"


def seconds(value: float) -> str:
    """Two digits behind the point where they matter."""
    return f"{value:.2f} s" if value < 10 else f"{value:,.1f} s"


def plain_table(*headings: str, gap: int = 2) -> Table:
    """The first column to the left, figures to the right, `gap` blanks between, no lines."""
    made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, gap, 0, 0))
    for index, heading in enumerate(headings):
        made.add_column(heading, justify="left" if index == 0 else "right", no_wrap=True)
    return made


def outcomes_table(name: str, report: Report) -> RenderableType:
    """One service's requests by outcome, each explained, and its latencies."""
    service = report.services[name]
    counts = service.requests
    made = plain_table("REQUESTS", "NUMBER", "SHARE", "")
    made.columns[3].justify = "left"
    made.columns[3].no_wrap = False
    for field, (word, meaning) in _MEANING.items():
        number = getattr(counts, field)
        made.add_row(word, f"{number:,}", share(number, counts.sent), meaning)
    made.add_row("sent", f"{counts.sent:,}", share(counts.sent, counts.sent), "")
    return Group(made, Text(), latency_line(service.latency_ms))


def latency_line(latency: LatencySummary) -> Text:
    """Percentiles, and what they are."""
    if latency.p50 is None:
        return Text("LATENCY   no request was answered")
    return Text(
        f"LATENCY   p50 {milliseconds(latency.p50)}   p95 {milliseconds(latency.p95)}   "
        f"p99 {milliseconds(latency.p99)}   slowest {milliseconds(latency.max)}\n"
        "          from when a request was due until its answer; half of the answers came within "
        "p50,\n          95 % within p95, 99 % within p99"
    )


def services_table(report: Report, deadlines_ms: Mapping[str, float]) -> Table:
    """All services of a run, a row each, in the order of deadlines_ms."""
    made = plain_table(
        "SERVICE", "DEADLINE", "SENT", "IN TIME", "LATE", "REJECTED", "FAILED",
        "p50", "p95", "p99",
    )  # fmt: skip
    for name, deadline_ms in deadlines_ms.items():
        service = report.services[name]
        counts, latency = service.requests, service.latency_ms
        made.add_row(
            name,
            f"{deadline_ms:g} ms",
            f"{counts.sent:,}",
            f"{counts.completed:,} ({share(counts.completed, counts.sent)})",
            f"{counts.late:,}",
            f"{counts.rejected:,}",
            f"{counts.failed:,}",
            milliseconds(latency.p50),
            milliseconds(latency.p95),
            milliseconds(latency.p99),
        )
    return made


def nodes_table(nodes: Mapping[str, NodeReport], spans: Mapping[str, tuple[int, float]]) -> Table:
    """CPU per node: what its share gave, what both classes used of it.

    spans: capacity in millicores and seconds of measuring by node, see RunRecord.cpu_spans.
    """
    made = plain_table("NODE", "CPU SHARE", "SERVICES USED", "BATCH USED", "TOGETHER", "UNUSED")
    for name, node in sorted(nodes.items()):
        millis, span_s = spans[name]
        offered_s = millis / 1000 * span_s
        used_s = node.lc_cpu_seconds + node.be_cpu_seconds
        made.add_row(
            name,
            f"{millis / 1000:.2f} cores",
            f"{seconds(node.lc_cpu_seconds)} ({share(node.lc_cpu_seconds, offered_s)})",
            f"{seconds(node.be_cpu_seconds)} ({share(node.be_cpu_seconds, offered_s)})",
            share(used_s, offered_s),
            share(max(0.0, offered_s - used_s), offered_s),
        )
    return made


def jobs_line(jobs: JobCounts) -> Text:
    """Batch jobs in words."""
    rest = jobs.submitted - jobs.succeeded - jobs.failed
    parts = [
        f"{jobs.submitted:,} in all",
        f"{jobs.succeeded:,} succeeded",
        f"{jobs.failed:,} failed",
    ]
    if rest:
        parts.append(f"{rest:,} not finished")
    cpu = f"; tasks that ended used {seconds(jobs.cpu_seconds)} of CPU" if jobs.cpu_seconds else ""
    return Text(f"BATCH JOBS   {', '.join(parts)}{cpu}")


def reasons_lines(name: str, reasons: Reasons) -> list[Text]:
    """The most frequent reasons of what was rejected or failed."""
    return [
        Text(f"{name}: {count:,} x {reason}")
        for reason, count in reasons.most_common(SHOWN_REASONS)
    ]


def load_view(report: Report, record: RunRecord, where: str) -> RenderableType:
    """What `tango load` prints at its end."""
    parts: list[RenderableType] = []
    for name, deadline_ms in record.deadlines_ms.items():
        sent = report.services[name].requests.sent
        rate = sent / report.duration_s if report.duration_s > 0 else 0.0
        parts += [
            Text(
                f"{name}: {sent:,} requests in {report.duration_s:.1f} s ({rate:.1f}/s) "
                f"to {where}; deadline {deadline_ms:g} ms",
                style="bold",
            ),
            Text(),
            outcomes_table(name, report),
            *reasons_lines("why", record.services[name].reasons),
            Text(),
        ]
    if report.nodes:
        parts += [nodes_table(report.nodes, record.cpu_spans()), Text()]
    if report.jobs.submitted:
        parts.append(jobs_line(report.jobs))
    return Group(*parts)
