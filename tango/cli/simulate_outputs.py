"""Where the results of `tango simulate` go: files that are refused before anything runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from tango.cli.charts_figure import write_pictures
from tango.cli.figure_file import check_plot
from tango.cli.simulate_charts import pictures
from tango.cli.simulate_html import write_html
from tango.cli.simulate_results import Results
from tango.cli.whole_file import check_place, whole_file
from tango.model.errors import InvalidField
from tango.model.units import format_count
from tango.sim.scenario_file import ScenarioFile


@dataclass(frozen=True, slots=True)
class Outputs:
    """The files that were asked for, None for none. log: of decisions, which the runs write."""

    report: Path | None = None
    html: Path | None = None
    plot: Path | None = None
    log: Path | None = None

    def check(self, scenarios: Sequence[Path]) -> None:
        """Raise InvalidField for a file that could not be written, or that would take the place of
        a scenario or of another of them. What is there under these names otherwise is replaced.
        """
        if self.report is not None:
            check_place(self.report, "--report")
        if self.html is not None:
            check_place(self.html, "--html")
        if self.plot is not None:
            check_plot(self.plot)
        if self.log is not None:
            if not self.log.parent.is_dir():
                problem = f"there is no folder {self.log.parent}"
                raise InvalidField("--log", problem, "make it first", str(self.log))
            if self.log.is_dir():
                raise InvalidField("--log", "is a folder", "name a file", str(self.log))
        taken = {path.resolve(): "is a scenario" for path in scenarios}
        for option in ("report", "html", "plot", "log"):
            path: Path | None = getattr(self, option)
            if path is not None:
                place = path.resolve()
                if place in taken:
                    fix = "name another file"
                    raise InvalidField(f"--{option}", taken[place], fix, str(path))
                taken[place] = f"is the file of --{option} too"

    def write(self, results: Results, files: Sequence[ScenarioFile]) -> None:
        """Write all but the log, and say where each is."""
        if self.report is not None:
            with whole_file(self.report, "--report") as part:
                part.write_text(json.dumps(results.to_dict(), indent=2) + "\n", encoding="utf-8")
            click.echo(f"report: {self.report}")
        if self.html is not None:
            write_html(results, _facts(results, files), self.html)
            click.echo(f"page: {self.html}")
        if self.plot is not None:
            names = ", ".join(file.name for file in files)
            write_pictures(f"Tango simulation: {names}", pictures(results), self.plot)
            click.echo(f"plot: {self.plot}")
        logs = [each.run.log for each in results.ended if each.run.log is not None]
        if logs:
            more = f" and {len(logs) - 1} more beside it" if len(logs) > 1 else ""
            click.echo(f"decisions: {logs[0]}{more}")


def _facts(results: Results, files: Sequence[ScenarioFile]) -> dict[str, str]:
    """What was run, for a reader who has only the page."""
    found = {}
    for file in files:
        scenario = file.build()
        topology = scenario.topology
        nodes = list(topology.nodes())
        cores = sum(node.cpu_millis for _, node in nodes) / 1000
        found[f"Scenario {file.name}"] = file.description or str(file.path)
        found[f"{file.name} has"] = (
            f"{format_count(len(topology.sites), 'site')}, {format_count(len(nodes), 'node')}, "
            f"{cores:,.0f} cores; {format_count(topology.neighbours, 'neighbour')} a site; "
            f"{format_count(len(scenario.services), 'service')}; "
            f"{scenario.duration_s:g} s of load, the first {scenario.warmup_s:g} s not counted"
        )
        found[f"{file.name}'s costs are"] = scenario.costs.calibrated or "plausible, not measured"
    changed = sorted({str(change) for run in results.runs for change in run.changes})
    if changed:
        found["Changed by hand"] = "; ".join(changed)
    found["Variants"] = "; ".join(dict.fromkeys(run.variant for run in results.runs))
    found["Seeds"] = ", ".join(map(str, sorted({run.seed for run in results.runs})))
    return found
