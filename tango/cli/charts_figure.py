"""Charts as one picture, by matplotlib, which the extra `plot` brings; made without pyplot."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tango.cli.charts import (
    LIGHT,
    PLAIN,
    STROKES,
    Axis,
    Chart,
    Dots,
    Line,
    Picture,
    Stroke,
    aside,
    from_zero,
    linear_axis,
    stacked,
    stroke,
    tick_words,
    x_axis,
    y_axis,
)
from tango.cli.figure_file import check_plot, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH_IN = 11.0
CHART_IN, ROW_IN = 3.1, 0.24
_DASHED = (0, (4, 2))


def write_pictures(title: str, pictures: Sequence[Picture], path: Path) -> None:
    """Draw them below one another, as the name ends; the file is there whole or not at all.

    Raises InvalidField.
    """
    check_plot(path)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    heights = [
        1.0 + ROW_IN * len(each.dots) if isinstance(each, Dots) else CHART_IN for each in pictures
    ]
    figure = Figure(figsize=(WIDTH_IN, sum(heights) + 0.6), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=14, fontweight="bold", x=0.01, ha="left")
    grid = figure.add_gridspec(len(pictures), 1, height_ratios=heights)
    for at, each in enumerate(pictures):
        axes = figure.add_subplot(grid[at])
        axes.set_title(each.title, fontsize=11, fontweight="bold", loc="left")
        if each.empty:
            axes.text(0.5, 0.5, "nothing to show", transform=axes.transAxes, ha="center")
            axes.set_yticks([])
        elif isinstance(each, Dots):
            _draw_dots(axes, each)
        else:
            _draw_chart(axes, each)
    save_figure(figure, path)


def _draw_chart(axes: Axes, chart: Chart) -> None:
    across, up = x_axis(chart), y_axis(chart)
    if chart.log_x:
        axes.set_xscale("log")
    if chart.log_y:
        axes.set_yscale("log")
    below: list[float] = []
    for line, ys in stacked(chart):
        if line.area:
            floor = below or [0.0] * len(ys)
            xs = _since(line)
            tops = [y or 0.0 for y in ys]
            axes.fill_between(
                xs, [*floor[:1], *floor], [*tops[:1], *tops], step="pre", lw=0,
                color=LIGHT[line.colour], alpha=0.75, label=line.name,
            )  # fmt: skip
            below = tops
    for line in chart.lines:
        if not line.area:
            moved = aside(chart, line) * (across.high - across.low)
            kind = stroke(chart, line)
            _draw_line(axes, line, PLAIN if kind is None else STROKES[kind], moved, up.high)
    for at, rule in enumerate(sorted(chart.rules)):
        axes.axvline(rule.at, color=LIGHT[rule.colour], lw=1.2, ls=_DASHED)
        place = (rule.at, 0.05 + 0.1 * (len(chart.rules) - 1 - at))
        box = {"facecolor": "white", "alpha": 0.8, "lw": 0, "pad": 1}
        late = across.place(rule.at) > 0.8
        axes.annotate(
            rule.words, place, (-5 if late else 5, 0), xycoords=("data", "axes fraction"),
            textcoords="offset points", fontsize=8, va="bottom", ha="right" if late else "left",
            bbox=box,
        )  # fmt: skip
    axes.set_xlim(across.low, across.high)
    # Room for a line that runs along the top.
    axes.set_ylim(up.low, up.high * 1.02)
    _ticks(axes, across, up, share=chart.share)
    axes.set_xlabel(chart.x_label)
    axes.set_ylabel(chart.y_label)
    axes.grid(visible=True, alpha=0.25)
    axes.legend(loc="upper left", bbox_to_anchor=(1.005, 1.03), frameon=False, fontsize=9)


def _draw_line(axes: Axes, line: Line, kind: Stroke, moved: float, most: float) -> None:
    colour = LIGHT[line.colour]
    ys = [math.nan if y is None else y for y in line.ys]
    few = len(ys) <= 12 and not line.steps
    axes.plot(
        _since(line) if line.steps else [x + moved for x in line.xs],
        [*ys[:1], *ys] if line.steps else ys,
        color=colour, lw=0.8 * kind.width, label=line.name,
        ls=(0, tuple(each / kind.width for each in kind.dashes)) if kind.dashes else "-",
        drawstyle="steps-pre" if line.steps else "default",
        # Outlines show through one another where points are equal.
        marker=kind.mark if few else "", ms=4 if kind.mark == "o" else 7,
        mfc=colour if kind.mark == "o" else "none",
    )  # fmt: skip
    bars = [
        (x + moved, max(low, 0.0), min(high, most))
        for x, low, high in zip(line.xs, line.low, line.high, strict=False)
        if low is not None and high is not None
    ]
    for x, low, high in bars:
        axes.plot([x, x], [low, high], color=colour, lw=1.1, marker="_", ms=7)


def _since(line: Line) -> list[float]:
    """Where steps begin and end."""
    return [min(0.0, line.xs[0]), *line.xs]


def _draw_dots(axes: Axes, dots: Dots) -> None:
    highest = max(dot.high if dot.high is not None else dot.mean for dot in dots.dots)
    axis = linear_axis(0.0, 1.0) if dots.share and highest > 0.5 else from_zero(highest)
    places = list(range(len(dots.dots)))[::-1]
    for at, dot in zip(places, dots.dots, strict=True):
        colour = LIGHT[dot.colour]
        if dot.low is not None and dot.high is not None:
            axes.plot([max(dot.low, 0.0), dot.high], [at, at], color=colour, lw=1.4, marker="|")
        axes.plot([dot.mean], [at], color=colour, marker="o", ms=6)
        words = f"{100 * dot.mean:.1f} %" if dots.share else tick_words(dot.mean, share=False)
        axes.annotate(
            f"  {words}", (1.0, at), xycoords=("axes fraction", "data"), va="center", fontsize=8
        )
    axes.set_yticks(places, [dot.name for dot in dots.dots], fontsize=8)
    axes.set_ylim(-0.6, len(places) - 0.4)
    axes.set_xlim(0, axis.high * 1.01)
    axes.set_xticks(axis.ticks, [tick_words(tick, share=dots.share) for tick in axis.ticks])
    axes.set_xlabel(dots.x_label)
    axes.grid(visible=True, axis="x", alpha=0.25)


def _ticks(axes: Axes, across: Axis, up: Axis, *, share: bool) -> None:
    axes.set_xticks(across.ticks, [tick_words(tick, share=False) for tick in across.ticks])
    axes.set_yticks(up.ticks, [tick_words(tick, share=share) for tick in up.ticks])
    axes.minorticks_off()
