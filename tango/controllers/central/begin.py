"""A central controller from its start: the same for the daemon and for a replay."""

from __future__ import annotations

from tango.controllers.central.controller import CentralController
from tango.model.bounds import BoundRule
from tango.model.starts import CentralStart


def begin(start: CentralStart, bound_rule: BoundRule | None = None) -> CentralController:
    """Ready for its first event. bound_rule: as start.settings.placement names it."""
    controller = CentralController(
        start.settings,
        incarnation=start.incarnation,
        seed=start.seed,
        elastic=start.elastic,
        strict=start.strict,
        needs_node=start.needs_node,
        bound_rule=bound_rule,
    )
    controller.load(dict(start.jobs), dict(start.bounds), dict(start.reservations))
    return controller
