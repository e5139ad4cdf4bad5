"""Better plans and trials over REST, with the rule for bounds and without it."""

from __future__ import annotations

import json

import pytest
from rest_probe import JOB, TOKEN, Face, faced

from tango.model.cluster import NodeCapacity, NodeView
from tango.model.events import EdgeUp
from tango.model.messages import EdgeHello, EdgeState
from tango.model.round_trips import EdgeTrip
from tango.model.units import parse_memory

NEAR = {**JOB, "tasks": [{"name": "main", "argv": ["x"], "near": {"node": "n1", "withinMs": 20}}]}


def dial(face: Face) -> None:
    """A site with two nodes."""
    capacity = NodeCapacity(4000, parse_memory("4Gi"))
    views = tuple(NodeView(name, "s", ready=True, capacity=capacity) for name in ("n1", "n2"))
    trips = tuple(EdgeTrip(f"s/{view.node}", 0.001) for view in views)
    face.daemon.shell.post(
        EdgeUp(1, EdgeHello("s", 1, "", ""), EdgeState(views, (), ("n1", "n2"), trips), 1e9)
    )


async def test_a_trial_says_where_and_nothing_is_done() -> None:
    async with faced(bounds=True) as face:
        dial(face)
        job = {**NEAR, "tasks": [{**NEAR["tasks"][0], "backup": True}]}
        answer = await face.call("POST", "/v1/placement:try", job)
        (task,) = answer.json["tasks"]
        assert {task["node"], task["backup"]} == {"s/n1", "s/n2"}
        assert answer.json["reason"] == ""
        assert (await face.call("GET", "/v1/jobs")).json["jobs"] == []
        wrong = await face.call("POST", "/v1/placement:try", JOB)
        assert (wrong.status, wrong.violation[0]) == (400, "spec")
        far = {**NEAR, "tasks": [{**NEAR["tasks"][0], "near": {"node": "n1"}}]}
        for path in ("/v1/placement:try", "/v1/jobs"):
            missing = await face.call("POST", path, far)
            assert (missing.status, missing.violation[0]) == (400, "spec.tasks[0].near.within_ms")


async def test_a_plan_is_a_line_of_json() -> None:
    async with faced(bounds=True) as face:
        dial(face)
        answer = await face.call("POST", "/v1/placement:improve", {"maxMoves": 3, "apply": True})
        assert answer.status == 200
        (line,) = answer.body.splitlines()
        told = json.loads(line)
        assert told["whyNot"] == "no task that runs has a delay bound or a backup"
        assert told["done"] is True
        assert told["applied"] is False


@pytest.mark.parametrize("path", ["/v1/placement:improve", "/v1/placement:try"])
async def test_without_numpy_it_is_refused_with_what_to_install(path: str) -> None:
    async with faced() as face:
        answer = await face.call("POST", path, NEAR if path.endswith("try") else {})
        text = answer.body.decode()
        assert "numpy" in text
        assert "solver" in text


async def test_who_shows_no_token_gets_neither() -> None:
    async with faced(bounds=True) as face:
        for path in ("/v1/placement:improve", "/v1/placement:try"):
            answer = await face.call("POST", path, {}, token=TOKEN[:-1])
            assert answer.status == 401
