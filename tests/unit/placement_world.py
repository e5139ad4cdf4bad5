"""Small clusters for the tests of placement, and the plugins as installed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tango.adapters.policies import placement_plugins, policy_names
from tango.algorithms.placement.cluster import Cluster, ImageRow, NodeRow
from tango.algorithms.placement.delays import MatrixDelays
from tango.algorithms.placement.placer import Placer
from tango.algorithms.placement.room import Room
from tango.model.placement_profile import DEFAULT, Profile, Use, Value

GIB = 2**30
MIB = 2**20
PLUGINS = placement_plugins(policy_names("tango.placement"))


def node(name: str, cpu_millis: int = 4000, memory_bytes: int = 8 * GIB, **more: object) -> NodeRow:
    return NodeRow(name, cpu_millis, memory_bytes, **more)  # type: ignore[arg-type]


def room(
    nodes: Iterable[NodeRow],
    delays_ms: Sequence[Sequence[float]] | None = None,
    images: Iterable[ImageRow] = (),
) -> Room:
    """delays_ms: in the order of the nodes' names."""
    delays = None
    if delays_ms is not None:
        delays = MatrixDelays([[value / 1000 for value in row] for row in delays_ms])
    return Room(Cluster(nodes, images=images, delays=delays))


def placer(made: Room, profile: Profile = DEFAULT) -> Placer:
    return Placer(made, profile, PLUGINS)


def only(plugin: str, **parameters: Value) -> Profile:
    """One plugin alone."""
    return Profile("test", (Use(plugin, parameters=tuple(parameters.items())),))
