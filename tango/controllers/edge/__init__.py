"""The edge master as a state machine: `EdgeController.handle(event, now) -> commands`."""

from __future__ import annotations

from tango.controllers.edge.controller import EdgeController

__all__ = ["EdgeController"]
