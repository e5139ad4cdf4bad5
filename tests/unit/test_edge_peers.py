"""Sites as neighbours: offers by number and age, the nearest of them, and what is forwarded."""

from __future__ import annotations

import itertools

import pytest
from edge_world import service
from site_world import Link, Net, Site

from tango.algorithms.traffic.dss_lc import DssLc
from tango.algorithms.traffic.least_loaded import LeastLoaded
from tango.algorithms.traffic.nearest import Nearest
from tango.algorithms.traffic.round_robin import RoundRobin
from tango.algorithms.traffic.scoring import Scoring
from tango.algorithms.traffic.static_partition import StaticPartition
from tango.controllers.edge.rtt import MAX_UNANSWERED, RoundTrips
from tango.model import peers as p
from tango.model.messages import CancelDispatches
from tango.model.plan import TrafficPolicy
from tango.model.request import Code, Outcome

SERVICE_S = 0.010
DEADLINE_S = 0.150


POLICIES = [DssLc, LeastLoaded, Nearest, RoundRobin, Scoring, StaticPartition]


def spec(**fields: object) -> object:
    usual: dict[str, object] = {"cpu_per_request_millis": 100, "concurrency": 2}
    return service(deadline_s=DEADLINE_S, timeout_s=1.0, **(usual | fields))


def two(delay_s: float = 0.020, **fields: object) -> tuple[Net, Site, Site, Link]:
    """Two sites with a node and a replica of two slots each; a dials b, and both are warm."""
    net = Net()
    a, b = net.site("site-a", "site-b", **fields), net.site("site-b")
    for site in (a, b):
        site.serving(f"{site.name[-1]}1", SERVICE_S)
        site.apply(spec())
    link = net.link("site-a", "site-b", delay_s)
    net.advance(0.5)
    for site in (a, b):
        for _ in range(5):
            site.call()
            net.advance(0.05)
        site.replies.clear()
    net.advance(1.0)
    return net, a, b, link


def burst(site: Site, count: int, **fields: object) -> list[str]:
    return [site.call(**fields) for _ in range(count)]


def load(net: Net, site: Site, rate: float, seconds: float) -> None:
    """Open-loop arrivals at a steady rate."""
    for _ in range(int(rate * seconds)):
        site.call()
        net.advance(1 / rate)


# ---- delay


def test_a_delay_is_the_median_of_the_latest_pings() -> None:
    trips = RoundTrips()
    now = 0.0
    for rtt_s in (0.04, 0.04, 0.9, 0.04, 0.04):
        number = trips.ping(now)
        assert number is not None
        assert trips.pong(number, now + rtt_s) == now
        now += 1.0
    assert trips.rtt_s == pytest.approx(0.04), "a single late pong changes nothing"
    for _ in range(4):
        number = trips.ping(now)
        assert number is not None
        trips.pong(number, now + 0.4)
        now += 1.0
    assert trips.rtt_s == pytest.approx(0.4)


def test_a_pong_counts_once_and_in_order() -> None:
    trips = RoundTrips()
    first, second = trips.ping(0.0), trips.ping(0.1)
    assert first is not None
    assert second is not None
    assert trips.pong(second, 0.2) == 0.1
    assert trips.pong(second, 0.3) is None, "answered already"
    assert trips.pong(first, 0.3) is None, "late: its successor was answered"
    assert trips.pong(99, 0.3) is None, "never sent"
    assert trips.rtt_s == pytest.approx(0.1)


def test_pings_that_nobody_answers_do_not_pile_up_and_show() -> None:
    trips = RoundTrips()
    numbers = [trips.ping(at / 10) for at in range(MAX_UNANSWERED + 3)]
    assert numbers[MAX_UNANSWERED:] == [None] * 3
    assert trips.at_least_s(5.0) == 5.0
    trips.restart()
    assert trips.at_least_s(5.0) == 0.0


def test_the_delay_to_workers_is_measured_without_traffic() -> None:
    net, a, _, _ = two()
    net.advance(2.0)
    assert a.controller.books.nodes["a1"].trips.known


# ---- where calls go


def test_what_fits_here_stays_here() -> None:
    net, a, _, _ = two()
    for _ in range(20):
        burst(a, 2)
        net.advance(0.015)
    assert a.ends() == {"": 40}


@pytest.mark.parametrize("policy", POLICIES)
def test_an_overload_spills_to_the_neighbour_and_says_where_it_was_served(
    policy: type[TrafficPolicy],
) -> None:
    net, a, _, _ = two()
    a.policy = policy()
    ids = burst(a, 4)
    net.advance(0.5)
    assert a.ends() == {"": 2, "site-b": 2}
    (far, *_) = [reply for reply in map(a.replies.get, ids) if reply and reply.site]
    assert (far.outcome, far.node, far.http_status) == (Outcome.COMPLETED, "b1", 200)
    assert far.service_ms == pytest.approx(SERVICE_S * 1000)
    assert far.network_ms == pytest.approx(40, abs=2)
    assert far.queue_ms + far.network_ms + far.service_ms == pytest.approx(far.total_ms)
    assert a.peer("site-b").forwarded >= 2


def test_fact_1_every_request_ends_once_and_the_totals_equal_what_was_sent() -> None:
    net, a, b, link = two()
    sent = 0
    for second in range(3):
        load(net, a, 600, 0.5)
        sent += 300
        if second == 1:
            link.cut()
    net.advance(3.0)
    counts = a.controller.counts
    assert counts.sent - 5 == sent == len(a.replies)
    ended = counts.completed + counts.late + counts.rejected + counts.failed
    assert ended == counts.sent
    assert not a.open_calls
    assert not b.pending
    served = a.ends()
    assert served["site-b"] > 50, "and many of the answers came from the other site"


@pytest.mark.parametrize("policy", [DssLc, LeastLoaded])
def test_fact_9_changing_the_measured_rtt_changes_routing(policy: type[TrafficPolicy]) -> None:
    """40 ms and back fits the deadline of 150 ms; 400 ms does not; then it does again."""
    net, a, _, link = two()
    a.policy = policy()
    far = []
    for delay_s in (0.020, 0.200, 0.020):
        link.delay_s = delay_s
        net.advance(2.0)
        a.replies.clear()
        load(net, a, 600, 0.5)
        net.advance(1.0)
        far.append(a.ends().get("site-b", 0))
        assert a.peer("site-b").rtt_ms == pytest.approx(2000 * delay_s, rel=0.05)
        late = [reply for reply in a.replies.values() if reply.outcome is Outcome.LATE]
        assert not late
    assert far[1] == 0
    assert min(far[0], far[2]) > 30


def test_fact_9_changing_the_load_changes_routing() -> None:
    net, a, b, _ = two()
    burst(a, 4)
    net.advance(0.5)
    assert a.ends()["site-b"] == 2
    b.call(service="busy")
    b.workers[next(iter(b.workers))].service_s = 5.0
    burst(b, 2, deadline_s=60.0, timeout_s=60.0)
    net.advance(0.5)
    a.replies.clear()
    burst(a, 4)
    net.advance(0.5)
    assert "site-b" not in a.ends(), "its slots are taken, and said to be"
    assert a.peer("site-b").slots == 0


def test_fact_9_an_offer_older_than_the_bound_is_not_used() -> None:
    net, a, b, _ = two(peer_max_age_ms=500.0, node_dead_after_s=60.0)
    assert a.peer("site-b").fresh
    ages = []
    for _ in range(50):
        net.advance(0.02)
        ages.append(a.peer("site-b").age_ms or 0.0)
    assert max(ages) <= 150, "asked every 100 ms over a link of 40 ms"
    b.freeze()
    net.advance(0.7)
    view = a.peer("site-b")
    assert (view.fresh, view.connected) == (False, True)
    a.replies.clear()
    burst(a, 4)
    net.advance(0.3)
    assert a.ends() == {"": 4}
    b.thaw()
    net.advance(0.5)
    assert a.peer("site-b").fresh


def test_an_old_offer_that_a_stalled_link_delivers_late_is_old() -> None:
    """Its number says after which ping it was made, whenever it arrives."""
    net, a, _, link = two(peer_max_age_ms=500.0, node_dead_after_s=60.0)
    link.stall(up=False)
    net.advance(4.0)
    assert len(link.stalled or []) == MAX_UNANSWERED, "and no more is asked"
    link.release()
    net.advance(0.03)
    view = a.peer("site-b")
    assert (view.connected, view.fresh) == (True, False)
    assert (view.age_ms or 0.0) > 2000
    net.advance(0.5)
    assert a.peer("site-b").fresh


def test_deadline_timeout_and_priority_go_along() -> None:
    net, a, _, link = two()
    link.carried.clear()
    burst(a, 4, deadline_s=0.1, timeout_s=0.2, path="/x", body=b"b", method="POST")
    net.advance(0.3)
    (forwards,) = [m for m in link.carried if isinstance(m, p.Forwards)]
    for request in forwards.requests:
        assert (request.path, request.body, request.method) == ("/x", b"b", "POST")
        assert request.deadline_s == pytest.approx(0.1 - 0.04, abs=0.005)
        assert request.timeout_s == pytest.approx(0.2 - 0.04, abs=0.005)


def test_a_request_is_forwarded_once_and_no_further() -> None:
    net = Net()
    a = net.site("site-a", "site-b")
    b = net.site("site-b", "site-c")
    c = net.site("site-c")
    for site, slots in ((a, 1), (b, 1), (c, 8)):
        site.serving(f"{site.name[-1]}1", SERVICE_S)
        site.apply(spec(concurrency=slots))
    net.link("site-a", "site-b", 0.002)
    net.link("site-b", "site-c", 0.002)
    net.advance(1.0)
    load(net, a, 800, 1.0)
    net.advance(1.0)
    assert set(a.ends()) == {"", "site-b"}
    assert not c.replies, "of what was forwarded, nothing went on"


@pytest.mark.parametrize("how", ["cancelled", "timed out"])
def test_what_nobody_waits_for_is_recalled(how: str) -> None:
    net, a, b, _ = two()
    worker = next(iter(b.workers.values()))
    worker.service_s = 30.0
    next(iter(a.workers.values())).service_s = 30.0
    ids = burst(a, 3, deadline_s=0.2, timeout_s=0.4)
    net.advance(0.1)
    (far,) = [i for i in ids if a.controller.books.calls[i].peer is not None]
    assert far in worker.serving
    if how == "cancelled":
        a.cancel(far)
    net.advance(0.6)
    assert far in {i for m in worker.told(CancelDispatches) for i in m.request_ids}
    assert far not in b.pending
    if how == "timed out":
        reply = a.replies[far]
        assert (reply.code, reply.may_have_run, reply.site) == (
            Code.DEADLINE_EXCEEDED, True, "site-b",
        )  # fmt: skip


# ---- refusals


def refusing(net: Net, link: Link, site: Site) -> list[str]:
    """The owner's slots vanish at the moment when forwards are on their way."""
    ids = burst(site, 4)
    net.advance(0.005)
    assert [c for c in link.net.sites["site-a"].controller.books.calls.values() if c.peer]
    link.b.delete()
    return ids


def test_a_refusal_comes_back_and_is_served_here_while_there_is_time() -> None:
    net, a, _, link = two()
    ids = refusing(net, link, a)
    net.advance(0.5)
    assert [a.replies[i].outcome for i in ids] == [Outcome.COMPLETED] * 4
    assert a.ends() == {"": 4}
    assert a.peer("site-b").refused == 2


def test_a_refusal_that_comes_back_too_late_is_a_rejection() -> None:
    net, a, _, link = two()
    next(iter(a.workers.values())).service_s = 0.140
    for _ in range(60):
        a.call()
        net.advance(0.15)
    a.replies.clear()
    ids = refusing(net, link, a)
    net.advance(1.0)
    refused = [reply for i in ids if (reply := a.replies[i]).outcome is Outcome.REJECTED]
    assert len(refused) == 2
    assert {(r.code, r.may_have_run) for r in refused} == {(Code.RESOURCE_EXHAUSTED, False)}
    assert "site-b did not take it" in refused[0].error


def test_an_id_that_is_served_there_already_is_refused_and_not_run_twice() -> None:
    net, a, b, _ = two()
    next(iter(b.workers.values())).service_s = 0.1
    b.call(request_id="twin")
    a.call(request_id="x")
    a.call(request_id="y")
    a.call(request_id="twin")
    net.advance(0.5)
    assert a.replies["twin"].site == ""
    assert a.replies["twin"].outcome is Outcome.COMPLETED


# ---- sessions


@pytest.mark.parametrize("idempotent", [False, True])
def test_a_lost_stream_leaves_what_may_have_run(idempotent: bool) -> None:
    net, a, b, link = two()
    for site in (a, b):
        site.apply(spec(idempotent=idempotent))
    net.advance(0.5)
    next(iter(b.workers.values())).service_s = 5.0
    ids = burst(a, 4)
    net.advance(0.03)
    assert len(b.pending) == 2
    link.cut()
    net.advance(0.5)
    far = [a.replies[i] for i in ids][2:]
    if idempotent:
        assert {(r.outcome, r.site) for r in far} == {(Outcome.COMPLETED, "")}
    else:
        assert {(r.code, r.may_have_run, r.site) for r in far} == {
            (Code.UNAVAILABLE, True, "site-b")
        }
    assert not b.pending, "and nobody serves for a site that is gone"
    assert a.peer("site-b").lost == 2
    assert a.peer("site-b").connected, "dialled again"


def test_a_site_alone_works_alone() -> None:
    net, a, _, link = two()
    link.redials = False
    link.cut()
    net.advance(0.1)
    a.replies.clear()
    load(net, a, 400, 0.5)
    net.advance(0.5)
    assert set(a.ends()) == {""}
    assert not a.peer("site-b").connected
    link.redials = True
    link.dial()
    net.advance(1.0)
    a.replies.clear()
    load(net, a, 400, 0.5)
    net.advance(0.5)
    assert a.ends()["site-b"] > 20


def test_a_silent_peer_is_given_up_and_a_silent_guest_too() -> None:
    net, a, _, link = two()
    link.redials = False
    link.stall()
    net.advance(5.0)
    assert not a.peer("site-b").connected
    assert [n for n in a.notes if n.event == "peer_down"]
    assert link.broken


def test_a_restarted_peer_replaces_all_that_was_known_of_it() -> None:
    net, a, b, link = two()
    assert a.peer("site-b").fresh
    link.redials = False
    link.cut()
    net.advance(0.1)
    welcome = p.PeerWelcome("site-b", 8)
    a.do(p.PeerUp(5000, "site-b", welcome))
    view = a.peer("site-b")
    assert (view.connected, view.fresh, view.age_ms) == (True, False, None)
    a.do(p.PeerDown(5000, "cut"))
    a.do(p.PeerUp(5001, "site-b", p.PeerWelcome("site-b", 7)))
    refusals = [n for n in a.notes if n.event == "peer_refused"]
    assert "stale" in dict(refusals[-1].fields)["reason"]
    a.do(p.PeerUp(5002, "site-b", p.PeerWelcome("site-x", 9)))
    refusals = [n for n in a.notes if n.event == "peer_refused"]
    assert "site-x answers" in dict(refusals[-1].fields)["reason"]
    del b


def test_guests_that_are_refused() -> None:
    net, _, b, _ = two()
    sessions = itertools.count(7000)

    def why(**fields: object) -> str:
        hello = p.PeerHello(
            **({"edge": "site-a", "incarnation": 7, "version": "", "dial": 9} | fields)
        )  # type: ignore[arg-type]
        session = next(sessions)
        commands = b.controller.handle(p.GuestUp(session, hello), net.now)
        closes = [
            c.reason for c in commands if isinstance(c, p.CloseGuest) and c.session == session
        ]
        return closes[0] if closes else ""

    assert "stale: incarnation 6" in why(incarnation=6)
    assert "stale: stream 1" in why(dial=1)
    assert "this site itself" in why(edge="site-b")
    assert "not a valid name" in why(edge="../x")
    assert not why(dial=10), "a newer stream of the same site"
    assert not why(incarnation=8, dial=1), "and a newer life of it"


def test_pongs_that_are_repeated_or_swapped_move_nothing_back() -> None:
    net, a, _, link = two()
    link.repeat = True
    net.advance(1.0)
    link.repeat, link.swap = False, True
    seen = []
    for _ in range(100):
        net.advance(0.02)
        seen.append(a.controller._peers.books["site-b"].offered_at)
    assert seen == sorted(seen)
    assert a.peer("site-b").connected
    link.swap = False
    a.replies.clear()
    burst(a, 4)
    net.advance(0.5)
    assert len(a.replies) == 4


# ---- the nearest


def test_only_the_nearest_are_neighbours() -> None:
    net = Net()
    names = ("site-b", "site-c", "site-d", "site-e")
    a = net.site("site-a", *names, neighbours=2)
    links = {}
    for name, delay_s in zip(names, (0.05, 0.01, 0.02, 0.2), strict=True):
        net.site(name).serving(f"{name[-1]}1", SERVICE_S)
        net.sites[name].apply(spec())
        links[name] = net.link("site-a", name, delay_s)
    net.advance(5.0)

    def near() -> set[str]:
        return {view.peer for view in a.controller.peer_views(net.now) if view.neighbour}

    assert near() == {"site-c", "site-d"}
    links["site-e"].delay_s = 0.001
    net.advance(10.0)
    assert near() == {"site-c", "site-e"}
    links["site-c"].redials = False
    links["site-c"].cut()
    net.advance(1.0)
    assert near() == {"site-d", "site-e"}
    # The others are measured all the same, and asked for nothing.
    assert a.peer("site-b").rtt_ms == pytest.approx(100, rel=0.05)
    assert a.peer("site-b").age_ms is None


# ---- one owner for capacity


def overcommitted(site: Site) -> bool:
    return any(n.lc_cpu_millis > n.cpu_millis for n in site.controller.books.nodes.values())


def test_fact_10_two_masters_racing_for_one_node_do_not_overcommit_it() -> None:
    """Both edges send all they have to the one node of site-b, on offers that each has alone."""
    net = Net()
    names = ("site-a", "site-c")
    b = net.site("site-b")
    worker = b.serving("b1", SERVICE_S, cpu=400)
    b.apply(spec(concurrency=8))
    for name in names:
        net.site(name, "site-b")
        net.sites[name].serving(f"{name[-1]}1", SERVICE_S, cpu=100)
        net.sites[name].apply(spec(concurrency=1))
        net.link(name, "site-b", 0.005)
    net.advance(1.0)
    most = 0
    for _ in range(100):
        for name in names:
            burst(net.sites[name], 3)
        net.advance(0.005)
        most = max(most, len(worker.serving))
        assert not overcommitted(b)
    net.advance(1.0)
    assert most == 4, "the node was full, and never more than that"
    for name in names:
        assert net.sites[name].ends()["site-b"] > 20
        assert not net.sites[name].open_calls


def test_an_old_dispatch_order_still_holds() -> None:
    """A plan whose neighbour has gone since is not carried out, and nothing is lost."""
    net, a, _, link = two()
    a.auto_solve = False
    ids = burst(a, 4)
    while a.solves:
        link.redials = False
        link.cut()
        net.advance(0.001)
        a.solve()
    a.auto_solve = True
    net.advance(0.5)
    assert all(a.replies[i].site == "" for i in ids)
