"""Places to distances, network delays, each user's nearest site, and each site's share of load.

Distances are great circles on a sphere of the Earth's mean radius (haversine; Sinnott, "Virtues of
the Haversine", Sky and Telescope 68(2), 1984), off by about 0.5 % at most. Delays are not in the
EUA data; they are modelled (see DelayModel).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tango.model.errors import InvalidField
from tango.workload.bounds import require_number
from tango.workload.eua import Place

EARTH_RADIUS_KM = 6371.0088  # mean radius R1, IUGG 1980
FIBRE_MS_PER_KM = 0.005  # ITU-T G.114 (2003), annex A: optical fibre, 5 us/km


@dataclass(frozen=True, slots=True)
class DelayModel:
    """One-way delay in ms = base_ms + ms_per_km * distance; 0 from a place to itself.

    The defaults: 0.5 ms for the switches and access network that any packet between two sites
    passes, and light in fibre (5 us/km) on a way twice as long as the beeline. Within a city that
    makes distance nearly irrelevant, as it is; raise ms_per_km where it stands for more than fibre.
    """

    base_ms: float = 0.5
    ms_per_km: float = 2 * FIBRE_MS_PER_KM

    def __post_init__(self) -> None:
        require_number("base_ms", self.base_ms, 0, 10_000)
        require_number("ms_per_km", self.ms_per_km, 0, 10_000)

    def delay_ms(self, distance_km: float) -> float:
        """The delay between two different places."""
        return self.base_ms + self.ms_per_km * distance_km


def distance_km(one: Place, other: Place) -> float:
    """The great-circle distance."""
    latitude, other_latitude = math.radians(one.latitude), math.radians(other.latitude)
    half_south = (other_latitude - latitude) / 2
    half_east = math.radians(other.longitude - one.longitude) / 2
    chord = (
        math.sin(half_south) ** 2
        + math.cos(latitude) * math.cos(other_latitude) * math.sin(half_east) ** 2
    )
    return 2 * EARTH_RADIUS_KM * math.asin(math.sqrt(min(1.0, chord)))


def distances_km(places: Sequence[Place]) -> tuple[tuple[float, ...], ...]:
    """Distance of each pair: row i, column j from places[i] to places[j]; symmetric, 0 at i = j."""
    rows = [[0.0] * len(places) for _ in places]
    for i, one in enumerate(places):
        for j in range(i):
            rows[i][j] = rows[j][i] = distance_km(one, places[j])
    return tuple(tuple(row) for row in rows)


def delays_ms(
    distances: Sequence[Sequence[float]], model: DelayModel
) -> tuple[tuple[float, ...], ...]:
    """One-way delay of each pair of a square table of distances; 0 at i = j."""
    return tuple(
        tuple(0.0 if i == j else model.delay_ms(km) for j, km in enumerate(row))
        for i, row in enumerate(distances)
    )


def neighbours(distances: Sequence[Sequence[float]], count: int) -> tuple[tuple[int, ...], ...]:
    """For each place the `count` nearest others, nearest first; ties by place in the list."""
    return tuple(
        tuple(sorted((j for j in range(len(row)) if j != i), key=lambda j: (row[j], j))[:count])
        for i, row in enumerate(distances)
    )


def nearest(place: Place, sites: Sequence[Place]) -> int:
    """The index of the site nearest to `place`, the first of several. InvalidField: no sites."""
    if not sites:
        raise InvalidField("sites", "there are none", "give at least one")
    return min(range(len(sites)), key=lambda index: (distance_km(place, sites[index]), index))


@dataclass(frozen=True, slots=True)
class SiteShare:
    """What one site gets of the users. share: of all requests; access_km: their mean distance to
    it, 0 where it has none."""

    users: int
    share: float
    access_km: float


def site_shares(sites: Sequence[Place], users: Iterable[Place]) -> tuple[SiteShare, ...]:
    """Each user to the nearest site, whatever its load, and each user with as many requests.

    Holds one counter per site, however many users come. Raises InvalidField without any user.
    """
    counts, totals_km = [0] * len(sites), [0.0] * len(sites)
    for user in users:
        index = nearest(user, sites)
        counts[index] += 1
        totals_km[index] += distance_km(user, sites[index])
    if not (everyone := sum(counts)):
        raise InvalidField("users", "there are none", "give at least one")
    return tuple(
        SiteShare(count, count / everyone, total_km / count if count else 0.0)
        for count, total_km in zip(counts, totals_km, strict=True)
    )
