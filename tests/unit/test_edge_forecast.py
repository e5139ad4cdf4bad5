"""The forecast of a service's latency: averages, cut outliers, learned correction of waits."""

from __future__ import annotations

import pytest

from tango.controllers.edge.forecast import MAX_CORRECTION, MIN_CORRECTION, Forecast


def test_the_first_measurements_are_averaged_and_later_ones_weighted() -> None:
    forecast = Forecast()
    assert not forecast.known
    for occupancy_s in (0.01, 0.03):
        forecast.served(occupancy_s, occupancy_s / 2, 0.1)
    assert forecast.known
    assert forecast.occupancy_s == pytest.approx(0.02)
    assert forecast.service_s == pytest.approx(0.01)
    for _ in range(100):
        forecast.served(0.05, 0.05, 0.1)
    assert forecast.occupancy_s == pytest.approx(0.05, rel=0.01)


def test_an_outlier_is_cut_but_what_stays_slow_shows() -> None:
    forecast = Forecast()
    for _ in range(20):
        forecast.served(0.01, 0.01, 0.1)
    forecast.served(30.0, 30.0, 0.1)
    assert forecast.occupancy_s < 0.02
    for _ in range(200):
        forecast.served(30.0, 30.0, 0.1)
    assert forecast.occupancy_s == pytest.approx(30, rel=0.05)


def test_waits_are_corrected_by_what_they_turned_out_to_be() -> None:
    forecast = Forecast()
    assert forecast.correction == 1.0
    forecast.served(0.01, 0.01, 0.1)
    assert forecast.wait_s(8, 4) == pytest.approx(0.02)
    for _ in range(50):
        forecast.waited(0.02, 0.03)
    assert forecast.correction == pytest.approx(1.5)
    for _ in range(200):
        forecast.waited(0.001, 10.0)
    assert forecast.correction == MAX_CORRECTION
    for _ in range(200):
        forecast.waited(1.0, 0.0)
    assert forecast.correction == MIN_CORRECTION


def test_the_usual_error_is_an_average_of_distances() -> None:
    forecast = Forecast()
    for _ in range(100):
        forecast.missed(0.05, 0.04)
        forecast.missed(0.05, 0.06)
    assert forecast.error_s == pytest.approx(0.01, rel=0.01)
