"""Draws the runs of `tango bench colocation`: latency and best-effort work of each mode."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tango.cli.figure_file import check_plot, save_figure

if TYPE_CHECKING:
    from tango.cli.benches.colocation_node import RunFigures

# Okabe & Ito (2008).
_BLUE, _ORANGE, _GREEN = "#0072B2", "#E69F00", "#009E73"


def write_colocation_plot(
    runs: Mapping[str, Sequence[RunFigures]], path: Path, load: str, deadline_ms: float
) -> None:
    """Medians as bars, every run as a dot. Raises InvalidField as save_figure does."""
    check_plot(path)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.5), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    figure.suptitle(f"A service and best-effort work on one core ({load})")
    names = list(runs)
    series = (
        ("p50", [[run.lc_p50_ms for run in runs[name]] for name in names], _BLUE),
        ("p99", [[run.lc_p99_ms for run in runs[name]] for name in names], _ORANGE),
    )
    width = 0.38
    for index, (label, values, colour) in enumerate(series):
        places = [place + (index - 0.5) * width for place in range(len(names))]
        medians = [statistics.median(each) for each in values]
        left.bar(places, medians, width, color=colour, label=f"{label}, median of runs")
        for place, each in zip(places, values, strict=True):
            left.plot([place] * len(each), each, "o", color="black", markersize=2.5)
    left.set_ylabel("latency of the service, ms")
    left.set_yscale("log")
    left.axhline(deadline_ms, color="#666666", linestyle="--", linewidth=1)
    left.annotate(
        "deadline", (0, deadline_ms), xytext=(2, 2), textcoords="offset points", fontsize=8
    )
    left.legend(fontsize=8)
    work = [[run.be_work for run in runs[name]] for name in names]
    right.bar(range(len(names)), [statistics.median(each) for each in work], color=_GREEN)
    for place, each in enumerate(work):
        right.plot([place] * len(each), each, "o", color="black", markersize=2.5)
    right.set_ylabel("best-effort work, blocks of 16 KiB a second")
    for axes in (left, right):
        axes.set_xticks(range(len(names)), names, rotation=20, ha="right")
    save_figure(figure, path)
