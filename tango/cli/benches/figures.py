"""What all benchmarks share: their options, the table for people, the JSON for programs."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from tango.cli.compiled import compiled
from tango.cli.tables import show, table
from tango.model.errors import InvalidField, TangoError

F = TypeVar("F", bound=Callable[..., Any])
Figures = dict[str, float | int | str]


class BenchFailed(TangoError):
    """What was measured did not work: figures of it would say nothing."""


def bench_options(function: F) -> F:
    """--report FILE and --seed N."""
    function = click.option(
        "--report", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures here."
    )(function)
    return click.option("--seed", default=1, show_default=True, help="Of arrival times and order.")(
        function
    )


def check_report(report: Path | None) -> None:
    """Raise InvalidField before minutes of measuring rather than after them."""
    if report is not None and not os.access(report.resolve().parent, os.W_OK | os.X_OK):
        raise InvalidField("--report", f"cannot write to {report.resolve().parent}", "make it")


def machine() -> str:
    """Where the figures were taken, in one line."""
    model = ""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = " ".join(line.partition(":")[2].split()) + ", "
            break
    cores = len(os.sched_getaffinity(0))
    return (
        f"{cores} cores, {model}{platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}{', hot modules compiled' if compiled() else ''}"
    )


def conclude(
    figures: Mapping[str, float | int | str],
    rows: Sequence[tuple[str, str, str]],
    report: Path | None,
    *,
    seed: int,
    duration_s: float,
) -> None:
    """Print the rows (what, measured, wanted), write all figures.

    duration_s: of everything that was measured, without start and stop.
    """
    show(table(("FIGURE", "MEASURED", "WANTED"), rows))
    if report is None:
        return
    content = {
        **{key: round(value, 4) if isinstance(value, float) else value
           for key, value in figures.items()},
        "seed": seed,
        "duration_s": round(duration_s, 3),
        "machine": machine(),
    }  # fmt: skip
    try:
        report.write_text(json.dumps(content, indent=2) + "\n")
    except OSError as error:
        raise InvalidField("--report", f"cannot write {report}: {error.strerror}") from error
