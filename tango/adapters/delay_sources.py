"""The source of round trips that [delays] names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from tango.model.errors import InvalidField
from tango.model.round_trips import MeasuredTrips
from tango.model.settings import DelaySettings, DelaySource
from tango.ports import RoundTripSource

NEEDS_REGISTRY = "install the extra `registry` (in a clone: pip install '.[registry]')"


def delay_source(settings: DelaySettings) -> RoundTripSource | None:
    """What is to be read; None where edges tell what they measure. Raises InvalidField."""
    match settings.source:
        case DelaySource.OWN:
            return None
        case DelaySource.FILE:
            # It needs numpy, by way of the nodes that such files may hold.
            try:
                from tango.adapters.delay_files import DelayFile
            except ModuleNotFoundError as error:
                raise _missing(error, "install the extra `solver`") from None
            names = Path(settings.names) if settings.names else None
            return _Named(DelayFile(Path(settings.path), names), dict(settings.nodes))
    try:
        from tango.adapters.goldpinger import Goldpinger
    except ModuleNotFoundError as error:
        raise _missing(error, NEEDS_REGISTRY) from None
    ca_file = Path(settings.ca_file) if settings.ca_file else None
    return Goldpinger(settings.url, dict(settings.nodes), ca_file=ca_file)


class _Named:
    """A source whose names are not ours."""

    def __init__(self, inner: RoundTripSource, node_of: Mapping[str, str]) -> None:
        self._inner = inner
        self._node_of = node_of

    async def measure(self) -> MeasuredTrips:
        """See ports.RoundTripSource."""
        found = await self._inner.measure()
        of = self._node_of
        trips = tuple(
            replace(
                one, source=of.get(one.source, one.source), target=of.get(one.target, one.target)
            )
            for one in found.trips
        )
        return MeasuredTrips(trips, found.problems)


def _missing(error: ModuleNotFoundError, fix: str) -> InvalidField:
    return InvalidField("delays.source", f"needs {error.name}, which is not installed", fix)
