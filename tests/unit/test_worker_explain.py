"""What a worker says of its own decisions, and how it tells them to its edge."""

from __future__ import annotations

import json
from dataclasses import replace

from worker_world import SETTINGS, World, service, target

from tango.daemons.worker.explain import told
from tango.model.decision import RESIZE, SUPPRESS, facts
from tango.model.explanation import Subject
from tango.model.service import QuotaMode


def lines(world: World, target: str) -> list[dict[str, object]]:
    data = b"".join(told(world.controller, "n1", target, world.now))
    return [json.loads(line) for line in data.splitlines()]


def following() -> World:
    world = World()
    world.connect()
    spec = service(
        quota=QuotaMode.FOLLOW, concurrency=8, quota_base_millis=100, cpu_per_request_millis=200
    )
    world.aim(target(spec))
    return world


def test_resizes_say_from_what_to_what_and_for_how_many() -> None:
    world = following()
    world.dispatch("a", "b")
    records, _ = world.controller.explain("hello", Subject.SERVICE, 20, world.now)
    found = [facts(record) for record in records if record[2] is RESIZE]
    resizes = [(one["replica"], one["before_millis"], one["after_millis"]) for one in found]
    assert resizes == [
        ("hello-0", None, 100),
        ("", None, 100),
        ("", 100, 500),
        ("hello-0", 100, 500),
    ], "the parent grows first"
    assert (found[-1]["in_flight"], found[-1]["held"]) == (2, 2)
    world.finish("a")
    world.finish("b")
    world.advance(5.0)
    records, _ = world.controller.explain("hello", Subject.SERVICE, 2, world.now)
    shrunk = [facts(record) for record in records]
    assert [(one["replica"], one["after_millis"]) for one in shrunk] == [
        ("hello-0", 100),
        ("", 100),
    ], "the child shrinks first"


def test_without_quotas_nothing_is_resized() -> None:
    world = World()
    world.connect()
    world.aim(target(service()))
    world.dispatch("a")
    world.finish("a")
    assert world.controller.explain("hello", Subject.SERVICE, 20, world.now)[0] == ()


def test_a_cap_on_be_says_what_lc_uses() -> None:
    world = World(settings=replace(SETTINGS, cap_be=True))
    world.connect()
    world.advance(1.0)
    records, _ = world.controller.explain("n1", Subject.NODE, 20, world.now)
    (found,) = [facts(record) for record in records if record[2] is SUPPRESS]
    assert (found["before_millis"], found["after_millis"]) == (None, 2000)
    assert found["why"] == "the first cap"


def test_declined_stopped_and_ended() -> None:
    world = following()
    world.dispatch("lost", name="nobody")
    world.start_attempt("j1.0.1")
    world.stop_attempt("j1.0.1", "node n1 is drained")
    records, missing = world.controller.explain("lost", Subject.REQUEST, 20, world.now)
    assert [record[2].kind for record in records] == ["request-decline"]
    assert missing == ()
    records, _ = world.controller.explain("j1", Subject.JOB, 20, world.now)
    kinds = [record[2].kind for record in records]
    assert kinds == ["attempt-start", "attempt-stop", "attempt-end"]
    assert facts(records[1])["why"] == "node n1 is drained"
    all_of_node, _ = world.controller.explain("n1", Subject.NODE, 20, world.now)
    assert len(all_of_node) == 5, "two resizes and three of the attempt"


def test_told_to_the_edge_as_lines() -> None:
    world = following()
    first, *others = lines(world, "decisions:service:hello:20")
    assert first == {"missing": []}
    assert [sorted(one) for one in others] == [["at_s", "daemon", "record", "text"]] * 2
    assert others[0]["daemon"] == "worker n1"
    assert json.loads(str(others[0]["record"]))["kind"] == "resize"
    assert len(lines(world, "decisions:service:hello:1")) == 2
    assert lines(world, "decisions:service:nobody:20") == [{"missing": []}]


def test_nonsense_is_answered_all_the_same() -> None:
    world = following()
    for target_name in ("decisions:", "decisions:x:y:z", "decisions:planet:mars:3"):
        (only,) = lines(world, target_name)
        assert "does not know what a" in str(only["missing"])
    assert lines(world, "decisions:service:hello:many")[1:], "the usual limit"
    assert lines(world, f"decisions:service:hello:{'9' * 400}")[1:]
