"""The demo's last page: tables, a few plain sentences, and whether it showed what it should."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Group, RenderableType
from rich.text import Text

from tango.cli.demo_machine import MachineCpu
from tango.cli.report_view import (
    jobs_line,
    nodes_table,
    plain_table,
    reasons_lines,
    services_table,
    share,
)
from tango.model.cluster import Enforcement
from tango.sdk.load_record import RunRecord
from tango.workload.report import Report


def demo_view(report: Report, record: RunRecord, machine: MachineCpu) -> RenderableType:
    """Everything on one page."""
    reasons = [
        line for name in record.services for line in reasons_lines(name, record.services[name])
    ]
    parts: list[RenderableType] = [
        Text("REQUESTS to latency-critical services", style="bold blue"),
        services_table(report, record.deadlines_ms),
        Text("Times are what the client saw, from when a request was due until its answer: half of "
             "the answers came\nwithin p50, 95 % within p95, 99 % within p99.", style="dim"),
        *reasons,
        Text(),
        Text("CPU by the kernel's own counters, while the load ran", style="bold blue"),
        nodes_table(report.nodes, record.cpu_spans()),
        *_share_note(report),
        Text(),
        _machine_table(report, machine),
        Text(),
        jobs_line(report.jobs),
        Text(),
        Text(seen(report, record)),
    ]  # fmt: skip
    return Group(*parts)


def _share_note(report: Report) -> list[RenderableType]:
    if all(node.cpu_utilisation <= 1 for node in report.nodes.values()):
        return []
    words = (
        "More than 100 % is no error: the nodes share this machine's cores by weight, and may use "
        "what others leave."
    )
    return [Text(words, style="dim")]


def _machine_table(report: Report, machine: MachineCpu) -> RenderableType:
    lc_s = sum(node.lc_cpu_seconds for node in report.nodes.values())
    be_s = sum(node.be_cpu_seconds for node in report.nodes.values())
    others_s = max(0.0, machine.busy_s - lc_s - be_s)
    made = plain_table("THE MACHINE", "CPU TIME", "SHARE")
    for words, cpu_s in (
        ("services", lc_s),
        ("batch jobs", be_s),
        ("Tango's daemons, this client, other programs", others_s),
        ("idle", machine.idle_s),
    ):
        made.add_row(words, f"{cpu_s:.1f} s", share(cpu_s, machine.all_s))
    return made


def seen(report: Report, record: RunRecord) -> str:
    """What a newcomer should take from the figures."""
    counts = report.requests
    lc_s = sum(node.lc_cpu_seconds for node in report.nodes.values())
    be_s = sum(node.be_cpu_seconds for node in report.nodes.values())
    words = (
        f"What was seen: {share(counts.completed, counts.sent)} of {counts.sent:,} requests were "
        f"answered within their deadlines while batch jobs kept the same nodes busy: of the CPU "
        f"that the nodes used, services took {share(lc_s, lc_s + be_s)} and batch jobs "
        f"{share(be_s, lc_s + be_s)}."
    )
    enforcements = {node.enforcement for node in record.snapshot.nodes}
    if enforcements == {Enforcement.CGROUP}:
        return (
            f"{words}\nThe kernel lets batch jobs run only where services leave CPU: "
            f"{report.jobs.succeeded:,} jobs finished that way, without a core of their own."
        )
    return (
        f"{words}\nControl groups cannot be used here, so nothing but luck kept batch jobs from "
        "slowing the services: give Tango rights to a cgroup to see the difference."
    )


def shortcomings(report: Report, fed: str) -> list[str]:
    """Why the demo did not show what it is for; nothing where it did. fed: what hindered jobs."""
    counts = report.requests
    found = []
    ended = counts.completed + counts.late + counts.rejected + counts.failed
    if ended != counts.sent:
        found.append(f"{counts.sent:,} requests were sent, but {ended:,} ended")
    if not counts.completed:
        found.append("no request was answered in time")
    if not report.jobs.succeeded:
        found.append("no batch job succeeded" + (f" ({fed})" if fed else ""))
    if not report.nodes:
        found.append("no node reported its CPU")
    for name, node in sorted(report.nodes.items()):
        for who, used_s in _used(node.lc_cpu_seconds, node.be_cpu_seconds).items():
            if used_s <= 0:
                found.append(f"{who} used no CPU on node {name}")
    return found


def _used(lc_s: float, be_s: float) -> Mapping[str, float]:
    return {"services": lc_s, "batch jobs": be_s}
