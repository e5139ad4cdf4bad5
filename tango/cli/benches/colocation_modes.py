"""The rules under which `tango bench colocation` lets best-effort work share a node with a service.

Re-implementations, marked as such, on the very groups that Tango's worker made: `lc` and `be`
below the node's group. Only `tango` is the daemons' own doing.

    alone            no BE work at all: what the service can do
    none             LC and BE at equal weight, no limits
    kubernetes       BE as BestEffort pods: cpu.shares 2 against the LC pods' shares (kubelet)
    koordinator      as kubernetes, and a CFS quota on BE set each second (koordlet's cpusuppress):
                     capacity x 65 % - LC usage - reserved, up by at most 10 % of the node a step,
                     down at once, never below 2 cores of 32
    static-partition a fixed part of the node for each side, as quotas
    tango            LC and BE as Tango's worker keeps them
"""

from __future__ import annotations

from dataclasses import dataclass

from tango.model.cgroup import UNLIMITED, GroupTarget

MODES = ("alone", "none", "kubernetes", "koordinator", "static-partition", "tango")
TANGO = "tango"
# Weights on cgroup v2's scale, of which v1 makes shares: 1024 for a pod that asks for one core.
POD_WEIGHT, BEST_EFFORT_WEIGHT = 100, 1
KOORDINATOR_THRESHOLD = 0.65
KOORDINATOR_RISE = 0.10
KOORDINATOR_FLOOR = 2 / 32
KOORDINATOR_PERIOD_S = 1.0
CFS_PERIOD_US = 100_000


@dataclass(frozen=True, slots=True)
class Rule:
    """What the two sides' groups get when a mode begins."""

    lc: GroupTarget
    be: GroupTarget


def rule(mode: str, capacity_millis: int, static_lc_share: float) -> Rule:
    """The targets of a mode other than `tango`; static_lc_share: of the node, for LC."""
    lc, be = _free(POD_WEIGHT), _free(POD_WEIGHT)
    match mode:
        case "alone" | "none":
            return Rule(lc, be)
        case "kubernetes":
            return Rule(lc, _free(BEST_EFFORT_WEIGHT))
        case "koordinator":
            return Rule(lc, _quota(BEST_EFFORT_WEIGHT, capacity_millis * KOORDINATOR_FLOOR))
        case "static-partition":
            share = capacity_millis * static_lc_share
            return Rule(_quota(POD_WEIGHT, share), _quota(POD_WEIGHT, capacity_millis - share))
        case _:
            raise ValueError(f"no rule of ours for mode {mode!r}")


def koordinator_quota(capacity_millis: int, lc_used_millis: float, before_millis: float) -> float:
    """Millicores for BE after one second in which LC used lc_used_millis (system use: none here).

    Source: koordlet's resmanager, cpusuppress strategy, with its default thresholds.
    """
    wanted = capacity_millis * KOORDINATOR_THRESHOLD - lc_used_millis
    wanted = max(wanted, capacity_millis * KOORDINATOR_FLOOR)
    return min(wanted, before_millis + capacity_millis * KOORDINATOR_RISE)


def quota(millis: float) -> GroupTarget:
    """A CFS quota as kubelet and koordlet write it: a period of 100 ms, no burst."""
    return GroupTarget(quota_millis=max(10, round(millis)), period_us=CFS_PERIOD_US, burst_us=0)


def _free(weight: int) -> GroupTarget:
    return GroupTarget(
        quota_millis=UNLIMITED, period_us=CFS_PERIOD_US, burst_us=0, weight=weight, idle=False
    )


def _quota(weight: int, millis: float) -> GroupTarget:
    cap = quota(millis)
    return GroupTarget(
        quota_millis=cap.quota_millis,
        period_us=cap.period_us,
        burst_us=cap.burst_us,
        weight=weight,
        idle=False,
    )
