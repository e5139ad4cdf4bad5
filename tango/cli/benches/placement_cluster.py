"""What `tango bench placement` places, and where: a seeded cluster and its pods."""

from __future__ import annotations

import random

from tango.adapters.policies import placement_plugins
from tango.algorithms.placement.cluster import Cluster, ImageRow, NodeRow
from tango.algorithms.placement.delays import SiteDelays
from tango.algorithms.placement.placer import Placer
from tango.algorithms.placement.pod import Pod
from tango.algorithms.placement.room import Room
from tango.model.placement_profile import DEFAULT

NODES_PER_SITE = 40
GROUPS = 100
IMAGES = 60
BASES = 12
MIB = 2**20
GIB = 2**30


def placer_of(cluster: Cluster) -> Placer:
    """The default profile on the empty cluster, its plugins found by entry point."""
    plugins = placement_plugins(use.plugin for use in DEFAULT.plugins)
    return Placer(Room(cluster), DEFAULT, plugins)


def random_cluster(size: int, rng: random.Random) -> Cluster:
    """As `tango bench placement --help` says; each node holds a few of the images."""
    n_sites = -(-size // NODES_PER_SITE)
    site_of = [number // NODES_PER_SITE for number in range(size)]
    places = [(rng.random(), rng.random()) for _ in range(n_sites)]
    between = [
        [0.001 + 0.042 * ((x - u) ** 2 + (y - v) ** 2) ** 0.5 for u, v in places] for x, y in places
    ]
    bases = [
        [(f"base{base}-{part}", rng.randrange(1, 40) * MIB) for part in range(3)]
        for base in range(BASES)
    ]
    images = [
        ImageRow(
            f"image{number}",
            (
                *rng.choice(bases),
                *(
                    (f"layer{number}-{part}", rng.randrange(1000, 60 * MIB))
                    for part in range(rng.randrange(2, 7))
                ),
            ),
        )
        for number in range(IMAGES)
    ]
    rows = []
    for number in range(size):
        cores = rng.choice((8, 16, 32, 64))
        held = rng.sample(range(IMAGES), 4)
        rows.append(
            NodeRow(
                f"n{number:06d}", cores * 1000, cores * 4 * GIB, site=f"s{site_of[number]:04d}",
                labels=(("zone", f"z{number % 7}"),), images=tuple(f"image{one}" for one in held),
            )
        )  # fmt: skip
    return Cluster(rows, images=images, delays=SiteDelays(site_of, between, 0.0005))


def random_pods(count: int, cluster: Cluster, rng: random.Random) -> list[Pod]:
    """Pods as `tango bench placement --help` says."""
    return [
        Pod(
            f"p{number}",
            memory_bytes=rng.randrange(64, 2048) * MIB,
            cores=rng.randrange(1, 3),
            ports=(rng.randrange(8000, 8050),) if rng.random() < 0.2 else (),
            group=f"g{number % GROUPS}",
            images=(f"image{rng.randrange(IMAGES)}",),
            near=cluster.names[rng.randrange(cluster.size)],
            bound_s=rng.uniform(0.02, 0.05),
        )
        for number in range(count)
    ]
