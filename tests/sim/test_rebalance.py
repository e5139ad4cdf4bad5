"""A simulated node that is off and returns: its work goes elsewhere, and it gets its share."""

from __future__ import annotations

import io
import json
from collections import Counter
from dataclasses import replace

from small import load, scenario, service, site

from tango.model.rebalance import RebalanceRule
from tango.sim.outcome import Outcome
from tango.sim.run import simulate
from tango.sim.scenario import FailureKind, Scenario, ScheduledFailure
from tango.sim.topology import Topology

Line = dict[str, object]


def one(rule: RebalanceRule) -> Scenario:
    """Three nodes; a3 is off from 5 s to 15 s of 45."""
    plain = scenario(
        topology=Topology((site("a", 3),)),
        services=(service(replicas=6, idempotent=True),),
        loads=(load(60.0, seconds=45.0),),
        duration_s=45.0,
        failures=(ScheduledFailure(5.0, FailureKind.NODE, "a3", repair_s=10.0),),
    )
    return replace(plain, edge=replace(plain.edge, rebalance=rule))


def logged(rule: RebalanceRule) -> tuple[Outcome, list[Line]]:
    text = io.StringIO()
    outcome = simulate(one(rule), log=text, check=True)
    return outcome, [json.loads(line) for line in text.getvalue().splitlines()]


def shares(lines: list[Line], until: float) -> Counter[object]:
    """Replicas by node, by what the edge decided so far."""
    at: dict[object, object] = {}
    for line in lines:
        if line["at"] > until:  # type: ignore[operator]
            break
        if line["kind"] == "replica-place":
            at[line["replica"]] = line["node"]
        elif line["kind"] == "replica-leave":
            at.pop(line["replica"], None)
    return Counter(at.values())


def of_edge(lines: list[Line]) -> list[Line]:
    return [line for line in lines if line["daemon"] == "edge a"]


def test_a_node_that_was_off_gets_its_share_again() -> None:
    outcome, lines = logged(RebalanceRule(settle_s=3.0))
    start = next(line["at"] for line in lines if line["kind"] == "route")
    assert isinstance(start, float)
    assert shares(of_edge(lines), start + 4.0) == {"a1": 2, "a2": 2, "a3": 2}
    assert shares(of_edge(lines), start + 14.0) == {"a1": 3, "a2": 3}, "rescheduled"
    assert shares(of_edge(lines), start + 45.0) == {"a1": 2, "a2": 2, "a3": 2}
    moves = [line for line in lines if line["kind"] == "replica-move"]
    assert [move["to"] for move in moves] == ["a3", "a3"]
    # One after the other: the second begins when the first has left.
    left = [line["at"] for line in lines if line["kind"] == "replica-leave"][-2:]
    assert moves[0]["at"] < left[0] <= moves[1]["at"] < left[1]  # type: ignore[operator]
    # Moving costs no request, and the node serves again.
    requests = outcome.report.requests
    late = [
        line
        for line in lines
        if line["kind"] in ("end", "reject")
        and line["at"] > start + 17.0  # type: ignore[operator]
        and line.get("outcome", "rejected") != "completed"
    ]
    assert not late
    assert requests.completed > 0.97 * requests.sent
    assert [
        line
        for line in lines
        if line["kind"] == "route" and line["node"] == "a3" and line["at"] > start + 30.0  # type: ignore[operator]
    ]


def test_without_rebalancing_it_stays_idle() -> None:
    _, lines = logged(RebalanceRule(enabled=False))
    assert shares(of_edge(lines), 1e9) == {"a1": 3, "a2": 3}
    assert not [line for line in lines if line["kind"] == "replica-move"]


def test_placements_say_why() -> None:
    _, lines = logged(RebalanceRule(settle_s=3.0))
    placed = [line for line in lines if line["kind"] == "replica-place"]
    rules = {line["rule"] for line in placed}
    assert rules <= {"default", "spread"}
    assert len(rules) == 1
    choices = [line["choice"] for line in placed]
    assert all(choices)
    again = [line["choice"] for line in placed if line["node"] != "a3"][-2:]
    # Those that took the place of the dead node's.
    assert all(["dead", 1, ["a3"]] in choice["removed"] for choice in again)  # type: ignore[index]
