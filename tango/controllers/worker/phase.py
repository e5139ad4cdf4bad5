"""Where the process of a replica or an attempt is."""

from __future__ import annotations

import enum


class Phase(enum.Enum):
    """NONE: there is none, or it has ended.

    ASKED: StartProcess is out and not answered. HALTING: StopProcess is out.
    """

    NONE = "none"
    ASKED = "asked"
    ALIVE = "alive"
    HALTING = "halting"
