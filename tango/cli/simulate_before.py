"""What is said before a simulation runs: what it takes of its traces, and what it asks in vain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tango.sim.scenario_file import ScenarioFile
from tango.sim.trace_survey import survey

# Of a long sweep.
MOST_LINES = 12


@dataclass(frozen=True, slots=True)
class Before:
    """traces: a line for each trace, at each point where it differs. warnings: alike."""

    traces: tuple[str, ...]
    warnings: tuple[str, ...]


def look_ahead(files: Sequence[ScenarioFile]) -> Before:
    """Read every trace as every point of every sweep will, and check what is asked for.

    Raises RowError for the first broken row, InvalidField where nothing at all would run.
    """
    traces: dict[str, list[str]] = {}
    warnings: dict[str, list[str]] = {}
    for file in files:
        for point in file.points:
            at = ", ".join(map(str, point))
            scenario = file.build(point)
            found = file.warnings(scenario)
            for each in survey(scenario):
                traces.setdefault(each.words(scenario), []).append(at)
                problem = each.problem(scenario)
                if problem is not None:
                    found.append(problem.at(file.where(problem.field)))
            for warning in found:
                warnings.setdefault(str(warning), []).append(at)
    n_points = sum(len(file.points) for file in files)
    return Before(_lines(traces, n_points), _lines(warnings, n_points))


def _lines(found: dict[str, list[str]], n_points: int) -> tuple[str, ...]:
    """Each with the points that it is about, where it is not about all."""
    lines = [
        words if len(points) == n_points or not points[0] else f"at {_some(points)}: {words}"
        for words, points in found.items()
    ]
    more = [f"... and {len(lines) - MOST_LINES} more"] if len(lines) > MOST_LINES else []
    return tuple(lines[:MOST_LINES] + more)


def _some(points: Sequence[str]) -> str:
    more = f" and {len(points) - 2} more" if len(points) > 2 else ""
    return f"{'; '.join(points[:2])}{more}"
