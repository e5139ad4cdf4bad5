"""QoS re-assurance: CPU per request of one service on one node, by its percentile slack (pure).

A re-implementation of the idea in Tango (ICPP 2023), with its two faults left out: what counts is a
percentile of end-to-end latency, and both directions work. Once a window,

    slack = (target - latency) / target

decides: below alpha the CPU per request grows, above beta it shrinks, in between it stands.

- The first step up is `need * grow_share * (alpha - slack) / (alpha - worst slack)`. The worst
  slack is no better than the one that takes the whole bound where latency goes as 1 / CPU, so on
  such a service one step is exact; the steps after it are small.
- Steps down are small and come only after `patience` windows above beta in a row. Where a step down
  was too much (the next windows are below alpha again), the patience doubles: a service whose
  latency jumps at some level is tried there ever more seldom.
- At the upper bound and still below alpha it is `saturated`, until `patience` windows in a row are
  not, or it leaves the bound: CPU does not help any more, and routing goes elsewhere.
- A window without requests counts as one above beta, but leads to what was declared, not below. So
  a place that routing avoids leaves the bound by itself, and is tried again, ever more seldom.
- Where time on the node has slack enough and only the queue before it has not, more CPU per request
  would make room for fewer requests and the queue longer: then it stands.

So from any state a violation is answered in full within 1 + grow_share / step_share windows (9 as
it comes), and recovery gives all of it back within as many windows after START_PATIENCE quiet ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tango.model.reassurance import ReassuranceRule

START_PATIENCE = 2
MAX_PATIENCE = 64
# A violation so many windows after a step down is put down to that step.
REGRET_WINDOWS = 4
# The worst slack seen is forgotten by this share of it in each window.
FORGET = 1 / 8


@dataclass(frozen=True, slots=True)
class Adjustment:
    """What is added to the declared CPU per request, and what it was decided from.

    calm: windows above beta in a row; fine: windows not below alpha in a row. since_shrink: windows
    since the last step down, or since it was last said not to be saturated any more; None for none
    that may still be regretted. expanding: the last window was answered by a step up.
    """

    millis: int = 0
    saturated: bool = False
    worst_slack: float = math.inf
    calm: int = 0
    fine: int = 0
    patience: int = START_PATIENCE
    since_shrink: int | None = None
    expanding: bool = False


UNADJUSTED = Adjustment()


@dataclass(frozen=True, slots=True)
class Assessment:
    """The decision of one window: its inputs, what was chosen, and why (a clause for people).

    slack, node_slack: None for a window without requests; node_slack leaves out the queue.
    """

    samples: int
    slack: float | None
    node_slack: float | None
    need_millis: int
    before_millis: int
    after_millis: int
    saturated: bool
    why: str


def slack_at(ratios: Sequence[float], percentile: float) -> float:
    """The slack of that percentile of latency / target ratios (nearest rank, sorted here)."""
    ordered = sorted(ratios)
    rank = math.ceil(percentile / 100 * len(ordered))
    return 1 - ordered[max(0, rank - 1)]


def assess(
    rule: ReassuranceRule,
    need_millis: int,
    most_millis: int,
    state: Adjustment,
    ratios: Sequence[float],
    node_ratios: Sequence[float],
) -> tuple[Adjustment, Assessment]:
    """The next adjustment, after a window with these requests, or without any.

    need_millis: CPU per request as declared. most_millis: what the node has; it bounds the sum too.
    ratios: end-to-end latency over target of each request; node_ratios: time since dispatch alone.
    """
    top = max(0, min(int(need_millis * rule.grow_share), most_millis - need_millis))
    bottom = -int(need_millis * rule.shrink_share)
    step = max(1, round(need_millis * rule.step_share))
    before = min(max(state.millis, bottom), top)
    if not ratios:
        chosen = _quiet(top, step, before, state)
        stands = chosen.millis == before
        why = "no requests" if stands else "no requests: back towards what is declared"
        return chosen, _assessment(0, None, None, need_millis, before, chosen, why)
    slack = slack_at(ratios, rule.percentile)
    node_slack = slack_at(node_ratios, rule.percentile)
    if slack < rule.alpha:
        chosen, why = _violated(rule, need_millis, top, step, before, state, slack, node_slack)
    elif slack > rule.beta:
        chosen, why = _spare(bottom, step, before, state)
    else:
        chosen = replace(state, millis=before, calm=0, fine=state.fine + 1, expanding=False)
        why = "slack is where it shall be"
    if chosen.saturated and chosen.fine >= chosen.patience:
        chosen = replace(chosen, saturated=False, since_shrink=0)
    since = chosen.since_shrink
    if since is not None and not (slack > rule.beta and chosen.millis < before):
        since += 1
        if since > REGRET_WINDOWS:
            # The step down was no mistake: trust the next one sooner.
            chosen = replace(chosen, patience=max(START_PATIENCE, chosen.patience // 2))
            since = None
    chosen = replace(
        chosen,
        since_shrink=since,
        worst_slack=_worst(rule, state.worst_slack, slack),
        saturated=chosen.saturated and chosen.millis >= top,
    )
    return chosen, _assessment(len(ratios), slack, node_slack, need_millis, before, chosen, why)


def _violated(
    rule: ReassuranceRule,
    need: int,
    top: int,
    step: int,
    before: int,
    state: Adjustment,
    slack: float,
    node_slack: float,
) -> tuple[Adjustment, str]:
    """The window is below alpha."""
    state = replace(state, calm=0, fine=0)
    if state.since_shrink is not None:
        patience = min(MAX_PATIENCE, 2 * state.patience)
        state = replace(state, patience=patience, since_shrink=None)
    if node_slack >= rule.alpha:
        stands = replace(state, millis=before, expanding=False)
        return stands, "the wait is before the node: more CPU per request would make it longer"
    if before >= top:
        full = replace(state, millis=top, expanding=True, saturated=True)
        return full, "saturated: below alpha at the upper bound"
    if state.expanding:
        grown, why = before + step, "still below alpha: a small step up"
    else:
        worst = _worst(rule, state.worst_slack, slack)
        share = (rule.alpha - slack) / (rule.alpha - worst)
        grown = before + max(step, math.ceil(need * rule.grow_share * share))
        why = f"below alpha: {share:.0%} of the bound at once"
    return replace(state, millis=min(top, grown), expanding=True), why


def _quiet(top: int, step: int, before: int, state: Adjustment) -> Adjustment:
    """The window had no requests: what was taken away comes back, what was added goes again."""
    if before <= 0:
        after = before + min(step, -before)
        return replace(state, millis=after, calm=0) if after else UNADJUSTED
    chosen, _ = _spare(0, step, before, state)
    if not chosen.millis:
        return UNADJUSTED
    return replace(chosen, saturated=chosen.saturated and chosen.millis >= top)


def _spare(bottom: int, step: int, before: int, state: Adjustment) -> tuple[Adjustment, str]:
    """The window is above beta."""
    calm = state.calm + 1
    state = replace(state, millis=before, calm=calm, fine=state.fine + 1, expanding=False)
    if before <= bottom:
        return state, "above beta at the lower bound"
    if calm < state.patience:
        return state, f"above beta, window {calm} of {state.patience} before a step down"
    shrunk = replace(state, millis=max(bottom, before - step), since_shrink=0)
    return shrunk, "above beta: a small step down"


def _worst(rule: ReassuranceRule, worst: float, slack: float) -> float:
    """The worst slack that counts from here on, this window's included."""
    # Where latency goes as 1 / CPU, this slack takes the whole bound to be back at alpha.
    least = 1 - (1 - rule.alpha) * (1 + max(rule.grow_share, 0.01))
    kept = least if worst >= least else worst + FORGET * (least - worst)
    return min(kept, slack)


def _assessment(
    samples: int,
    slack: float | None,
    node_slack: float | None,
    need: int,
    before: int,
    chosen: Adjustment,
    why: str,
) -> Assessment:
    return Assessment(
        samples, slack, node_slack, need, before, chosen.millis, chosen.saturated, why
    )
