"""What an edge says to `explain`: requests in every state, services, nodes, jobs' attempts."""

from __future__ import annotations

import pytest
from decision_scenario import neighbours
from edge_world import MIB, EdgeWorld, service, start

from tango.model import events as ev
from tango.model.cluster import NodeReport, SideUsage
from tango.model.decision import (
    ASSURE,
    END,
    EVICT,
    FORWARD,
    FORWARD_REFUSED,
    REJECT,
    REPLICA_PLACE,
    ROUTE,
    facts,
)
from tango.model.decision_text import sentence
from tango.model.errors import NotFound
from tango.model.explanation import Finding, Subject
from tango.model.messages import ReportUsage
from tango.model.plan import Route, TrafficPlan
from tango.model.reassurance import ReassuranceRule
from tango.model.request import Code, Outcome
from tango.model.settings import DecisionSettings


def explained(world: EdgeWorld, name: str, *subjects: Subject, limit: int = 20) -> Finding:
    (found,) = world.controller.explain(name, subjects or tuple(Subject), limit, world.now)
    return found


def unknown(world: EdgeWorld, name: str, subject: Subject = Subject.REQUEST) -> str:
    with pytest.raises(NotFound) as raised:
        world.controller.explain(name, [subject], 20, world.now)
    return str(raised.value)


def test_a_request_from_its_queue_to_its_end() -> None:
    world = EdgeWorld()
    first, second = world.worker("a"), world.worker("b", cpu=500)
    world.apply(service(replicas=2))
    world.call(request_id="r1")
    assert explained(world, "r1").summary == (
        "Request r1 of hello is being served on a since 0.0 ms, deadline in 100.0 ms."
    )
    world.call(request_id="r2")
    world.advance(0.002)
    world.call(request_id="r3", deadline_s=9.0)
    world.call(request_id="r4", deadline_s=9.0)
    assert explained(world, "r4").summary == (
        "Request r4 of hello waits since 0.0 ms with 1 before it, deadline in 9000.0 ms; predicted "
        "at arrival: 0.0 ms in all; a: no free slot (1 of 1 in use); b: no free slot (1 of 1 in "
        "use)."
    )
    world.advance(0.01)
    first.done("r1")
    found = explained(world, "r1")
    assert found.summary == (
        "Request r1 of hello ended on a as completed after 12.0 ms, deadline 100.0 ms. It was "
        "routed to a after 0.0 ms in the queue: least-loaded scored it 0.1 (lower is better); "
        "before b with 0.2; it had 1 free slot and 1 CPU for LC, load 0%, 0.0 ms away."
    )
    assert [record[2] for record in found.records] != []
    assert found.nodes == ("a",)
    assert found.missing == ()
    (last,) = explained(world, "r1", limit=1).records
    assert (last[2], explained(world, "r1", limit=1).summary) == (END, found.summary)
    route = explained(world, "r2").records[0]
    assert facts(route)["route"]["rejected"] == [["a", "no free slot"]]
    assert facts(route)["offer"]["node"] == "b"
    assert facts(route)["candidates"] == 2
    second.done()


def test_a_route_names_the_policy_that_made_its_plan() -> None:
    world = EdgeWorld()
    world.worker("a")
    world.apply(service())
    world.auto_solve = False
    world.call(request_id="r1")
    (solve,) = world.solves
    world.solves.clear()
    plan = TrafficPlan((Route("hello", "a", 1, 7.0),))
    world.do(ev.RouteSolved(solve.solve_id, plan, 0.001, "switched-to"))
    (record,) = explained(world, "r1").records
    assert facts(record)["policy"] == "switched-to"


def test_a_rejected_request_names_the_numbers() -> None:
    world = EdgeWorld()
    worker = world.worker("a")
    world.apply(service(deadline_s=0.1))
    for _ in range(4):
        world.call(deadline_s=1.0)
        world.advance(0.06)
        worker.done(service_s=0.05)
        world.advance(0.01)
    for number in range(6):
        world.call(request_id=f"x{number}")
    rejected = [name for name, reply in world.replies.items() if reply.outcome is Outcome.REJECTED]
    found = explained(world, rejected[0])
    (record,) = found.records
    grounds = facts(record)["grounds"]
    assert grounds["busy"] == 1
    assert (grounds["queued"], grounds["room"]) == (0, 0)
    predicted = grounds["wait_s"] + grounds["service_s"] + grounds["margin_s"]
    assert predicted > grounds["deadline_s"] == 0.1
    for number in ("wait_s", "service_s", "margin_s", "deadline_s"):
        assert f"{grounds[number] * 1000:.1f} ms" in found.summary
    assert "rejected on arrival" in found.summary
    assert "worth another try in" in found.summary


@pytest.mark.parametrize("rejected", ["unknown service", "full queue", "not ready"])
def test_every_rejection_is_recorded(rejected: str) -> None:
    world = EdgeWorld()
    world.worker("a")
    world.apply(service(max_queue=0), ready=rejected != "not ready")
    world.call(request_id="first")
    name = world.call("nobody" if rejected == "unknown service" else "hello", "second")
    assert world.replies[name].outcome is Outcome.REJECTED
    (record,) = explained(world, name).records
    assert record[2] is REJECT
    assert record[REJECT.index["error"]] == world.replies[name].error
    assert (record[REJECT.index["grounds"]] is not None) == (rejected == "full queue")


def test_a_request_that_came_back_and_one_whose_user_went() -> None:
    world = EdgeWorld()
    worker = world.worker("a")
    world.apply(service())
    world.call(request_id="r1")
    worker.done("r1", code=Code.UNAVAILABLE, ran=False, error="every replica is busy")
    world.advance(0.01)
    kinds = [record[2].kind for record in explained(world, "r1").records]
    assert kinds == ["route", "return", "route"]
    world.cancel("r1")
    found = explained(world, "r1")
    assert "ended on a as failed after" in found.summary
    assert "cancelled by the caller" in found.summary


def test_unknown_and_overwritten_are_told_apart() -> None:
    world = EdgeWorld(decisions=DecisionSettings(ring=4))
    worker = world.worker("a")
    world.apply(service())
    assert unknown(world, "r1") == ("site-a: no record of request 'r1' since this daemon started")
    for number in range(1, 5):
        world.call(request_id=f"r{number}")
        worker.done(f"r{number}")
        world.now += 1.0
    text = unknown(world, "r1")
    assert "any more, if there ever was one" in text
    assert "the 4 that are kept go back 2.0 s" in text
    assert "decisions.ring" in text
    assert "routed to a" in explained(world, "r4").summary
    none = EdgeWorld(decisions=DecisionSettings(ring=0))
    assert "none are kept (decisions.ring is 0)" in unknown(none, "r1")
    none.worker("a")
    none.apply(service())
    assert explained(none, "hello").missing == ("no records are kept (decisions.ring is 0)",)


def test_half_overwritten_says_what_is_missing() -> None:
    world = EdgeWorld(decisions=DecisionSettings(ring=1))
    worker = world.worker("a")
    world.apply(service())
    world.call(request_id="r1")
    worker.done("r1")
    found = explained(world, "r1")
    assert found.summary.startswith("Request r1 of hello ended on a as completed")
    assert "overwritten" in found.missing[0]


def test_a_service() -> None:
    world = EdgeWorld()
    worker = world.worker("a", memory=100 * MIB)
    world.apply(service(replicas=2), ready=True)
    world.call(request_id="r1")
    worker.done()
    world.call("hello", "r2", deadline_s=-1.0)
    found = explained(world, "hello")
    assert found.subject is Subject.SERVICE
    assert "has 1 of 2 replicas ready (1 on a)" in found.summary
    assert "no room for 1 replica" in found.summary
    assert "1 routed to a, 1 completed, 1 rejected" in found.summary
    kinds = [record[2].kind for record in found.records]
    assert kinds.count("replica-place") == 1
    assert kinds.count("replica-wait") == 1
    assert kinds[-2:] == ["route", "reject"], "the latest of each"
    assert found.nodes == ("a",)
    world.delete()
    gone = explained(world, "hello")
    assert gone.summary.startswith("Service hello is gone.")
    assert facts(gone.records[-1]) == {
        "service": "hello", "replica": "hello-g1-0", "node": "a", "why": "the service was deleted"
    }  # fmt: skip


def test_replicas_say_where_else_they_could_be() -> None:
    world = EdgeWorld()
    world.worker("a", memory=1024 * MIB)
    world.worker("b", memory=512 * MIB)
    world.worker("c", memory=32 * MIB)
    world.apply(service(replicas=2))
    places = [r for r in explained(world, "hello").records if r[2] is REPLICA_PLACE]
    assert [facts(record)["node"] for record in places] == ["a", "b"]
    first, second = ([n["node"] for n in facts(record)["nodes"]] for record in places)
    assert (first, second) == (["a", "b", "c"], ["b", "c", "a"])
    (there,) = [n for n in facts(places[1])["nodes"] if n["node"] == "a"]
    assert (there["replicas"], there["memory_bytes"]) == (1, 960 * MIB), "as the second found it"


def test_a_placement_says_scores_and_who_was_out_of_the_question() -> None:
    world = EdgeWorld()
    for name in "abcdef":
        world.worker(name)
    by_name = {worker.node: worker for worker in world.workers.values()}
    world.cordon("c")
    world.cordon("d", drain=True)
    by_name["e"].down()
    by_name["f"].say(
        ReportUsage(NodeReport("f", 1.0, SideUsage(), SideUsage(), problem="no supervisor"))
    )
    world.apply(service(replicas=2))
    places = [r for r in explained(world, "hello").records if r[2] is REPLICA_PLACE]
    first, second = (facts(record) for record in places)
    assert (first["node"], second["node"]) == ("a", "b")
    assert first["rule"] == world.controller.books.rule.name
    choice = second["choice"]
    assert choice["runner_up"][0] == "a"
    assert choice["score"] > choice["runner_up"][1]
    assert choice["removed"] == [
        ["away", 1, ["e"]],
        ["cordoned", 1, ["c"]],
        ["drained", 1, ["d"]],
        ["no supervisor", 1, ["f"]],
    ]
    text = sentence(places[1])
    assert "of 100; before a with " in text
    assert text.endswith("; e: away; c: cordoned; d: drained; f: no supervisor")


def test_a_record_is_small_on_a_large_site() -> None:
    world = EdgeWorld()
    for number in range(30):
        world.worker(f"n{number:02}")
    world.apply(service())
    (place,) = [r for r in explained(world, "hello").records if r[2] is REPLICA_PLACE]
    assert len(facts(place)["nodes"]) == 12


def test_a_node() -> None:
    world = EdgeWorld()
    worker = world.worker("a")
    world.central_up()
    world.apply(service())
    world.central_says(start("j1.0.1", "a"))
    world.cordon("a")
    found = explained(world, "a")
    assert found.subject is Subject.NODE
    assert found.summary == (
        "Node a is ready, cordoned: of 1 CPU and 1.0 GiB, LC requests in flight hold 0 CPU, 1 "
        "replicas 64.0 MiB, and 1 BE tasks 100m CPU and 1.0 MiB."
    )
    kinds = [record[2].kind for record in found.records]
    assert kinds == ["node-state", "replica-place", "attempt-admit", "node-state"]
    assert len(explained(world, "a", limit=2).records) == 2
    worker.down("power cut")
    assert explained(world, "a").summary.startswith("Node a is away, cordoned:")
    assert facts(explained(world, "a").records[-1])["why"] == "power cut"
    world.reporting = False
    world.advance(10.0)
    assert explained(world, "a").summary.startswith("Node a is dead, cordoned:")


def test_a_worker_that_is_refused_again_and_again_is_recorded_once() -> None:
    world = EdgeWorld()
    world.worker("a")
    other = world.worker("b")
    other.node, other.key = "a", "another machine"
    for _ in range(5):
        other.up(ready=False)
    states = [facts(record)["state"] for record in explained(world, "a").records]
    assert states == ["up", "refused"]


def test_attempts_of_a_job() -> None:
    world = EdgeWorld()
    world.worker("a")
    world.central_up()
    world.central_says(start("j1.0.1", "a"))
    world.central_says(start("j1.1.1", "a", cpu_millis=5000))
    found = explained(world, "j1")
    assert found.subject is Subject.JOB
    assert found.summary == "Attempt j1.0.1 is starting on a."
    admitted, refused = (facts(record) for record in found.records)
    assert (admitted["free_cpu_millis"], refused["free_cpu_millis"]) == (1000, 900)
    assert refused["why"] == "node a: CPU 5 asked, 900m free for BE"
    assert "since this daemon started" in unknown(world, "j9", Subject.JOB)


def test_one_name_of_two_things() -> None:
    world = EdgeWorld()
    world.worker("hello")
    world.apply(service("hello"))
    both = world.controller.explain("hello", tuple(Subject), 20, world.now)
    assert [one.subject for one in both] == [Subject.SERVICE, Subject.NODE]
    assert explained(world, "hello", Subject.NODE).subject is Subject.NODE


def test_routes_of_a_plan_for_several_services_have_their_own_grounds() -> None:
    world = EdgeWorld()
    world.worker("a", cpu=4000)
    world.worker("b", cpu=4000)
    for name in ("x", "y"):
        world.apply(service(name, replicas=2, concurrency=4, cpu_per_request_millis=100))
    world.auto_solve = False
    for number in range(4):
        world.call("x", f"x{number}")
        world.call("y", f"y{number}")
    while world.solves:
        world.solve()
        world.advance(0.006)
    for name in ("x3", "y3"):
        record = explained(world, name).records[0]
        assert record[2] is ROUTE
        found = facts(record)
        assert found["demand"]["service"] == name[0]
        assert found["offer"]["node"] == found["node"]


def test_evictions_are_explained_to_the_job_and_the_node() -> None:
    world = EdgeWorld()
    world.worker("a")
    world.central_up()
    for number in range(3):
        world.central_says(start(f"j{number}.0.1", "a", memory=300 * MIB))
    world.apply(service(memory_bytes=400 * MIB))
    of_node = [facts(r) for r in explained(world, "a").records if r[2] is EVICT]
    gone = {record["attempt"] for record in of_node}
    assert len(gone) == 1, "one is enough: 124 MiB were free"
    (evicted,) = gone
    (found,) = [r for r in explained(world, evicted.partition(".")[0]).records if r[2] is EVICT]
    record = facts(found)
    assert (record["memory_bytes"], record["needed_bytes"]) == (300 * MIB, 276 * MIB)
    assert record["sufficient"]
    spared = {name for name, _ in record["spared"]}
    assert spared == {f"j{number}.0.1" for number in range(3)} - gone


def test_reassurance_is_explained_to_the_service_and_the_node() -> None:
    rule = ReassuranceRule(window_s=0.2, min_samples=2)
    world = EdgeWorld(reassurance=rule)
    worker = world.worker("a")
    world.apply(service(concurrency=4, deadline_s=0.1))
    for _ in range(8):
        world.call(timeout_s=1.0)
        world.advance(0.12)
        worker.done(service_s=0.119)
    for name in ("hello", "a"):
        found = [facts(r) for r in explained(world, name).records if r[2] is ASSURE]
        assert found, "late requests: more CPU per request"
        assert found[0]["cpu_millis"] > found[0]["assessment"]["need_millis"]
        assert found[0]["assessment"]["slack"] < 0


def test_a_forwarded_request_is_explained_by_both_sites() -> None:
    net, a, b = neighbours()
    (name,) = {r[3] for r in a.controller.decisions.since(0) if r[2] is FORWARD_REFUSED}
    assert name == "twin"
    (found,) = a.controller.explain("twin", [Subject.REQUEST], 20, net.now)
    assert [r[2].kind for r in found.records] == ["forward", "forward-refused", "route", "end"]
    assert facts(found.records[0])["site"] == "site-b"
    forwarded = [
        r[3] for r in a.controller.decisions.since(0) if r[2] is FORWARD and r[3] != "twin"
    ]
    (here,) = a.controller.explain(forwarded[0], [Subject.REQUEST], 20, net.now)
    (there,) = b.controller.explain(forwarded[0], [Subject.REQUEST], 20, net.now)
    assert f"Request {forwarded[0]} of hello ended on site-b/b1 as completed" in here.summary
    assert "It was forwarded to b1 of site site-b after" in here.summary
    assert "routed to b1" in there.summary
    assert here.nodes == (), "what b1 decided, its own edge tells"
    (service_found,) = a.controller.explain("hello", [Subject.SERVICE], 20, net.now)
    assert "routed to site site-b" in service_found.summary
