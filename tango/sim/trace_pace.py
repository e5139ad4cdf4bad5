"""How fast a trace is replayed for a wanted rate or load: in the mean over all of it, or a run."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tango.adapters.documents import Section
from tango.sim.scenario_fields import placed
from tango.workload.trace_scale import offered_load

_ROUNDING = 1e-9


class MeanOver(enum.Enum):
    """What a rate or a load is the mean of. TRACE: of all of it, though a run may use a part; RUN:
    of the part that the run uses."""

    TRACE = "trace"
    RUN = "run"


@dataclass(frozen=True, slots=True)
class Told:
    """What people are told of a trace. field: where the scenario names it; who: whose it is, and
    the file; asked: what its pace was chosen for, "" where the scenario says the pace."""

    field: str
    who: str
    asked: str = ""


def mean_over(section: Section) -> MeanOver:
    """`mean_over` of a table. Raises InvalidField where there is nothing that it is about."""
    if "mean_over" in section and "rate" not in section and "cpu_load" not in section:
        raise section.error("mean_over", "goes with rate or cpu_load", "give one of them")
    return section.choice("mean_over", MeanOver, MeanOver.TRACE)


def asked_words(section: Section, over: MeanOver, amount: str) -> str:
    """What is asked for. amount: "50/s"."""
    key = "cpu_load" if "cpu_load" in section else "rate"
    part = "the whole trace" if over is MeanOver.TRACE else "this run"
    return f"{key} asks for {amount} in the mean over {part}"


def rate_factor(
    section: Section, times: Iterable[float], rate: float, over: MeanOver, duration_s: float
) -> float:
    """How many times as fast requests must come for so many a second. times: of all of them, read
    as far as needed. Raises InvalidField."""
    if over is MeanOver.RUN:
        return _factor_of_run(
            section, ((at_s, 1.0) for at_s in times), rate, duration_s, "requests"
        )
    count, last_s = 0, 0.0
    for at_s in times:
        count, last_s = count + 1, at_s
    if not count or last_s <= 0:
        fix = "choose another part of it"
        raise section.error("file", f"has {count} requests over {last_s:g} s: no rate", fix)
    return rate * last_s / count


def live_factor(
    section: Section, times: Iterator[float], rate: float, over: MeanOver, duration_s: float
) -> float:
    """How many times as many requests there must be, at the same pace, for so many a second."""
    if over is MeanOver.TRACE:
        return rate_factor(section, times, rate, over, duration_s)
    count = 0
    for at_s in times:
        if at_s >= duration_s:
            break
        count += 1
    if not count:
        fix = "choose another part of it"
        raise section.error("file", f"has no requests in its first {duration_s:g} s", fix)
    return rate * duration_s / count


def load_factor(
    section: Section,
    work: Iterable[tuple[float, float]],
    wanted: float,
    cpu_millis: int,
    over: MeanOver,
    duration_s: float,
) -> float:
    """How many times as fast jobs must come for a share of all CPU. work: (at_s, CPU seconds).

    Raises InvalidField.
    """
    if over is MeanOver.RUN:
        return _factor_of_run(section, work, wanted * cpu_millis / 1000, duration_s, "CPU seconds")
    with placed(section, trace="file", load="cpu_load"):
        return offered_load(work).speed_up_to(wanted, cpu_millis)


def _factor_of_run(
    section: Section,
    parts: Iterable[tuple[float, float]],
    per_s: float,
    duration_s: float,
    unit: str,
) -> float:
    """The pace at which the first of the trace that comes to per_s * duration_s fills the run.

    To within one arrival; those at one time stay together.
    """
    wanted = per_s * duration_s
    enough = wanted * (1 - _ROUNDING)
    total = last_s = 0.0
    for at_s, amount in parts:
        if total >= enough and at_s > last_s:
            # An end of the run between the last that is in it and the first that is not.
            return (last_s + at_s) / 2 / duration_s
        total, last_s = total + amount, at_s
    if total < enough:
        problem = f"has {total:,.0f} {unit}, and {duration_s:g} s of this ask for {wanted:,.0f}"
        raise section.error("file", problem, 'ask for less, or take mean_over = "trace"')
    if last_s <= 0:
        fix = 'take another part of it, or mean_over = "trace"'
        raise section.error("file", "has all that is asked for at its very beginning", fix)
    return last_s * (1 + _ROUNDING) / duration_s
