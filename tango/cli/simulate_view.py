"""What `tango simulate` prints at its end: one run's tables, or all variants side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Group as Lines
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from tango.cli.report_view import (
    jobs_line,
    plain_table,
    reasons_lines,
    services_table,
    share,
)
from tango.cli.simulate_charts import group_words
from tango.cli.simulate_results import Ended, Group, Results
from tango.workload.comparison import BY_NAME
from tango.workload.intervals import Interval
from tango.workload.report import NodeReport

SHOWN_NODES = 16
COLUMNS = (
    ("qos", "IN TIME"),
    ("requests_per_s", "IN TIME/s"),
    ("utilisation", "CPU"),
    ("lc_utilisation", "LC CPU"),
    ("be_utilisation", "BE CPU"),
    ("jobs_per_min", "JOBS/min"),
    ("p95_ms", "p95 ms"),
    ("p99_ms", "p99 ms"),
)
RATIOS = COLUMNS[:3] + COLUMNS[5:7]


def results_view(results: Results) -> RenderableType:
    """Everything on one page; at its end what of traces was left out."""
    found = _of_runs(results)
    return Lines(found, Text(), *map(Text, results.notes)) if results.notes else found


def _of_runs(results: Results) -> RenderableType:
    if results.single is not None:
        return _run_view(results, results.single)
    parts: list[RenderableType] = []
    for group in results.groups:
        if results.compared(group):
            parts += [Text(group_words(group), style="bold"), compared_table(results, group)]
            ratios = ratios_table(results, group)
            if ratios is not None:
                parts += [Text(), Text(_ratio_words(results, group)), ratios]
            parts.append(Text())
    stopped = [Text(line) for line in results.stopped]
    if not parts:
        words = "No run came to its end: there is nothing to compare."
        return Lines(Text(words), *stopped)
    return Lines(*parts, *stopped, Text(_interval_words(results), style="dim"))


def _run_view(results: Results, ended: Ended) -> RenderableType:
    report = ended.report
    deadlines_ms = dict(results.deadlines_ms[ended.run.scenario])
    policies = f"{report.policies['traffic']}:{report.policies['batch']}"
    title = f"{ended.run}: {report.duration_s:g} s counted, routed and placed by {policies}"
    parts: list[RenderableType] = [
        Text(title, style="bold"),
        Text(),
        services_table(report, deadlines_ms),
        *(line for name, why in ended.reasons.items() for line in reasons_lines(name, why)),
        Text(),
        _nodes_view(report.nodes),
        Text(),
        Text(_cpu_words(ended.figures)),
        jobs_line(report.jobs),
    ]
    return Lines(*parts)


def _nodes_view(nodes: Mapping[str, NodeReport]) -> RenderableType:
    """The nodes, or of many the idlest and the busiest."""
    ranked = sorted(nodes.items(), key=lambda each: (-each[1].cpu_utilisation, each[0]))
    made = plain_table("NODE", "CPU", "SERVICES", "BATCH")
    many = len(ranked) > SHOWN_NODES
    shown = [*ranked[: SHOWN_NODES // 2], *ranked[-SHOWN_NODES // 2 :]] if many else sorted(ranked)
    for name, node in shown:
        used_s = node.lc_cpu_seconds + node.be_cpu_seconds
        offered_s = used_s / node.cpu_utilisation if node.cpu_utilisation else 0.0
        made.add_row(
            name,
            f"{100 * node.cpu_utilisation:.1f} %",
            share(node.lc_cpu_seconds, offered_s),
            share(node.be_cpu_seconds, offered_s),
        )
    if not many:
        return made
    half = SHOWN_NODES // 2
    return Lines(made, Text(f"the {half} busiest and the {half} idlest of {len(ranked):,} nodes"))


def _cpu_words(figures: Mapping[str, float]) -> str:
    if "utilisation" not in figures:
        return "CPU          nothing was counted"
    return (
        f"CPU          {100 * figures['utilisation']:.1f} % of all nodes: services "
        f"{100 * figures['lc_utilisation']:.1f} %, batch jobs {100 * figures['be_utilisation']:.1f}"
        f" %; {figures['requests_per_s']:,.1f} requests/s in time"
    )


def compared_table(results: Results, group: Group) -> Table:
    """A row for each variant, mean and half of the interval in each column."""
    compared = results.compared(group)
    made = _folding_table("POLICIES (LC:BE)", "SEEDS", *(heading for _, heading in COLUMNS))
    for each in compared:
        cells = [
            figure_words(name, each.figures[name]) if name in each.figures else "-"
            for name, _ in COLUMNS
        ]
        made.add_row(each.variant, str(len(each.seeds)), *cells)
    return made


def _folding_table(*headings: str) -> Table:
    """Cells take several lines where the terminal is narrow, rather than being cut."""
    made = plain_table(*headings)
    for column in made.columns:
        column.no_wrap, column.overflow = False, "fold"
    return made


def figure_words(name: str, found: Interval) -> str:
    """ "97.5 +-0.3 %"; without the interval where there is none."""
    percent = BY_NAME[name].share
    factor = 100.0 if percent else 1.0
    unit = " %" if percent else ""
    mean = _digits(found.mean * factor)
    if found.half is None:
        return f"{mean}{unit}"
    return f"{mean} ±{_digits(found.half * factor)}{unit}"


def ratios_table(results: Results, group: Group) -> Table | None:
    """The reference over each other variant; None where there is no other."""
    others = [each for each in results.compared(group) if each.ratios]
    if not others:
        return None
    made = _folding_table("", *(heading for _, heading in RATIOS))
    for each in others:
        cells = [ratio_words(each.ratios.get(name)) for name, _ in RATIOS]
        made.add_row(f"/ {each.variant}", *cells)
    return made


def ratio_words(found: Interval | None) -> str:
    """ "1.12 (1.08 to 1.16)", in which an interval without 1 is a difference."""
    if found is None:
        return "-"
    if found.low is None or found.high is None:
        return f"{found.mean:.3f}"
    return f"{found.mean:.3f} ({found.low:.3f} to {found.high:.3f})"


def _ratio_words(results: Results, group: Group) -> str:
    return f"{results.reference(group)} over each, seed by seed:"


def _interval_words(results: Results) -> str:
    most = max((len(each.seeds) for g in results.groups for each in results.compared(g)), default=0)
    if most < 2:
        return "One seed: how far chance goes is not known; --seeds 5 tells."
    return (
        "± is half of the 95 % interval of the mean over seeds (Student's t); a ratio whose "
        "interval holds 1 is no difference."
    )


def _digits(value: float) -> str:
    """Three digits or so."""
    size = abs(value)
    return f"{value:,.0f}" if size >= 1000 else f"{value:.1f}" if size >= 10 else f"{value:.2f}"


def problem_lines(ended: Sequence[Ended], most: int = 5) -> list[str]:
    """The first few things that went wrong in runs: services that were not accepted."""
    found = [f"{each.run}: {problem}" for each in ended for problem in each.problems]
    rest = [f"... and {len(found) - most} more"] if len(found) > most else []
    return found[:most] + rest
