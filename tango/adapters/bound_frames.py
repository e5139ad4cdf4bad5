"""Snapshots and plans for bounds and backups as frames of the solver helper's pipe (solver_frames).

Most of a snapshot is as it was in the last one: of its lists those items are sent that are not the
same objects, in frames small enough that encoding one never holds a loop for long.
"""

from __future__ import annotations

import typing
from collections.abc import Iterator, Sequence
from typing import Any

from tango.adapters.recording_codec import RecordingCodec
from tango.adapters.solver_frames import Frame
from tango.adapters.typed_json import Decoder, Encoder
from tango.model.bounds import BoundPlan, BoundSnapshot, ImproveSnapshot
from tango.model.improvement import Improvement
from tango.model.placement_profile import Profile

# Items in one frame: a millisecond or so to encode or to decode.
FRAME_ITEMS = 256

_CODEC = RecordingCodec()
_CODEC.read_by(_CODEC.fields(BoundSnapshot, BoundPlan, Profile, Improvement))
_ENCODE_PROFILE = _CODEC.encoder(Profile)
_DECODE_PROFILE = _CODEC.decoder(Profile)
_ENCODE_IMPROVEMENT = _CODEC.encoder(Improvement)
_DECODE_IMPROVEMENT = _CODEC.decoder(Improvement)


class _Lists:
    """The fields of a dataclass that are tuples of any length, with their codecs."""

    def __init__(self, kind: type) -> None:
        self.encoders: dict[str, Encoder] = {}
        self.decoders: dict[str, Decoder] = {}
        for name, hint in typing.get_type_hints(kind).items():
            arguments = typing.get_args(hint)
            if typing.get_origin(hint) is tuple and arguments[1:] == (Ellipsis,):
                self.encoders[name] = _CODEC.encoder(arguments[0])
                self.decoders[name] = _CODEC.decoder(arguments[0])

    def frames(self, value: object, known: object) -> Iterator[Frame]:
        """What of its lists is not as in `known`; the last frame has how long they are."""
        items: list[list[object]] = []
        counts: dict[str, int] = {}
        for name, encode in self.encoders.items():
            now: Sequence[object] = getattr(value, name)
            before: Sequence[object] = getattr(known, name, ())
            counts[name] = len(now)
            for at, one in enumerate(now):
                if at < len(before) and before[at] is one:
                    continue
                items.append([name, at, encode(one)])
                if len(items) >= FRAME_ITEMS:
                    yield {"bounds": items}
                    items = []
        yield {"bounds": items, "counts": counts}

    def take(self, frame: Frame, lists: dict[str, list[Any]]) -> bool:
        """Bring the lists up to a frame. Whether it was the last."""
        for name, at, tree in frame["bounds"]:
            found = lists.setdefault(name, [])
            one = self.decoders[name](tree, name)
            if at == len(found):
                found.append(one)
            else:
                found[at] = one
        counts = frame.get("counts")
        if counts is None:
            return False
        for name, count in counts.items():
            del lists.setdefault(name, [])[count:]
        return True


_SNAPSHOT, _PLAN = _Lists(BoundSnapshot), _Lists(BoundPlan)


def is_bounds(frame: Frame) -> bool:
    """Whether the frame is one of these."""
    return "bounds" in frame


def snapshot_frames(
    profile: Profile,
    snapshot: BoundSnapshot,
    known: BoundSnapshot | None,
    better: ImproveSnapshot | None = None,
) -> Iterator[Frame]:
    """The frames of a snapshot after one that was `known`; the last asks for the plan, or for a
    better one."""
    for frame in _SNAPSHOT.frames(snapshot, known):
        if "counts" in frame:
            if better is not None:
                frame["better"] = [better.max_moves, better.stay, better.targets]
            frame["profile"] = _ENCODE_PROFILE(profile)
            frame["through_edges"] = snapshot.through_edges
        yield frame


class Snapshots:
    """The helper's side: what it was told so far."""

    def __init__(self) -> None:
        self._lists: dict[str, list[Any]] = {}

    def take(self, frame: Frame) -> tuple[Profile, BoundSnapshot | ImproveSnapshot] | None:
        """The whole, if the frame is its last."""
        if not _SNAPSHOT.take(frame, self._lists):
            return None
        lists = {name: tuple(items) for name, items in self._lists.items()}
        snapshot = BoundSnapshot(**lists, through_edges=frame["through_edges"])
        profile = _DECODE_PROFILE(frame["profile"], "profile")
        if "better" not in frame:
            return profile, snapshot
        max_moves, stay, targets = frame["better"]
        return profile, ImproveSnapshot(snapshot, max_moves, tuple(stay), tuple(targets))


def plan_frames(plan: BoundPlan, cost_s: float) -> Iterator[Frame]:
    """The frames of an answer; the last one has the cost."""
    for frame in _PLAN.frames(plan, None):
        if "counts" in frame:
            frame["cost_s"] = cost_s
        yield frame


def improvement_frame(plan: Improvement, cost_s: float) -> Frame:
    """The answer, whole: waves are of tasks that change, which are not many."""
    return {"better": _ENCODE_IMPROVEMENT(plan), "cost_s": cost_s}


def take_improvement(frame: Frame) -> Improvement:
    """Of such an answer."""
    plan: Improvement = _DECODE_IMPROVEMENT(frame["better"], "better")
    return plan


def take_plan(frame: Frame, lists: dict[str, list[Any]]) -> BoundPlan | None:
    """The plan, if the frame is the answer's last."""
    if not _PLAN.take(frame, lists):
        return None
    return BoundPlan(**{name: tuple(items) for name, items in lists.items()})
