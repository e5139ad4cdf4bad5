"""Draws a run's timeline: requests by outcome, latency per service, CPU per node.

matplotlib comes with the extra `plot` and is imported only when a plot is drawn. Figures
are made without pyplot, so that no window system is asked for and nothing stays open.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tango.cli.figure_file import check_plot, save_figure
from tango.workload.timeline import JobSecond, NodeSecond, ServiceSecond, Timeline

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.gridspec import SubplotSpec

MOST_SERVICES = 6
MOST_NODES = 8
_PER_ROW = 4

# Okabe & Ito, "Color Universal Design" (2008): told apart with any common colour blindness.
_BLUE, _ORANGE, _GREEN, _RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
_PINK, _SKY, _BLACK, _GREY = "#CC79A7", "#56B4E9", "#000000", "#BBBBBB"
_DARK = "#666666"
_OUTCOMES = {
    "completed": ("answered in time", _GREEN),
    "late": ("late", _ORANGE),
    "rejected": ("rejected", _PINK),
    "failed": ("failed", _RED),
}
_SERVICES = (_BLUE, _BLACK, _SKY, _PINK, _ORANGE, _GREEN)
_LC, _BE = _BLUE, _GREY
_DASHED = (0, (4, 2))


def write_plot(timeline: Timeline, path: Path) -> None:
    """Draw the timeline into `path`, as its name ends; it is there whole or not at all.

    Raises InvalidField as `check_plot` does, and where the file cannot be written.
    """
    check_plot(path)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7.0 + 1.6 * _node_rows(timeline)), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(timeline.title, fontsize=14, fontweight="bold", x=0.01, ha="left")
    _draw(figure, timeline)
    save_figure(figure, path)


def _draw(figure: Figure, timeline: Timeline) -> None:
    # The third row is a thin one, for the title above all nodes.
    heights = [2.6, 2.6, 0.01, 0.7 + 1.6 * _node_rows(timeline)]
    grid = figure.add_gridspec(4, 1, height_ratios=heights)
    requests = figure.add_subplot(grid[0])
    latency = figure.add_subplot(grid[1], sharex=requests)
    _draw_requests(requests, timeline)
    _draw_latency(latency, timeline)
    latency.set_xlabel("time since the start of the load (s)")
    for axes in (requests, latency):
        _finish(axes, timeline)
    _draw_nodes(figure, grid[2], grid[3], timeline)


def _draw_requests(axes: Axes, timeline: Timeline) -> None:
    counts = {
        name: [sum(getattr(each, name) for each in row.services.values()) for row in timeline.rows]
        for name in _OUTCOMES
    }
    sent = [sum(each.sent for each in row.services.values()) for row in timeline.rows]
    ended = sum(map(sum, counts.values()))
    in_time = _share(sum(counts["completed"]), ended)
    _title(axes, f"Requests: {sum(sent):,} sent, {in_time} answered in time")
    axes.set_ylabel("requests/s")
    if not ended:
        _nothing(axes, "no request ended")
        return
    edges = _edges(timeline)
    labels = [
        f"{words} ({_share(sum(counts[name]), ended)})" for name, (words, _) in _OUTCOMES.items()
    ]
    colours = [colour for _, colour in _OUTCOMES.values()]
    steps = [_steps(each) for each in counts.values()]
    axes.stackplot(edges, *steps, labels=labels, colors=colours, step="pre", lw=0)
    axes.plot(edges, _steps(sent), color=_BLACK, lw=1, label="sent", drawstyle="steps-pre")
    axes.set_ylim(bottom=0)
    _legend(axes, reverse=True)


def _draw_latency(axes: Axes, timeline: Timeline) -> None:
    from matplotlib.ticker import LogLocator

    totals = {
        name: sum(row.services[name].sent for row in timeline.rows if name in row.services)
        for name in timeline.service_names
    }
    busiest = sorted(totals, key=lambda name: (-totals[name], name))[:MOST_SERVICES]
    left_out = f" ({len(busiest)} busiest of {len(totals)})" if len(totals) > len(busiest) else ""
    _title(axes, f"Latency of answered requests, second by second{left_out}")
    axes.set_ylabel("latency (ms, log scale)")
    if not any(each.p99_ms for row in timeline.rows for each in row.services.values()):
        _nothing(axes, "no request was answered")
        return
    times = [row.t_s for row in timeline.rows]
    marker = "." if len(times) <= 150 else ""  # shows lone seconds between gaps
    for name, colour in zip(sorted(busiest), _SERVICES, strict=False):
        seconds = [row.services.get(name, ServiceSecond()) for row in timeline.rows]
        p50 = [_or_nan(each.p50_ms) for each in seconds]
        p99 = [_or_nan(each.p99_ms) for each in seconds]
        deadline = timeline.deadlines_ms.get(name)
        label = name if deadline is None else f"{name} (deadline {deadline:g} ms)"
        axes.plot(times, p99, color=colour, lw=1.8, marker=marker, ms=4, label=label)
        axes.plot(times, p50, color=colour, lw=0.8)
        axes.fill_between(times, p50, p99, color=colour, alpha=0.1, lw=0)
        if deadline is not None:
            axes.axhline(deadline, color=colour, lw=1.4, ls=_DASHED)
    # What the kinds of line mean, once for all services.
    axes.plot([], [], color=_DARK, lw=1.8, label="thick: p99")
    axes.plot([], [], color=_DARK, lw=0.8, label="thin: median (p50)")
    if timeline.deadlines_ms:
        axes.plot([], [], color=_DARK, lw=1.4, ls=_DASHED, label="dashed: deadline")
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_minor_formatter(lambda _value, _: "")
    _legend(axes)


def _draw_nodes(
    figure: Figure, heading: SubplotSpec, place: SubplotSpec, timeline: Timeline
) -> None:
    names = timeline.node_names
    shown = names[:MOST_NODES]
    left_out = f" (the first {MOST_NODES} of {len(names)})" if len(names) > MOST_NODES else ""
    title = figure.add_subplot(heading)
    title.axis("off")
    _title(title, f"CPU per node{left_out}. Batch jobs: {_jobs_in_words(timeline)}")
    if not shown:
        _nothing(figure.add_subplot(place), "no node was seen")
        return
    rows = _node_rows(timeline)
    columns = min(len(shown), _PER_ROW)
    grid = place.subgridspec(rows, columns)
    # Nodes that share cores by weight may use more than their own capacity.
    cores = [
        max(each.capacity_millis, each.lc_cpu_millis + each.be_cpu_millis) / 1000
        for row in timeline.rows
        for each in row.nodes.values()
    ]
    drawn: list[Axes] = []
    for at, name in enumerate(shown):
        row, column = divmod(at, columns)
        axes = figure.add_subplot(grid[row, column], sharey=drawn[0] if drawn else None)
        drawn.append(axes)
        _draw_node(axes, timeline, name)
        axes.set_title(name, fontsize=9, loc="left", pad=3)
        axes.set_ylim(0, max(cores) * 1.15 or 1)
        axes.tick_params(labelleft=column == 0)
        if column == 0:
            axes.set_ylabel("CPU (cores)")
        if at + columns >= len(shown):
            axes.set_xlabel("time (s)")
        _finish(axes, timeline)
    _legend(drawn[columns - 1], reverse=True)


def _draw_node(axes: Axes, timeline: Timeline, name: str) -> None:
    absent = NodeSecond(0.0, 0.0, 0)
    seconds = [row.nodes.get(name, absent) for row in timeline.rows]
    lc = _steps([each.lc_cpu_millis / 1000 for each in seconds])
    be = _steps([each.be_cpu_millis / 1000 for each in seconds])
    capacity = _steps([each.capacity_millis / 1000 or math.nan for each in seconds])
    edges = _edges(timeline)
    labels = ["services (LC)", "batch jobs (BE)"]
    axes.stackplot(edges, lc, be, labels=labels, colors=[_LC, _BE], step="pre", lw=0)
    axes.plot(edges, capacity, color=_BLACK, lw=1, ls=_DASHED, label="capacity")


def _node_rows(timeline: Timeline) -> int:
    return math.ceil(min(len(timeline.node_names), MOST_NODES) / _PER_ROW) or 1


def _edges(timeline: Timeline) -> list[float]:
    """Where seconds begin and end; `_steps` gives the heights that go with them."""
    times = [row.t_s for row in timeline.rows]
    return [max(0.0, times[0] - 1.0), *times]


def _steps(values: list[float] | list[int]) -> list[float]:
    return [values[0], *values]


def _jobs_in_words(timeline: Timeline) -> str:
    jobs = timeline.rows[-1].jobs if timeline.rows else JobSecond()
    parts = [f"{getattr(jobs, name):,} {name}" for name in ("succeeded", "running", "pending")]
    return ", ".join(parts + ([f"{jobs.failed:,} failed"] if jobs.failed else []))


def _title(axes: Axes, words: str) -> None:
    axes.set_title(words, fontsize=11, fontweight="bold", loc="left")


def _legend(axes: Axes, *, reverse: bool = False) -> None:
    """Right of the axes, so that it hides no data; reversed where the data is stacked."""
    style: dict[str, Any] = {"bbox_to_anchor": (1.005, 1.03), "frameon": False, "fontsize": 9}
    axes.legend(loc="upper left", reverse=reverse, **style)


def _finish(axes: Axes, timeline: Timeline) -> None:
    axes.set_xlim(0, timeline.rows[-1].t_s if timeline.rows else 1)
    axes.grid(visible=True, alpha=0.25)


def _nothing(axes: Axes, words: str) -> None:
    """An honest empty panel."""
    axes.text(0.5, 0.5, words, transform=axes.transAxes, ha="center", va="center", color=_DARK)
    axes.set_yticks([])


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "none"


def _or_nan(value: float | None) -> float:
    """A gap in the line where there is no value."""
    return math.nan if value is None else value
