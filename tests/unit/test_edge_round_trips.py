"""What edges have measured themselves, read as delays: to their nodes, to peers, and beyond."""

from __future__ import annotations

import functools
from typing import Any

import pytest
from site_world import Net, ServingWorker, Site

from tango.adapters.own_pings import OwnPings
from tango.algorithms.placement.measured_delays import MeasuredDelays, delays_through_edges
from tango.model.messages import WorkerPing, WorkerPong
from tango.ports import RoundTripSource

NAMES = ("east/c", "west/a", "west/b")


class FarWorker(ServingWorker):
    """Answers a ping after way_s."""

    def __init__(self, site: Site, node: str, way_s: float) -> None:
        self.way_s = way_s
        super().__init__(site, node, 4000, 0.01)
        self.up()
        self.keep_reporting()

    def hear(self, message: Any) -> None:
        if isinstance(message, WorkerPing):
            pong = functools.partial(self.say, WorkerPong(message.number))
            self.site.net.later(self.site.now + self.way_s, pong)
        else:
            super().hear(message)


def seen_by(*sites: Site) -> MeasuredDelays:
    trips = [trip for site in sites for trip in site.controller.round_trips(site.now).trips]
    return delays_through_edges(NAMES, trips)


async def test_own_pings_are_a_source_like_any_other() -> None:
    net = Net()
    west, east = net.site("west", "east"), net.site("east")
    FarWorker(west, "a", 0.001)
    FarWorker(west, "b", 0.002)
    FarWorker(east, "c", 0.004)
    net.link("west", "east", delay_s=0.010)
    net.advance(3.0)
    source: RoundTripSource = OwnPings(
        functools.partial(site.controller.round_trips, net.now) for site in (west, east)
    )
    read = delays_through_edges(NAMES, (await source.measure()).trips)
    expected = [[0.0, 0.025, 0.026], [0.025, 0.0, 0.003], [0.026, 0.003, 0.0]]
    for at, row in enumerate(expected):
        assert read.delays.row(at).tolist() == pytest.approx(row, rel=0.05)


def test_what_edges_have_measured_is_read_as_delays_between_all_their_nodes() -> None:
    net = Net()
    west, east = net.site("west", "east"), net.site("east")
    FarWorker(west, "a", 0.001)
    FarWorker(west, "b", 0.002)
    FarWorker(east, "c", 0.004)
    link = net.link("west", "east", delay_s=0.010)
    net.advance(3.0)
    read = seen_by(west, east)
    assert (read.strangers, read.unmeasured, read.one_way) == ((), 0, 1)
    assert read.delays.row(1).tolist() == pytest.approx([0.025, 0.0, 0.003], rel=0.05)
    # One alone does not know the other's nodes.
    assert seen_by(west).delays.row(1)[0] == float("inf")
    link.delay_s = 0.1
    net.advance(5.0)
    assert seen_by(west, east).delays.row(1)[0] == pytest.approx(0.205, rel=0.05)
    link.cut()
    net.advance(0.01)
    read = seen_by(west, east)
    assert read.unmeasured == 1
    assert read.delays.row(1).tolist() == pytest.approx([float("inf"), 0.0, 0.003], rel=0.05)


def test_a_link_that_stalls_gets_farther_before_it_is_given_up() -> None:
    net = Net()
    west = net.site("west", "east")
    net.site("east")
    net.link("west", "east", delay_s=0.010)
    net.advance(3.0)
    net.links["west", "east"].stall()
    net.advance(1.5)
    [trip] = west.controller.round_trips(west.now).trips
    assert (trip.source, trip.target) == ("west", "east")
    assert trip.rtt_s > 0.5
