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
    seconds,
    services_table,
    share,
)
from tango.model.cluster import Enforcement
from tango.sdk.load_record import RunRecord
from tango.workload.report import Report

# Share of the machine taken by others from which on the figures need a word of warning.
BUSY_SHARE = 0.15


def demo_view(report: Report, record: RunRecord, machine: MachineCpu) -> RenderableType:
    """Everything on one page."""
    reasons = [
        line for name, one in record.services.items() for line in reasons_lines(name, one.reasons)
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
        Text(seen(report, record, machine)),
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
    lc_s, be_s = _payload(report)
    made = plain_table("THE MACHINE", "CPU TIME", "SHARE")
    for words, cpu_s in (
        ("services", lc_s),
        ("batch jobs", be_s),
        ("Tango's daemons", machine.daemons_s),
        ("this client", machine.client_s),
        ("other programs", _others_s(report, machine)),
        ("idle", machine.idle_s),
    ):
        made.add_row(words, seconds(cpu_s), share(cpu_s, machine.all_s))
    return made


def _payload(report: Report) -> tuple[float, float]:
    nodes = report.nodes.values()
    return sum(node.lc_cpu_seconds for node in nodes), sum(node.be_cpu_seconds for node in nodes)


def _others_s(report: Report, machine: MachineCpu) -> float:
    known_s = sum(_payload(report)) + machine.daemons_s + machine.client_s
    return max(0.0, machine.busy_s - known_s)


def seen(report: Report, record: RunRecord, machine: MachineCpu) -> str:
    """What a newcomer should take from the figures."""
    counts = report.requests
    lc_s, be_s = _payload(report)
    answered = (
        f"What was seen: {share(counts.completed, counts.sent)} of {counts.sent:,} requests were "
        "answered within their deadlines, while batch jobs kept the same nodes busy: of the CPU "
        f"that the nodes used, services took {share(lc_s, lc_s + be_s)} and batch jobs "
        f"{share(be_s, lc_s + be_s)}."
    )
    sentences = [answered]
    if {node.enforcement for node in record.snapshot.nodes} == {Enforcement.CGROUP}:
        sentences.append(
            "On each node the kernel puts services first and gives batch jobs what they leave: "
            f"{report.jobs.succeeded:,} jobs finished that way, without a core of their own."
        )
    elif {node.enforcement for node in record.snapshot.nodes} == {Enforcement.PRIORITY}:
        sentences.append(
            "Without rights to control groups, batch jobs ran at the lowest priority: "
            f"{report.jobs.succeeded:,} finished on what services left."
        )
    else:
        sentences.append(
            "Control groups cannot be used here, so nothing but luck kept batch jobs from slowing "
            "the services: give Tango rights to a cgroup to see the difference."
        )
    others_s = _others_s(report, machine)
    if others_s > BUSY_SHARE * machine.all_s:
        sentences.append(
            f"Other programs took {share(others_s, machine.all_s)} of this machine meanwhile: on a "
            "quiet one these figures are better."
        )
    return "\n".join(sentences)


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
