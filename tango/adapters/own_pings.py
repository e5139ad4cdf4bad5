"""Round trips that Tango's edges have measured themselves, as a source like any other."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tango.model.round_trips import MeasuredTrips


class OwnPings:
    """A RoundTripSource. edges: for each edge what its controller has measured until now.

    Nodes are named "edge/node": see `measured_delays.delays_through_edges`.
    """

    def __init__(self, edges: Iterable[Callable[[], MeasuredTrips]]) -> None:
        self._edges = tuple(edges)

    async def measure(self) -> MeasuredTrips:
        """See ports.RoundTripSource."""
        found = [read() for read in self._edges]
        trips = tuple(trip for one in found for trip in one.trips)
        return MeasuredTrips(trips, tuple(said for one in found for said in one.problems))
