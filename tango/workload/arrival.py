"""One arrival of an open-loop load: when, and how much work it brings."""

from __future__ import annotations

from dataclasses import dataclass

from tango.model.fast_init import fast_init


@fast_init
@dataclass(frozen=True, slots=True)
class Arrival:
    """One request or job of a load.

    at_s: seconds after the start of the load, whatever the system under test does (open loop).
    work: cost relative to the service's ordinary request, 1.0 = ordinary.
    """

    at_s: float
    work: float = 1.0
