"""The solver's helper process: snapshots on its standard input, plans out; ends with the pipe."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from typing import BinaryIO

from tango.adapters import bound_frames
from tango.adapters import solver_frames as frames
from tango.adapters.bound_rules import bound_rule
from tango.adapters.policies import traffic_policy
from tango.model.bounds import BoundRule, BoundSnapshot, ImproveSnapshot
from tango.model.errors import InvalidField
from tango.model.placement_profile import Profile
from tango.model.plan import NodeOffer, TrafficPolicy, TrafficSnapshot

NICER = 10


def main() -> None:
    """Until the daemon closes the pipe, or dies."""
    # Ctrl-C goes to the whole terminal; the daemon says when this ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Where both are on one core the daemon's loop goes first: it has requests to answer. A filter
    # of system calls may forbid it: that is no reason not to solve.
    with contextlib.suppress(OSError):
        os.nice(NICER)
    policies = {name: traffic_policy(name) for name in sys.argv[1:]}
    _write(sys.stdout.buffer, {"ready": True})
    offers: list[NodeOffer] = []
    snapshots = bound_frames.Snapshots()
    rules: dict[Profile, BoundRule | None] = {}
    while True:
        frame = _read(sys.stdin.buffer)
        if frame is None:
            return
        if bound_frames.is_bounds(frame):
            asked = snapshots.take(frame)
            if asked is not None:
                _plan_bounds(rules, *asked)
            continue
        frames.take_offers(frame, offers)
        snapshot = frames.asked(frame, offers)
        if snapshot is not None:
            name = frame["policy"]
            if name not in policies:
                policies[name] = traffic_policy(name)
            _answer(policies[name], snapshot)


def _plan_bounds(
    rules: dict[Profile, BoundRule | None],
    profile: Profile,
    snapshot: BoundSnapshot | ImproveSnapshot,
) -> None:
    begun = time.perf_counter()
    try:
        if profile not in rules:
            rules[profile] = bound_rule(profile)
        rule = rules[profile]
        if rule is None:
            raise InvalidField("placement", "needs numpy", "install the extra `solver`")
        begun = time.perf_counter()
        if isinstance(snapshot, ImproveSnapshot):
            better = rule.improve(snapshot)
            cost_s = time.perf_counter() - begun
            _write(sys.stdout.buffer, bound_frames.improvement_frame(better, cost_s))
            return
        plan = rule.plan(snapshot)
    except Exception as error:  # noqa: BLE001 - a plugin may be a third party's: told, not raised
        cost_s = time.perf_counter() - begun
        _write(sys.stdout.buffer, frames.error_frame(repr(error), cost_s))
        return
    cost_s = time.perf_counter() - begun
    for frame in bound_frames.plan_frames(plan, cost_s):
        _write(sys.stdout.buffer, frame)


def _answer(policy: TrafficPolicy, snapshot: TrafficSnapshot) -> None:
    begun = time.perf_counter()
    try:
        plan = policy.route(snapshot)
    except Exception as error:  # noqa: BLE001 - a policy may be a third party's: told, not raised
        cost_s = time.perf_counter() - begun
        _write(sys.stdout.buffer, frames.error_frame(repr(error), cost_s))
        return
    cost_s = time.perf_counter() - begun
    for frame in frames.plan_frames(plan, cost_s):
        _write(sys.stdout.buffer, frame)


def _read(pipe: BinaryIO) -> frames.Frame | None:
    head = pipe.read(frames.LENGTH.size)
    if len(head) < frames.LENGTH.size:
        return None
    (size,) = frames.LENGTH.unpack(head)
    body = pipe.read(size)
    return frames.unpacked(body) if len(body) == size else None


def _write(pipe: BinaryIO, frame: frames.Frame) -> None:
    pipe.write(frames.packed(frame))
    pipe.flush()


if __name__ == "__main__":
    main()
