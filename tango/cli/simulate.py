"""`tango simulate`: scenarios on a virtual clock, alone or side by side; recordings again."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import click
from rich.text import Text

from tango.cli.progress import Progress
from tango.cli.report_view import print_view
from tango.cli.simulate_before import look_ahead
from tango.cli.simulate_outputs import Outputs
from tango.cli.simulate_plan import ABLATIONS, Run, plan, with_logs
from tango.cli.simulate_replay import replay_recording
from tango.cli.simulate_results import Results
from tango.cli.simulate_runs import Stop, make_all
from tango.cli.simulate_view import problem_lines, results_view
from tango.model.errors import InvalidField
from tango.sim.outcome import Progress as Told
from tango.sim.scenario_fields import BadRows
from tango.sim.scenario_file import Change, ScenarioFile, parse_change

INTERRUPTED = 130
# Many figures with intervals stand beside one another.
PIPE_COLUMNS = 200


@click.command()
@click.argument("scenarios", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--policies", default="", metavar="P,...",
    help="Pairings TRAFFIC[:BATCH] to compare, by commas, or `all` that are installed; the first "
    "is the reference.  [default: the scenario's own]",
)  # fmt: skip
@click.option("--seeds", type=click.IntRange(1, 1000), help="So many, from the scenario's on.")
@click.option(
    "--ablate", default="", metavar="X,...",
    help=f"The reference with one of {', '.join(ABLATIONS)} switched off, each for itself.",
)  # fmt: skip
@click.option("--duration", type=float, help="Seconds of load, in place of the scenario's.")
@click.option(
    "--set", "settings", multiple=True, metavar="FIELD=VALUE",
    help="Another value for a field of the scenario, as loads[0].rate=50 or policies.dvpa=true.",
)  # fmt: skip
@click.option(
    "--report", type=click.Path(path_type=Path), default=None, help="Write the report as JSON."
)
@click.option(
    "--html", type=click.Path(path_type=Path), default=None,
    help="Write the report as one HTML page, with pictures.",
)  # fmt: skip
@click.option(
    "--plot", type=click.Path(path_type=Path), default=None,
    help="Draw it, as PNG, SVG or PDF by the name's ending.",
)  # fmt: skip
@click.option(
    "--log", type=click.Path(path_type=Path), default=None,
    help="Write the decision log; of several runs, one file each, named after the run.",
)  # fmt: skip
@click.option("--skip-bad-rows", is_flag=True, help="Leave broken rows of traces out, and say so.")
@click.option(
    "-j", "--processes", type=click.IntRange(1, 256), default=None,
    help="Processes that make runs side by side.  [default: as many as there are cores]",
)  # fmt: skip
@click.option(
    "--replay", "recording", type=click.Path(dir_okay=False, path_type=Path), default=None,
    help="Instead: make the decisions of a daemon again, from its recording ([record], --record).",
)  # fmt: skip
@click.option(
    "--policy", default="", help="With --replay: ask this policy, in place of those that were."
)
def simulate(
    scenarios: tuple[Path, ...], policies: str, seeds: int | None, ablate: str,
    duration: float | None, settings: tuple[str, ...], report: Path | None, html: Path | None,
    plot: Path | None, log: Path | None, skip_bad_rows: bool, processes: int | None,
    recording: Path | None, policy: str,
) -> int:  # fmt: skip
    """Simulate SCENARIOS (TOML files) with the controllers and policies of the daemons.

    One scenario with one pairing of policies and one seed is one run, and its report is the common
    one; more of any of these, or a sweep in a file, is a comparison. The same scenario and seed
    give the same figures and the same decision log, whatever else runs beside. Ctrl-C ends the runs
    and still reports.

    With --replay there is no scenario: a controller is begun as one was in a daemon, and given the
    same events at the same times. Where nothing has changed, its decision log is the same.
    """
    if recording is not None:
        _only_replay(
            scenarios=scenarios, policies=policies, seeds=seeds, ablate=ablate, duration=duration,
            set=settings, report=report, html=html, plot=plot, skip_bad_rows=skip_bad_rows,
            processes=processes,
        )  # fmt: skip
        return replay_recording(recording, log, policy)
    if policy:
        raise InvalidField("--policy", "goes with --replay only", "--policies compares scenarios")
    if not scenarios:
        raise InvalidField("SCENARIOS", "are missing", "name a file, or a recording with --replay")
    outputs = Outputs(report, html, plot, log)
    outputs.check(scenarios)
    changes = _changes(settings, duration)
    bad = BadRows(skip=skip_bad_rows)
    files = [ScenarioFile(path, changes, bad=bad) for path in scenarios]
    runs = plan(
        files, changes, policies=policies, ablate=ablate, seeds=seeds, skip_bad_rows=skip_bad_rows
    )
    if log is not None:
        runs = with_logs(runs, log)
    before = look_ahead(files)
    results, stop = Results(runs, before.warnings, bad.counts, bad.lines()), Stop()
    with Progress() as progress, stop.on_signals():
        for file in files:
            about = f": {file.description}" if file.description else ""
            progress.say(f"{file.name}{about}")
        for line in (*before.traces, *bad.lines()):
            progress.say(line)
        for line in before.warnings:
            progress.say(f"warning: {line}")
        shown = _Shown(progress, runs)
        for number, result in make_all(runs, processes or _cores(), stop, shown.told):
            shown.ended(number)
            results.add(number, result)
    for line in problem_lines(results.ended):
        click.echo(f"tango: {line}", err=True)
    if results.ended:
        print_view(results_view(results), PIPE_COLUMNS)
        outputs.write(results, files)
    if stop.asked:
        done = len(runs) - results.missing
        so_far = "" if not results.ended else "; this is the report so far"
        words = f"{done} of {len(runs)} runs came to their end" if len(runs) > 1 else "the run"
        words += "" if len(runs) > 1 else " was ended before its time"
        click.echo(f"tango: {words}{so_far}", err=True)
        return INTERRUPTED
    return 0


def _only_replay(**given: object) -> None:
    for name, value in given.items():
        if value:
            field = name.upper() if name == "scenarios" else f"--{name.replace('_', '-')}"
            raise InvalidField(field, "does not go with --replay", "leave one of them out")


def _changes(settings: Sequence[str], duration: float | None) -> tuple[Change, ...]:
    found = [parse_change(text) for text in settings]
    if duration is not None:
        if any(change.path == "duration_s" for change in found):
            raise InvalidField("--duration", "stands beside --set duration_s", "leave one out")
        found.append(parse_change(f"duration_s={duration!r}", "--duration"))
    return tuple(found)


def _cores() -> int:
    return len(os.sched_getaffinity(0))


class _Shown:
    """Tells how far all runs are, and how long the rest may take at the pace so far."""

    def __init__(self, progress: Progress, runs: Sequence[Run]) -> None:
        self._progress = progress
        self._runs = runs
        self._parts: dict[int, float] = {}
        self._ended = 0
        self._begun = time.monotonic()

    def ended(self, number: int) -> None:
        """A run came to its end."""
        self._parts[number] = 1.0
        self._ended += 1

    def told(self, number: int, told: Told) -> None:
        """A run is so far."""
        self._parts[number] = max(0.0, told.at_s / told.until_s)
        took_s = time.monotonic() - self._begun
        line = self._line(number, told, took_s)
        self._progress.show(took_s, Text(line), line)

    def _line(self, number: int, told: Told, took_s: float) -> str:
        part = sum(self._parts.values()) / len(self._runs)
        parts = [f"{100 * part:.0f} %"]
        if part > 0.01:
            parts.append(f"{_duration(took_s * (1 - part) / part)} left")
        if len(self._runs) > 1:
            parts.append(f"{self._ended} of {len(self._runs)} runs done")
        at_s = max(0.0, told.at_s)
        parts.append(
            f"{self._runs[number]}: {at_s:.0f} of {told.until_s:g} s, {told.sent:,} requests"
        )
        return " | ".join(parts)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
