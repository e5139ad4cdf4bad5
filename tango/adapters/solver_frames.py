"""What a daemon and its solver helper say to each other: length-prefixed JSON over a pipe.

The helper keeps the offers it was told; a snapshot sends those that are not the same objects as
last time, in frames small enough that encoding one never holds a loop for long.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Sequence
from operator import attrgetter
from typing import Any

from tango.model.plan import Demand, NodeOffer, Route, TrafficPlan, TrafficSnapshot

Frame = dict[str, Any]

LENGTH = struct.Struct("!I")
MAX_FRAME_BYTES = 64 * 2**20
# Slots, or routes, in one frame: a millisecond or so to encode or to decode.
FRAME_ITEMS = 2048
FRAME_ROUTES = 128

_DEMAND = attrgetter(*Demand.__dataclass_fields__)
# Of an offer, these are pairs: they go flat, and most of what is sent is in them.
_PAIRS = ("slots", "in_flight", "needs")
_OFFER_FIELDS = tuple(name for name in NodeOffer.__dataclass_fields__ if name not in _PAIRS)
_PAIRS_OF = attrgetter(*_PAIRS)
_OFFER = attrgetter(*_OFFER_FIELDS)
# The routes of one demand have their rejected nodes in common: sent where they change, else None.
_ROUTE_FIELDS = tuple(name for name in Route.__dataclass_fields__ if name != "rejected")
_ROUTE = attrgetter(*_ROUTE_FIELDS)


def packed(frame: Frame) -> bytes:
    """One frame as bytes, its length first."""
    body = json.dumps(frame, separators=(",", ":")).encode()
    return LENGTH.pack(len(body)) + body


def unpacked(body: bytes) -> Frame:
    """A frame from its bytes. Raises ValueError."""
    frame = json.loads(body)
    if not isinstance(frame, dict):
        raise ValueError(f"a frame is an object, this is {type(frame).__name__}")
    return frame


def snapshot_frames(
    policy: str, snapshot: TrafficSnapshot, known: Sequence[NodeOffer]
) -> Iterator[Frame]:
    """The frames of a snapshot after one with the offers `known`; the last asks for the plan."""
    offers: list[object] = []
    items = 0
    for index, offer in enumerate(snapshot.offers):
        if index < len(known) and known[index] is offer:
            continue
        pairs = [_flat(pairs) for pairs in _PAIRS_OF(offer)]
        offers.append([index, pairs, *_OFFER(offer)])
        items += 1 + sum(map(len, pairs))
        if items >= FRAME_ITEMS:
            yield {"offers": offers}
            offers, items = [], 0
    yield {
        "offers": offers,
        "count": len(snapshot.offers),
        "demands": [_DEMAND(demand) for demand in snapshot.demands],
        "seed": snapshot.seed,
        "policy": policy,
    }


def _flat(pairs: Sequence[tuple[str, int]]) -> list[str | int]:
    return [value for pair in pairs for value in pair]


def _paired(flat: Sequence[Any]) -> tuple[tuple[str, int], ...]:
    return tuple(zip(flat[::2], flat[1::2], strict=True))


def take_offers(frame: Frame, offers: list[NodeOffer]) -> None:
    """Bring the helper's offers up to a frame."""
    for index, pairs, *fields in frame["offers"]:
        values = dict(zip(_OFFER_FIELDS, fields, strict=True))
        values |= zip(_PAIRS, map(_paired, pairs), strict=True)
        offer = NodeOffer(**values)
        if index == len(offers):
            offers.append(offer)
        else:
            offers[index] = offer


def asked(frame: Frame, offers: list[NodeOffer]) -> TrafficSnapshot | None:
    """The snapshot, if the frame is its last."""
    if "demands" not in frame:
        return None
    del offers[frame["count"] :]
    demands = tuple(Demand(*fields) for fields in frame["demands"])
    return TrafficSnapshot(demands, tuple(offers), frame["seed"])


def plan_frames(plan: TrafficPlan, cost_s: float) -> Iterator[Frame]:
    """The frames of an answer; the last one has the cost."""
    routes = plan.routes
    last = max(0, (len(routes) - 1) // FRAME_ROUTES * FRAME_ROUTES)
    for first in range(0, last, FRAME_ROUTES):
        yield {"routes": _listed(routes[first : first + FRAME_ROUTES])}
    yield {"routes": _listed(routes[last:]), "cost_s": cost_s}


def _listed(routes: Sequence[Route]) -> list[list[object]]:
    listed: list[list[object]] = []
    before: tuple[tuple[str, str], ...] = ()
    for route in routes:
        same = route.rejected == before
        listed.append([None if same else route.rejected, *_ROUTE(route)])
        before = route.rejected
    return listed


def error_frame(error: str, cost_s: float) -> Frame:
    """The answer where the policy raised."""
    return {"error": error, "cost_s": cost_s}


def take_routes(frame: Frame, routes: list[Route]) -> None:
    """Add the routes of a frame of the answer."""
    rejected: tuple[tuple[str, str], ...] = ()
    for changed, *fields in frame["routes"]:
        if changed is not None:
            rejected = tuple((node, why) for node, why in changed)
        route = dict(zip(_ROUTE_FIELDS, fields, strict=True))
        route["runner_up"] = tuple(route["runner_up"])
        routes.append(Route(**route, rejected=rejected))
