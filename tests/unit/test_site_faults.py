"""Sites that overload, break, stall, pause and restart at random: what must hold all the same.

The books of each edge are checked after every event (edge_world), the nodes here: a worker never
has more at once than its replica's slots, whoever sent it.
"""

from __future__ import annotations

import random

import pytest
from edge_world import service
from site_world import Net, ServingWorker

NAMES = ("site-a", "site-b", "site-c")
SLOTS = 3


@pytest.mark.parametrize("seed", range(6))
def test_whatever_happens_no_node_is_overcommitted_and_every_call_ends_once(seed: int) -> None:
    rng = random.Random(seed)
    net = Net()
    workers: list[ServingWorker] = []
    for name in NAMES:
        site = net.site(name, *(other for other in NAMES if other != name))
        workers.append(site.serving(f"{name[-1]}1", rng.choice((0.004, 0.02)), cpu=SLOTS * 100))
        site.apply(
            service(
                cpu_per_request_millis=100, concurrency=SLOTS, deadline_s=0.15, timeout_s=0.5,
                idempotent=seed % 2 == 0,
            )
        )  # fmt: skip
    for dialler in NAMES:
        for owner in NAMES:
            if owner != dialler:
                net.link(dialler, owner, rng.choice((0.001, 0.02)))
    net.advance(0.5)
    links = list(net.links.values())
    for _ in range(60):
        site, link = net.sites[rng.choice(NAMES)], rng.choice(links)
        match rng.randrange(14):
            case 0:
                link.cut()
            case 1:
                link.stall()
            case 2:
                link.release()
            case 3:
                link.repeat = not link.repeat
            case 4:
                link.swap = not link.swap
            case 5:
                site.freeze()
            case 6:
                site.thaw()
            case 7:
                link.delay_s = rng.choice((0.0, 0.001, 0.02, 0.2))
            case 8 if not site.frozen and rng.random() < 0.4:
                site.restart()
            case _:
                pass
        for other in net.sites.values():
            if not other.frozen and rng.random() < 0.5:
                for _ in range(rng.randrange(2 * SLOTS)):
                    other.call()
        net.advance(rng.choice((0.001, 0.01, 0.05)))
        assert max(worker.most for worker in workers) <= SLOTS
    for link in links:
        link.repeat = link.swap = False
        link.release()
        link.delay_s = 0.001
    for site in net.sites.values():
        site.thaw()
    net.advance(8.0)
    assert max(worker.most for worker in workers) <= SLOTS
    for name, site in net.sites.items():
        assert not site.open_calls, f"calls at {name} have no end"
        assert not site.pending
        assert all(not worker.serving for worker in workers)
        counts = site.controller.counts
        ended = counts.completed + counts.late + counts.rejected + counts.failed
        assert counts.sent == ended
    # And all are neighbours again.
    for site in net.sites.values():
        assert all(view.fresh for view in site.controller.peer_views(net.now))
