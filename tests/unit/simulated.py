"""Results of simulations, made up: for tests of what is written and drawn from them."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

from tango.cli.simulate_plan import Run, Variant
from tango.cli.simulate_results import Results
from tango.cli.simulate_runs import Result
from tango.model.request import Outcome as Fate
from tango.sim.outcome import Outcome
from tango.sim.scenario_file import Point
from tango.sim.tally import Interval
from tango.workload.report import JobCounts, NodeReport, Report, RequestTally

NAME = "made-up"


def outcome(
    seed: int = 1, *, ms: float = 10.0, late: int = 10, seconds: int = 20, nodes: int = 2
) -> Outcome:
    """100 requests, `late` of them late, and a timeline of so many seconds."""
    tally = RequestTally()
    for number in range(100):
        tally.send()
        fate = Fate.LATE if number < late else Fate.COMPLETED
        tally.end(fate, ms * (1 + number / 50) + seed)
    reports = {f"n{n}": NodeReport.of(3.0, 4.0 + seed / 10, 1000, 10.0) for n in range(nodes)}
    jobs = JobCounts(9, 5, 1, 2, 8.0)
    report = Report.of({"web": tally}, seed=seed, duration_s=10.0, jobs=jobs, nodes=reports,
                       policies={"traffic": "nearest", "batch": "most-free"})  # fmt: skip
    timeline = tuple(
        Interval(
            float(at), at + 1.0, 10, 8, 1, 1, 0, None if at == 5 else ms, 2 * ms, 3 * ms,
            0.3 + 0.1 * math.sin(at), 0.4, at % 3, 4,
        )
        for at in range(seconds)
    )  # fmt: skip
    return Outcome(report, timeline, tally.latency)


def result(seed: int = 1, *, stopped: bool = False, **fields: int) -> Result:
    found = replace(outcome(seed, **fields), stopped=stopped)
    return Result(found, 2.0, (("web", 25.0),), 5.0)


def run(variant: str = "nearest:most-free", seed: int = 1, point: Point = ()) -> Run:
    return Run(Path("s.toml"), NAME, (), point, variant, Variant(), seed)


def gathered(*runs: Run, **fields: int) -> Results:
    """Each run's result; variants after the first are ever slower."""
    variants = list(dict.fromkeys(each.variant for each in runs))
    results = Results(runs)
    for number, each in enumerate(runs):
        at = variants.index(each.variant)
        results.add(number, result(each.seed, ms=10 * (at + 1), late=10 * (at + 1), **fields))
    return results
