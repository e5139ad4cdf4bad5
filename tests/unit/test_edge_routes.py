"""Published routes in the edge's books: what is set aside, for whom, for how long."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from edge_world import EdgeWorld, FakeWorker, service, settings

from tango.controllers.edge.controller import EdgeController
from tango.controllers.edge.follower import HOLD_S, LEASE_S
from tango.controllers.edge.routes import SOLVE_GAP_S
from tango.controllers.edge.service_place import PlaceQos
from tango.model import events as ev
from tango.model.cluster import Enforcement
from tango.model.messages import PublishedShares, WorkerHello
from tango.model.request import Code, Outcome
from tango.model.routes import ReplicaTally, RouteTable
from tango.model.service import Expose, ReplicaState
from tango.model.settings import ServerSettings

SOON = 2 * SOLVE_GAP_S


def site(
    nodes: int = 2, *, cpu: int = 1000, concurrency: int = 5, **fields: object
) -> tuple[EdgeWorld, list[FakeWorker]]:
    """A site with a replica of "hello" on each node; each takes ten requests by its CPU."""
    world = EdgeWorld()
    workers = [world.worker(f"n{number}", cpu=cpu) for number in range(1, nodes + 1)]
    world.apply(service(replicas=nodes, concurrency=concurrency, **fields))
    return world, workers


def latest(world: EdgeWorld, follower: int) -> RouteTable:
    return world.tables[follower][-1]


def shares(worker: FakeWorker) -> dict[str, int]:
    """What a worker was told last of the shares of its replicas."""
    return dict(worker.told(PublishedShares)[-1].shares)


def grow(world: EdgeWorld, follower: int, wanted: int) -> int:
    """Ask for slots until the demand is settled; what it got in all."""
    for _ in range(3):
        world.report(follower, wanted)
        world.advance(SOON)
    return sum(world.slots(follower).values())


# ---- what is published


def test_a_follower_learns_of_every_ready_replica() -> None:
    world, _ = site()
    follower = world.follow()
    table = latest(world, follower)
    assert {(r.replica, r.node, r.host, r.port) for r in table.routes} == {
        ("hello-g1-0", "n1", "127.0.0.1", 8000),
        ("hello-g1-1", "n2", "127.0.0.1", 8000),
    }
    assert (table.service, table.edge, table.incarnation) == ("hello", "site-a", 7)
    assert (table.deadline_s, table.timeout_s, table.lease_s) == (0.1, 5.0, LEASE_S)
    assert sum(r.slots for r in table.routes) == 1


def test_the_weights_are_the_policys_counts() -> None:
    world, _ = site(nodes=3)
    asked = []
    route = world.policy.route

    def noting(snapshot):  # type: ignore[no-untyped-def]
        asked.append(snapshot)
        return route(snapshot)

    world.policy.route = noting  # type: ignore[method-assign]
    follower = world.follow()
    (snapshot,) = asked
    (demand,) = snapshot.demands
    # Fifteen fit, a fifth stays for carried ones, and half of the rest is asked for.
    assert demand.count == 6
    assert sum(r.weight for r in latest(world, follower).routes) == 6


def test_only_replicas_that_are_ready_are_published() -> None:
    world, (first, second) = site()
    follower = world.follow()
    assert grow(world, follower, 8) == 8
    before = latest(world, follower).version
    first.ready(ReplicaState.UNHEALTHY, "it is ill")
    # At once: no time has passed.
    table = latest(world, follower)
    assert [r.node for r in table.routes] == ["n2"]
    assert table.version > before
    first.ready()
    world.advance(SOON)
    assert {r.node for r in latest(world, follower).routes} == {"n1", "n2"}
    second.down()
    assert [r.node for r in latest(world, follower).routes] == ["n1"]


def test_why_there_is_no_route() -> None:
    world, (worker,) = site(1)
    world.apply(service("other", replicas=0))
    other = world.follow("other")
    assert "0 replicas" in latest(world, other).reason
    follower = world.follow()
    world.advance(SOON)
    worker.ready(ReplicaState.BACKOFF, "it ends")
    assert "it ends" in latest(world, follower).reason
    world.delete()
    assert "does not exist" in latest(world, follower).reason


def test_one_slot_in_all_stays_for_carried_requests() -> None:
    world, _ = site(1, concurrency=1)
    follower = world.follow()
    table = latest(world, follower)
    assert table.routes == ()
    assert "the edge carries" in table.reason
    world.call()
    assert world.controller.counts.sent == 1


@pytest.mark.parametrize(
    ("expose", "address", "labels", "host"),
    [
        (Expose.NODE, "10.0.0.7", (), "10.0.0.7"),
        (Expose.NODE, "10.0.0.7", (("address", "n1.example"),), "n1.example"),
        (Expose.NODE, "", (), ""),
        (Expose.LOOPBACK, "10.0.0.7", (), ""),
    ],
)
def test_on_a_network_only_what_is_exposed_on_the_node(
    expose: Expose, address: str, labels: tuple[tuple[str, str], ...], host: str
) -> None:
    world = EdgeWorld()
    server = ServerSettings("192.0.2.1:7410", "", "")
    world.controller = EdgeController(settings(server=server), incarnation=7)
    worker = FakeWorker(world, "n1", 1000, 2**30)
    worker.session = next(world.sessions)
    world.workers[worker.session] = worker
    hello = WorkerHello("n1", worker.key, 1, worker.capacity, Enforcement.NONE, "0")
    hello = replace(hello, labels=labels)
    world.do(ev.WorkerUp(worker.session, hello, worker.state(), address))
    world.apply(service(concurrency=4, expose=expose))
    follower = world.follow()
    table = latest(world, follower)
    assert [r.host for r in table.routes] == ([host] if host else [])
    if not host:
        wanted = "no address" if expose is Expose.NODE else "expose: node"
        assert wanted in table.reason


# ---- what is set aside


def test_a_share_follows_demand_and_leaves_a_part_for_carried_requests() -> None:
    world, workers = site()
    follower = world.follow()
    assert grow(world, follower, 4) == 4
    assert grow(world, follower, 100) == 8
    for worker in workers:
        assert sum(shares(worker).values()) == 4
    for _ in range(8):
        world.call()
    world.advance(0.01)
    # Ten slots, eight of them published: two run, and the rest waits.
    assert sum(len(worker.serving) for worker in workers) == 2
    assert world.view().queued == 6
    assert world.view().published == 8


def test_less_is_wanted_only_after_a_while() -> None:
    world, _ = site()
    follower = world.follow()
    grow(world, follower, 8)
    assert grow(world, follower, 2) == 8
    for _ in range(int(HOLD_S / 0.5) + 1):
        world.report(follower, 2)
        world.advance(0.5)
    assert sum(world.slots(follower).values()) == 2


def test_a_share_waits_for_carried_requests_to_end_and_comes_before_new_ones() -> None:
    world, (worker,) = site(1, concurrency=10)
    for _ in range(10):
        world.call(timeout_s=60.0, deadline_s=60.0)
    world.advance(0.1)
    follower = world.follow()
    world.report(follower, 6)
    world.advance(SOON)
    # Every slot is in use: nothing is granted, and nothing new is dispatched.
    assert world.slots(follower) == {}
    waiting = world.call(timeout_s=60.0, deadline_s=60.0)
    for done in range(1, 7):
        worker.done(next(iter(worker.serving)))
        world.report(follower, 6)
        world.advance(SOON)
        assert sum(world.slots(follower).values()) == done
        assert waiting not in worker.serving
    worker.done(next(iter(worker.serving)))
    assert waiting in worker.serving


def test_cpu_that_other_services_hold_is_not_published() -> None:
    world, (worker,) = site(1, cpu=1000, concurrency=10)
    world.apply(service("other", concurrency=10, cpu_per_request_millis=300))
    for _ in range(2):
        world.call("other", deadline_s=9.0, timeout_s=9.0)
    follower = world.follow()
    # 400m are left: four of 100m, one of which stays for carried requests.
    assert grow(world, follower, 10) == 3
    assert worker.world.controller.books.nodes["n1"].lc_cpu_millis == 900


def test_slots_are_dealt_fairly_among_followers() -> None:
    world, _ = site()
    one, two, three = (world.follow() for _ in range(3))
    for _ in range(4):
        for follower, wanted in ((one, 1), (two, 20), (three, 20)):
            world.report(follower, wanted)
        world.advance(SOON)
    got = [sum(world.slots(follower).values()) for follower in (one, two, three)]
    assert got[0] == 1
    assert sorted(got[1:]) == [3, 4]


def test_what_one_loses_another_gets_only_once_the_first_knows() -> None:
    world, _ = site()
    one = world.follow()
    assert grow(world, one, 8) == 8
    old = latest(world, one).version
    two = world.follow()
    for _ in range(3):
        world.report(one, 8, version=old)
        world.report(two, 8)
        world.advance(SOON)
    assert sum(world.slots(one).values()) == 4
    assert world.slots(two) == {}
    # It knows, but has not let go of all.
    busy = ReplicaTally("hello-g1-0", in_flight=4)
    world.report(one, 8, busy)
    world.report(two, 8)
    world.advance(SOON)
    assert sum(world.slots(two).values()) == 2
    world.report(one, 8)
    world.report(two, 8)
    world.advance(SOON)
    assert sum(world.slots(two).values()) == 4


def test_a_watcher_gets_weights_and_no_slots() -> None:
    world, workers = site()
    watcher = world.follow(passive=True)
    assert {r.slots for r in latest(world, watcher).routes} == {0}
    assert all(not worker.told(PublishedShares) for worker in workers)
    world.advance(10 * LEASE_S)
    assert len(world.tables[watcher]) == 1
    world.do(ev.FollowEnded(watcher))
    assert world.controller.books.published == set()
    assert world.solves == type(world.solves)()


def test_a_node_where_more_cpu_does_not_help_is_not_published_while_others_are() -> None:
    world, _ = site()
    book = world.controller.books.services["hello"]
    place = book.places["n1"]
    place.qos = PlaceQos(world.now)
    place.saturated = True
    book.saturated = 1
    follower = world.follow()
    assert [r.node for r in latest(world, follower).routes] == ["n2"]
    assert grow(world, follower, 9) == 4


# ---- leases


def test_a_share_expires_when_reports_stop() -> None:
    world, (worker,) = site(1)
    follower = world.follow()
    grow(world, follower, 4)
    assert shares(worker) == {"hello-g1-0": 4}
    world.report(follower, 4)
    world.advance(LEASE_S - 0.01)
    assert not worker.told(PublishedShares)
    world.advance(0.02)
    assert shares(worker) == {}
    assert world.slots(follower) == {}
    assert world.controller.books.nodes["n1"].lc_cpu_millis == 0
    # It was only held up: its next report brings slots again.
    world.report(follower, 4)
    world.advance(SOON)
    assert sum(world.slots(follower).values()) == 4


def test_a_follower_that_says_goodbye_leaves_nothing() -> None:
    world, (worker,) = site(1)
    follower = world.follow()
    grow(world, follower, 4)
    world.report(follower, 0, last=True)
    world.do(ev.FollowEnded(follower))
    assert shares(worker) == {}
    assert world.controller.books.published == set()
    assert world.controller.wake_at != world.now


def test_one_that_vanishes_keeps_what_it_may_have_under_way() -> None:
    world, (worker,) = site(1, timeout_s=20.0)
    follower = world.follow()
    grow(world, follower, 4)
    world.report(follower, 4, ReplicaTally("hello-g1-0", in_flight=3))
    worker.told(PublishedShares)
    world.do(ev.FollowEnded(follower))
    world.advance(LEASE_S - 0.01)
    assert not worker.told(PublishedShares)
    world.advance(0.02)
    # Of what was under way when it was heard last nobody knows the end: until its timeout.
    assert shares(worker) == {"hello-g1-0": 3}
    world.advance(20.0)
    assert shares(worker) == {}
    assert world.controller.books.published == set()


def test_a_reconnected_worker_is_told_again() -> None:
    world, (worker,) = site(1)
    follower = world.follow()
    grow(world, follower, 4)
    worker.told(PublishedShares)
    worker.down()
    worker.up()
    # What the follower was given before is set aside until it knows that it has less.
    assert shares(worker) == {"hello-g1-0": 4}
    for _ in range(2):
        world.report(follower, 4)
        world.advance(SOON)
    assert shares(worker) == {"hello-g1-0": 4}


def test_a_replica_that_rolls_away_stays_set_aside_until_its_followers_let_go() -> None:
    world, (worker,) = site(1)
    follower = world.follow()
    grow(world, follower, 4)
    world.report(follower, 4, ReplicaTally("hello-g1-0", in_flight=2))
    world.apply(service(replicas=1, concurrency=5, deadline_s=0.2))
    world.roll()
    world.advance(SOON)
    table = latest(world, follower)
    assert [r.replica for r in table.routes] == ["hello-g2-0"]
    assert table.deadline_s == 0.2
    assert shares(worker)["hello-g1-0"] == 4
    world.report(follower, 4, ReplicaTally("hello-g1-0", in_flight=1))
    assert shares(worker)["hello-g1-0"] == 1
    world.report(follower, 4)
    assert "hello-g1-0" not in shares(worker)


def test_deleted_and_declared_again() -> None:
    world, _ = site(1)
    follower = world.follow()
    grow(world, follower, 4)
    world.delete()
    assert latest(world, follower).routes == ()
    world.report(follower, 0)
    world.apply(service(concurrency=5))
    world.report(follower, 4)
    world.advance(SOON)
    world.report(follower, 4)
    world.advance(SOON)
    assert sum(world.slots(follower).values()) == 4


# ---- what is reported


def test_direct_requests_count_as_the_services_own() -> None:
    world, _ = site(1)
    follower = world.follow()
    tally = ReplicaTally("hello-g1-0", completed=5, late=2, failed=1, latency_s=0.14)
    world.report(follower, 1, tally)
    counts = world.view().counts
    assert (counts.sent, counts.completed, counts.late, counts.failed) == (8, 5, 2, 1)
    assert world.view().service_time_ms == pytest.approx(20.0)


def test_a_report_is_not_believed_beyond_what_a_replica_serves() -> None:
    world, (worker,) = site(1)
    follower = world.follow()
    grow(world, follower, 2)
    world.report(
        follower,
        10**9,
        ReplicaTally("hello-g1-0", in_flight=10**6),
        ReplicaTally("stranger", in_flight=7),
    )
    world.advance(SOON)
    assert shares(worker) == {"hello-g1-0": 5}


def test_a_policy_that_fails_leaves_the_weights_and_is_asked_again() -> None:
    world, _ = site(1)
    follower = world.follow()
    grow(world, follower, 3)
    world.auto_solve = False
    world.advance(2.0)
    world.report(follower, 3)
    (solve,) = world.solves
    world.solves.clear()
    world.do(ev.SolveFailed(solve.solve_id, "no such luck"))
    assert world.notes[-1].event == "routes_solve_failed"
    assert sum(world.slots(follower).values()) == 3
    world.advance(0.2)
    assert len(world.solves) == 1


def test_carried_and_direct_together_are_never_above_the_slots() -> None:
    drawn = random.Random(3)
    world, workers = site(3)
    followers: list[int] = [world.follow()]
    for _ in range(300):
        step = drawn.randrange(7)
        if step == 0 and len(followers) < 4:
            followers.append(world.follow())
        elif step == 1 and len(followers) > 1:
            gone = followers.pop(drawn.randrange(len(followers)))
            world.do(ev.FollowEnded(gone))
        elif step == 2:
            world.call(deadline_s=9.0, timeout_s=9.0)
        elif step == 3:
            worker = drawn.choice(workers)
            if worker.serving:
                worker.done(next(iter(worker.serving)))
        elif step == 4:
            drawn.choice(workers).ready(
                drawn.choice((ReplicaState.READY, ReplicaState.READY, ReplicaState.UNHEALTHY))
            )
        else:
            follower = drawn.choice(followers)
            slots = world.slots(follower)
            tallies = [ReplicaTally(name, drawn.randint(0, most)) for name, most in slots.items()]
            world.report(follower, drawn.randint(0, 12), *tallies)
        world.advance(drawn.random() * 0.1)
        for worker in workers:
            name = next(iter(worker.replicas))
            given = sum(world.slots(one).get(name, 0) for one in followers if world.tables[one])
            if worker.replicas[name].state is ReplicaState.READY:
                assert given + len(worker.serving) <= 5, "more may run than the replica serves"
    assert {reply.code for reply in world.replies.values()} <= set(Code)
    assert Outcome.COMPLETED in {reply.outcome for reply in world.replies.values()}
