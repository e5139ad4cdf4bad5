"""Distances against known ones, delays, neighbours and shares."""

from __future__ import annotations

import pytest

from tango.model.errors import InvalidField
from tango.workload.eua import Place
from tango.workload.geography import (
    EARTH_RADIUS_KM,
    DelayModel,
    SiteShare,
    delays_ms,
    distance_km,
    distances_km,
    nearest,
    neighbours,
    site_shares,
)

MELBOURNE, SYDNEY = Place(-37.8136, 144.9631), Place(-33.8688, 151.2093)


@pytest.mark.parametrize(
    ("one", "other", "km"),
    [
        (MELBOURNE, SYDNEY, 713.4),  # 713.8 on the WGS 84 ellipsoid
        (Place(0, 0), Place(0, 180), 3.141592653589793 * EARTH_RADIUS_KM),
        (Place(90, 0), Place(-90, 77), 3.141592653589793 * EARTH_RADIUS_KM),
        (Place(0, 179.5), Place(0, -179.5), 111.195),
        (Place(0, 0), Place(1, 0), 111.195),
        (Place(60, 0), Place(60, 1), 55.597),
        (MELBOURNE, MELBOURNE, 0),
    ],
)
def test_distances(one: Place, other: Place, km: float) -> None:
    assert distance_km(one, other) == pytest.approx(km, rel=1e-3)
    assert distance_km(other, one) == pytest.approx(distance_km(one, other))


def test_tables_of_distances_and_delays() -> None:
    places = [Place(0, 0), Place(0, 1), Place(0, 3)]
    table = distances_km(places)
    assert [[round(km) for km in row] for row in table] == [
        [0, 111, 334],
        [111, 0, 222],
        [334, 222, 0],
    ]
    delays = delays_ms(table, DelayModel(base_ms=2, ms_per_km=0.01))
    assert delays[0] == pytest.approx((0, 3.11195, 5.33585), rel=1e-4)
    assert delays[2][2] == 0
    assert delays_ms(distances_km([Place(1, 1)] * 2), DelayModel())[0] == (0, 0.5)


def test_neighbours_are_the_nearest_others() -> None:
    table = distances_km([Place(0, 0), Place(0, 1), Place(0, -1), Place(0, 9)])
    assert neighbours(table, 2) == ((1, 2), (0, 2), (0, 1), (1, 0))
    assert neighbours(table, 9)[3] == (1, 0, 2)


def test_users_go_to_the_nearest_site() -> None:
    sites = [Place(0, 0, "a"), Place(0, 1, "b"), Place(0, 50, "c")]
    users = iter([Place(0, 0.1), Place(0, 0.9), Place(0, 0.5), Place(0, 1)])
    shares = site_shares(sites, users)
    assert [(share.users, share.share) for share in shares] == [(2, 0.5), (2, 0.5), (0, 0)]
    assert shares[0].access_km == pytest.approx(0.3 * 111.195, rel=1e-3)
    assert shares[2] == SiteShare(0, 0, 0)


def test_there_must_be_someone_and_somewhere() -> None:
    with pytest.raises(InvalidField, match="sites: there are none"):
        nearest(MELBOURNE, [])
    with pytest.raises(InvalidField, match="users: there are none"):
        site_shares([MELBOURNE], [])
    with pytest.raises(InvalidField, match="base_ms: -1 is out of range"):
        DelayModel(base_ms=-1)
    with pytest.raises(InvalidField, match="ms_per_km"):
        DelayModel(ms_per_km=float("nan"))
