"""An edge's controller from its start: the same for the daemon and for a replay."""

from __future__ import annotations

from tango.algorithms.placement.replicas import ReplicaRule
from tango.controllers.edge.controller import EdgeController
from tango.model.starts import EdgeStart


def begin(start: EdgeStart, rule: ReplicaRule) -> EdgeController:
    """Ready for its first event. rule: as start.settings.placement names it."""
    controller = EdgeController(
        start.settings,
        incarnation=start.incarnation,
        seed=start.seed,
        rule=rule,
        loopback=start.loopback,
    )
    controller.load(dict(start.services), dict(start.placements), dict(start.nodes))
    return controller
