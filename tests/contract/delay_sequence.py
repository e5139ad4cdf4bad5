"""A seeded sequence of places, ends, failures, returns and drifts, each event's writes at once."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator

from tango.adapters.policies import placement_plugins
from tango.algorithms.placement.cluster import Cluster, NodeRow
from tango.algorithms.placement.delay_bound import DelayBound
from tango.algorithms.placement.delay_records import BoundJournal
from tango.algorithms.placement.delays import MatrixDelays
from tango.algorithms.placement.placer import Placer
from tango.algorithms.placement.pod import Pod
from tango.algorithms.placement.room import Room
from tango.model.affinity import Requirement, Toleration
from tango.model.commands import Delete, Put
from tango.model.placement_profile import Profile, Use

PROFILE = Profile("edge", (Use("affinity"), Use("delay"), Use("fit"), Use("cores")))
PLUGINS = placement_plugins(use.plugin for use in PROFILE.plugins)
N_NODES = 6
NAMES = tuple(f"n{number}" for number in range(N_NODES))


def delays(seed: int) -> MatrixDelays:
    rng = random.Random(seed)
    places = [(rng.random(), rng.random()) for _ in range(N_NODES + 1)]
    return MatrixDelays(
        [[((x - u) ** 2 + (y - v) ** 2) ** 0.5 for u, v in places] for x, y in places]
    )


def books() -> DelayBound:
    rows = [NodeRow(name, 8000, 16) for name in NAMES]
    rows.append(NodeRow("sky", 64000, 64, cloud=True))
    return DelayBound(Placer(Room(Cluster(rows, delays=delays(0))), PROFILE, PLUGINS))


def state(here: DelayBound) -> str:
    """All that has to survive, as text: pods, placeholders, cores by id, ports."""
    held = here.room.held
    names = here.room.cluster.names
    return json.dumps(
        [
            [[n, one.node, one.backup, one.warning] for n, one in sorted(here.bound.items())],
            sorted(
                [names[host], *size[:3], sorted(size.ports)]
                for host, size in here.placeholders.sizes.items()
            ),
            sorted([name, names[one.node], *one.cores] for name, one in held.items()),
            here.room.memory.tolist(),
            here.room.cpu.tolist(),
        ]
    )


def steps(seed: int) -> Iterator[tuple[DelayBound, tuple[Put | Delete, ...]]]:
    """The books after each event, and what it wrote; for ever."""
    rng = random.Random(seed)
    here = books()
    journal = BoundJournal(here)
    dead: set[str] = set()
    number = 0
    while True:
        number += 1
        draw = rng.random()
        if draw < 0.55:
            near = rng.choice([*NAMES, ""])
            bound = {"near": near, "bound_s": rng.random()} if near else {}
            here.schedule(
                Pod(
                    f"p{number}", memory_bytes=rng.randrange(1, 5), cores=rng.randrange(3),
                    requires=(Requirement("gpu", "DoesNotExist"),),
                    prefers=((Requirement("zone", "In", ("a", "b")), 0.5),),
                    tolerations=(Toleration("x", None, "NoSchedule"),),
                    ports=rng.choice(((), (), (80,), (80, 443))), **bound,
                )
            )  # fmt: skip
        elif draw < 0.72 and here.bound:
            here.delete(rng.choice(sorted(here.bound)))
        elif draw < 0.78:
            fallen = set(rng.sample(NAMES, rng.randrange(1, 3)))
            dead |= fallen
            here.fail(fallen)
        elif draw < 0.94 and dead:
            here.join(dead)
            dead = set()
        else:
            here.delays_changed(delays(rng.randrange(99)))
        yield here, journal.writes()
