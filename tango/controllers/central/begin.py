"""A central controller from its start: the same for the daemon and for a replay."""

from __future__ import annotations

from tango.controllers.central.controller import CentralController
from tango.model.starts import CentralStart


def begin(start: CentralStart) -> CentralController:
    """Ready for its first event."""
    controller = CentralController(
        start.settings,
        incarnation=start.incarnation,
        seed=start.seed,
        elastic=start.elastic,
        strict=start.strict,
        needs_node=start.needs_node,
    )
    controller.load(dict(start.jobs))
    return controller
