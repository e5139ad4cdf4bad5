"""The policies that a replayed controller asks: as installed here, or one in place of all."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

from tango.adapters.bound_rules import bound_rule
from tango.adapters.policies import batch_policy, traffic_policy
from tango.model.bounds import BoundRule, BoundSnapshot, ImproveSnapshot
from tango.model.errors import InvalidField
from tango.model.events import BatchSolved, BoundsSolved, ImproveSolved, RouteSolved, SolveFailed
from tango.model.plan import (
    BatchPlan,
    BatchPolicy,
    BatchSnapshot,
    TrafficPlan,
    TrafficPolicy,
    TrafficSnapshot,
)
from tango.model.starts import CentralStart, EdgeStart, Start

Policy = TrafficPolicy | BatchPolicy
OfBounds = BoundsSolved | ImproveSolved
Answer = RouteSolved | BatchSolved | OfBounds
BOUNDS = "bounds and backups"


def policy_for(start: Start, name: str) -> Policy:
    """The policy of that name, of the kind that such a daemon asks. Raises InvalidField."""
    if isinstance(start, EdgeStart):
        return traffic_policy(name)
    if isinstance(start, CentralStart):
        return batch_policy(name, start.settings.placement)
    raise InvalidField("policy", "a worker asks none", "replay an edge or the central master")


class Policies:
    """Answers what a controller asks. instead: answers all of it.

    missing: name -> why it cannot be asked here.
    """

    def __init__(self, start: Start, instead: Policy | None = None) -> None:
        self._start = start
        self._instead = instead
        self._known: dict[str, Policy] = {}
        self._rule: BoundRule | None = None
        self.missing: dict[str, str] = {}

    def answer(self, snapshot: object, recorded: Answer) -> Answer | SolveFailed | None:
        """As `recorded`, but with the plan that is made here; None where that cannot be."""
        if isinstance(recorded, OfBounds):
            return self._bounds(snapshot, recorded)
        policy = self._instead or self._of(recorded)
        if policy is None:
            return None
        try:
            plan = _plan(policy, snapshot)
        except Exception as error:  # noqa: BLE001 - a policy may be a third party's: told, not raised
            return SolveFailed(recorded.solve_id, repr(error))
        name = policy.name if self._instead else recorded.policy
        if isinstance(recorded, BatchSolved):
            return BatchSolved(
                recorded.solve_id, cast("BatchPlan", plan), recorded.cost_s, recorded.wall, name
            )
        return RouteSolved(recorded.solve_id, cast("TrafficPlan", plan), recorded.cost_s, name)

    def _bounds(self, snapshot: object, recorded: OfBounds) -> Answer | SolveFailed | None:
        """By the rule of the placement profile that was configured; no policy stands in for it."""
        assert isinstance(self._start, CentralStart)
        if self._rule is None:
            self._rule = bound_rule(self._start.settings.placement)
        if self._rule is None:
            self.missing[BOUNDS] = "numpy is not installed"
            return None
        try:
            if isinstance(recorded, ImproveSolved):
                assert isinstance(snapshot, ImproveSnapshot)
                return replace(recorded, plan=self._rule.improve(snapshot))
            assert isinstance(snapshot, BoundSnapshot)
            return replace(recorded, plan=self._rule.plan(snapshot))
        except Exception as error:  # noqa: BLE001 - a plugin may be a third party's: told, not raised
            return SolveFailed(recorded.solve_id, repr(error))

    def _of(self, recorded: RouteSolved | BatchSolved) -> Policy | None:
        name = self._configured()
        if recorded.policy:
            name = recorded.policy
        if name in self.missing:
            return None
        if name not in self._known:
            try:
                self._known[name] = policy_for(self._start, name)
            except InvalidField as error:
                self.missing[name] = str(error)
                return None
        return self._known[name]

    def _configured(self) -> str:
        if isinstance(self._start, EdgeStart):
            return self._start.settings.traffic_policy
        if isinstance(self._start, CentralStart):
            return self._start.settings.batch_policy
        return ""


def _plan(policy: Any, snapshot: object) -> TrafficPlan | BatchPlan:
    found: TrafficPlan | BatchPlan
    if isinstance(snapshot, TrafficSnapshot):
        found = policy.route(snapshot)
    else:
        assert isinstance(snapshot, BatchSnapshot)
        found = policy.place(snapshot)
    return found
