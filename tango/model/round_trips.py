"""Round trips between nodes as a source measured them; see ports.RoundTripSource."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tango.model.checks import check_range

# Longer than any network's: what is beyond it is a mistake of units, or a lie.
MAX_RTT_S = 60.0
# Of one edge: its nodes and the sites that it dials.
MAX_TRIPS = 4096


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """From source to target and back. age_s: since it was measured, 0 where it never ages."""

    source: str
    target: str
    rtt_s: float
    age_s: float = 0.0

    def __post_init__(self) -> None:
        check_range("rtt_s", self.rtt_s, 0, MAX_RTT_S)
        check_range("age_s", self.age_s, 0, math.inf)


@dataclass(frozen=True, slots=True)
class MeasuredTrips:
    """All that a source knows now. problems: what it could not tell, for people, a bounded number.

    A pair that is missing was not measured; each direction counts as a measurement of its own.
    """

    trips: tuple[RoundTrip, ...]
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EdgeTrip:
    """From an edge, which tells of it, to one of its nodes ("edge/node") or another site."""

    target: str
    rtt_s: float

    def __post_init__(self) -> None:
        check_range("rtt_s", self.rtt_s, 0, MAX_RTT_S)
