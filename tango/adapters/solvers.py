"""The Solver seam, in process: for policies that answer in well under a tick."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from tango.model.bounds import BoundPlan, BoundRule, BoundSnapshot, ImproveSnapshot
from tango.model.improvement import Improvement
from tango.model.plan import (
    BatchPlan,
    BatchPolicy,
    BatchSnapshot,
    TrafficPlan,
    TrafficPolicy,
    TrafficSnapshot,
)

Snapshot = TypeVar("Snapshot")
Plan = TypeVar("Plan")


class InProcessSolver:
    """Calls the policy at once, on the caller's own thread."""

    def route(
        self,
        policy: TrafficPolicy,
        snapshot: TrafficSnapshot,
        done: Callable[[TrafficPlan | Exception, float], None],
    ) -> None:
        """See Solver."""
        _solve(policy.route, snapshot, done)

    def place(
        self,
        policy: BatchPolicy,
        snapshot: BatchSnapshot,
        done: Callable[[BatchPlan | Exception, float], None],
    ) -> None:
        """See Solver."""
        _solve(policy.place, snapshot, done)

    def plan(
        self,
        rule: BoundRule,
        snapshot: BoundSnapshot,
        done: Callable[[BoundPlan | Exception, float], None],
    ) -> None:
        """See Solver."""
        _solve(rule.plan, snapshot, done)

    def improve(
        self,
        rule: BoundRule,
        snapshot: ImproveSnapshot,
        done: Callable[[Improvement | Exception, float], None],
    ) -> None:
        """See Solver."""
        _solve(rule.improve, snapshot, done)


def _solve(
    ask: Callable[[Snapshot], Plan],
    snapshot: Snapshot,
    done: Callable[[Plan | Exception, float], None],
) -> None:
    begun = time.perf_counter()
    try:
        answer: Plan | Exception = ask(snapshot)
    except Exception as error:  # noqa: BLE001 - a policy may be a third party's: told, not raised
        answer = error
    done(answer, time.perf_counter() - begun)
