"""The central master: jobs, their placement over all sites, and their ends."""

from __future__ import annotations

from tango.controllers.central.controller import CentralController

__all__ = ["CentralController"]
