"""The offline plan: by hand, and beside the online one on random topologies (-s prints both)."""

from __future__ import annotations

import random

from placement_world import GIB, PLUGINS, node, placer, room

from tango.algorithms.placement.cluster import Cluster
from tango.algorithms.placement.delay_bound import DelayBound
from tango.algorithms.placement.delay_offline import place_offline
from tango.algorithms.placement.delays import MatrixDelays
from tango.algorithms.placement.placer import Placer
from tango.algorithms.placement.pod import Pod
from tango.algorithms.placement.room import Room
from tango.model.placement_profile import Profile, Use

PROFILE = Profile("edge", (Use("affinity"), Use("delay"), Use("fit")))
N_NODES = 20


def test_one_placeholder_where_it_helps_most_as_large_as_the_largest() -> None:
    star = [[0, 10, 10, 10], [10, 0, 20, 20], [10, 20, 0, 20], [10, 20, 20, 0]]
    here = DelayBound(placer(room([node(name) for name in "abcd"], star), PROFILE))
    pods = [
        Pod(f"p{leaf}", memory_bytes=size * GIB, near=leaf, bound_s=0.01)
        for leaf, size in (("b", 3), ("c", 2), ("d", 4))
    ]
    pods.append(Pod("friend", memory_bytes=GIB, near="pb", bound_s=0.0))
    assert place_offline(here, pods) == ()
    assert {name: (one.node, one.backup) for name, one in here.bound.items()} == {
        "pb": ("b", "a"),
        "pc": ("c", "a"),
        "pd": ("d", "a"),
        "friend": ("b", ""),
    }
    assert here.placeholders.sizes[0].memory_bytes == 4 * GIB


def world(seed: int) -> tuple[Cluster, list[Pod]]:
    """20 nodes of 16 GiB on a square of 40 ms; pods of 1 to 4 GiB within 5 to 20 ms of a node."""
    rng = random.Random(seed)
    places = [(rng.uniform(0, 0.04), rng.uniform(0, 0.04)) for _ in range(N_NODES)]
    delays = [[((x - u) ** 2 + (y - v) ** 2) ** 0.5 for u, v in places] for x, y in places]
    rows = [node(f"n{number:02d}", 64000, 16 * GIB) for number in range(N_NODES)]
    pods = [
        Pod(
            f"p{number:03d}", 100, rng.randrange(1, 5) * GIB,
            near=f"n{rng.randrange(N_NODES):02d}", bound_s=rng.uniform(0.005, 0.02),
        )
        for number in range(90)
    ]  # fmt: skip
    return Cluster(rows, delays=MatrixDelays(delays)), pods


def figures(here: DelayBound, rejected: int) -> tuple[int, int, int]:
    """Backup memory in GiB, pods rejected, pods without a backup."""
    reserved = sum(size.memory_bytes for size in here.placeholders.sizes.values())
    return reserved // GIB, rejected, sum(not one.backup for one in here.bound.values())


def test_offline_beside_online_on_random_topologies() -> None:
    totals = {"online": (0, 0, 0), "offline": (0, 0, 0)}
    for seed in range(20):
        cluster, pods = world(seed)
        online = DelayBound(Placer(Room(cluster), PROFILE, PLUGINS))
        for pod in pods:
            online.schedule(pod)
        found = {"online": figures(online, len(pods) - len(online.bound))}
        offline = DelayBound(Placer(Room(cluster), PROFILE, PLUGINS))
        rejected = place_offline(offline, pods)
        assert len(offline.bound) + len(rejected) == len(pods)
        found["offline"] = figures(offline, len(rejected))
        for here in (online, offline):
            for host in here.placeholders.sizes:
                assert here.placeholders.required(host) == here.placeholders.sizes[host]
            assert (here.room.memory >= 0).all()
        totals = {
            how: tuple(a + b for a, b in zip(totals[how], found[how], strict=True))  # type: ignore[misc]
            for how in totals
        }
    # Less memory backs up more pods, and more are rejected: placeholders come first.
    print("GiB of backup, rejected, without backup, of 1800 pods:", totals)
    assert totals["offline"][0] < totals["online"][0]
    assert sum(totals["offline"][1:]) < sum(totals["online"][1:])
