"""What came of all runs of a simulation: gathered as they end, and written as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tango.cli.simulate_plan import Run
from tango.cli.simulate_runs import Result
from tango.sim.scenario_file import Point
from tango.sim.tally import Interval as Piece
from tango.workload.comparison import Compared, compare, figures_of
from tango.workload.latency import LatencyHistogram
from tango.workload.reasons import Reasons
from tango.workload.report import NodeReport, Report

# Beyond so many nodes in all reports together, each report has one entry for all of its nodes.
MOST_NODES = 100_000
ALL_NODES = "all"

Group = tuple[str, Point]


@dataclass(frozen=True, slots=True)
class Ended:
    """One run that ended. stopped: before its time, so that it is compared with nothing."""

    run: Run
    report: Report
    figures: Mapping[str, float]
    stopped: bool
    problems: tuple[str, ...]
    reasons: Mapping[str, Reasons]

    def to_dict(self) -> dict[str, object]:
        """The common report, and beside it which run it is."""
        return {
            "scenario": self.run.scenario,
            "point": {change.path: change.plain for change in self.run.point},
            "variant": self.run.variant,
            "stopped": self.stopped,
            **self.report.to_dict(),
        }


class Results:
    """Runs as they end; memory follows their number, not their length.

    Of each variant at each point the latencies of all seeds are merged, and the timeline is that of
    its first seed. warnings: of what was asked in vain; skipped: broken rows of traces that were
    left out, by file, and notes: lines on them.
    """

    def __init__(
        self,
        runs: Sequence[Run],
        warnings: Sequence[str] = (),
        skipped: Mapping[str, int] | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        self.runs = tuple(runs)
        self.warnings = tuple(warnings)
        self.skipped = dict(skipped or {})
        self.notes = tuple(notes)
        self.warmup_s = 0.0
        self.deadlines_ms: dict[str, tuple[tuple[str, float], ...]] = {}
        self._ended: dict[int, Ended] = {}
        self._latency: dict[tuple[Group, str], LatencyHistogram] = {}
        self._timelines: dict[tuple[Group, str], tuple[int, tuple[Piece, ...]]] = {}
        self._nodes = 0

    def add(self, number: int, result: Result) -> None:
        """One more run has ended."""
        run, outcome = self.runs[number], result.outcome
        report = outcome.report
        figures = figures_of(report, result.cores)
        self._nodes += len(report.nodes)
        self._ended[number] = Ended(
            run, report, figures, outcome.stopped, outcome.problems, outcome.reasons
        )
        if len(self.runs) > 1 and self._nodes > MOST_NODES:
            self._sum_nodes(result.cores)
        self.warmup_s = result.warmup_s
        self.deadlines_ms[run.scenario] = result.deadlines_ms
        place = (run.group, run.variant)
        if not outcome.stopped or len(self.runs) == 1:
            self._latency.setdefault(place, LatencyHistogram()).merge(outcome.latency)
            known = self._timelines.get(place)
            if known is None or run.seed < known[0]:
                self._timelines[place] = run.seed, outcome.timeline

    def _sum_nodes(self, cores: float) -> None:
        for number, ended in self._ended.items():
            report = ended.report
            if set(report.nodes) != {ALL_NODES}:
                lc_s = sum(node.lc_cpu_seconds for node in report.nodes.values())
                be_s = sum(node.be_cpu_seconds for node in report.nodes.values())
                whole = NodeReport.of(lc_s, be_s, round(cores * 1000), report.duration_s)
                report = replace(report, nodes={ALL_NODES: whole})
                self._ended[number] = replace(ended, report=report)

    # ---- what there is

    @property
    def ended(self) -> tuple[Ended, ...]:
        """In the order in which the runs were planned, whenever they ended."""
        return tuple(ended for _, ended in sorted(self._ended.items()))

    @property
    def stopped(self) -> tuple[str, ...]:
        """A line on each run that did not come to its end, for they are compared with nothing."""
        return tuple(_so_far(each) for each in self.ended if each.stopped)

    @property
    def missing(self) -> int:
        """Runs that were not made, or not to their end."""
        return len(self.runs) - sum(not ended.stopped for ended in self._ended.values())

    @property
    def single(self) -> Ended | None:
        """The only run of a simulation that has one."""
        return self._ended.get(0) if len(self.runs) == 1 else None

    @property
    def groups(self) -> tuple[Group, ...]:
        """Scenarios and points, in order."""
        return tuple(dict.fromkeys(run.group for run in self.runs))

    def variants(self, group: Group) -> tuple[str, ...]:
        """Of one group, in order; the first is the reference."""
        return tuple(dict.fromkeys(run.variant for run in self.runs if run.group == group))

    def reference(self, group: Group) -> str:
        """Which variant the others are compared with."""
        return self.variants(group)[0]

    def compared(self, group: Group) -> tuple[Compared, ...]:
        """The variants of a group over those of their seeds that ran to their end."""
        by_variant: dict[str, dict[int, Mapping[str, float]]] = {
            variant: {} for variant in self.variants(group)
        }
        for ended in self._ended.values():
            if ended.run.group == group and not ended.stopped:
                by_variant[ended.run.variant][ended.run.seed] = ended.figures
        return compare(by_variant, self.reference(group))

    def latency(self, group: Group, variant: str) -> LatencyHistogram:
        """Of all answered requests of all seeds."""
        return self._latency.get((group, variant), LatencyHistogram())

    def sent(self, group: Group, variant: str) -> int:
        """Requests of the runs whose latencies these are."""
        return sum(
            ended.report.requests.sent
            for ended in self._ended.values()
            if (ended.run.group, ended.run.variant) == (group, variant)
            and (not ended.stopped or len(self.runs) == 1)
        )

    def timeline(self, group: Group, variant: str) -> tuple[Piece, ...]:
        """Of its first seed."""
        return self._timelines.get((group, variant), (0, ()))[1]

    def to_dict(self) -> dict[str, object]:
        """For JSON: one run is the common report, several are listed and compared.

        Where rows of traces were left out, `skipped_rows` says how many of which file.
        """
        skipped: dict[str, object] = {"skipped_rows": self.skipped} if self.skipped else {}
        if self.single is not None:
            return {**self.single.report.to_dict(), **skipped}
        return {
            **skipped,
            "runs": [ended.to_dict() for ended in self.ended],
            "comparison": {
                "missing_runs": self.missing,
                "groups": [
                    {
                        "scenario": group[0],
                        "point": {change.path: change.plain for change in group[1]},
                        "reference": self.reference(group),
                        "variants": [each.to_dict() for each in self.compared(group)],
                    }
                    for group in self.groups
                ],
            },
        }


def _so_far(ended: Ended) -> str:
    report = ended.report
    counts = report.requests
    in_time = f", {100 * counts.completed / counts.sent:.1f} % in time" if counts.sent else ""
    jobs = f"{report.jobs.succeeded:,} of {report.jobs.submitted:,} jobs succeeded"
    return (
        f"{ended.run}, stopped: {counts.sent:,} requests{in_time}, {jobs}, in the first "
        f"{report.duration_s:.3g} s that count"
    )
