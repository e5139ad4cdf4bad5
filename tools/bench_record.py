#!/usr/bin/env python3
"""What recording costs an event, from recordings of real daemons (tango demo --record DIR).

Each event is read, then written again: on the event loop (a pair kept for the writer's thread), in
that thread (text), and once more by a replay, with everything that it does. CPU time of one thread.
"""

from __future__ import annotations

import argparse
import gc
import json
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from tango.adapters.recording_codec import EVENTS, RecordingCodec
from tango.adapters.recording_reader import RecordingReader
from tango.sim.replay import Replay

clock = time.thread_time_ns


def bench(path: Path) -> dict[str, Any]:
    """Microseconds and bytes an event, all and by type; the types that take most of it first."""
    begun = clock()
    with RecordingReader(path) as source:
        events = [(now, event) for _, now, event in source]
        read_us = (clock() - begun) / len(events) / 1000
        kind = EVENTS[type(source.start)]
        codec = RecordingCodec(b"salt")
        codec.encoder(kind)
        spent: defaultdict[str, int] = defaultdict(int)
        counts: Counter[str] = Counter()
        for _, event in events:
            begun = clock()
            codec.text(kind, event)
            spent[type(event).__name__] += clock() - begun
            counts[type(event).__name__] += 1
        begun = clock()
        replay = Replay(source.start, lambda _: None, None)
        replay.run((2, now, event) for now, event in events)
        replay_us = (clock() - begun) / len(events) / 1000
    most = sorted(spent, key=lambda name: -spent[name])[:6]
    return {
        "daemon": source.life.daemon,
        "events": len(events),
        "bytes": path.stat().st_size / len(events),
        "loop_us": loop_us(events),
        "text_us": sum(spent.values()) / len(events) / 1000 - clock_us(),
        "read_us": read_us,
        "replay_us": replay_us,
        "types": {
            name: {"n": counts[name], "text_us": spent[name] / counts[name] / 1000 - clock_us()}
            for name in most
        },
    }


def loop_us(events: list[tuple[float, Any]], repeats: int = 50) -> float:
    """The pair made and kept, as Shell.post does, and handed over 1000 at a time."""
    kept: list[tuple[float, Any]] = []
    add = kept.append
    begun = clock()
    for _ in range(repeats):
        for now, event in events:
            add((now, event))
            if len(kept) == 1000:
                kept.clear()
    with_it = clock() - begun
    begun = clock()
    for _ in range(repeats):
        for _ in events:
            if len(kept) == 1000:
                kept.clear()
    return (with_it - (clock() - begun)) / repeats / len(events) / 1000


def clock_us(count: int = 100_000) -> float:
    """What looking at the clock takes of each figure."""
    begun = clock()
    for _ in range(count):
        clock()
    return (clock() - begun) / count / 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recordings", nargs="+", type=Path)
    arguments = parser.parse_args()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    for path in arguments.recordings:
        print(json.dumps(bench(path)))


if __name__ == "__main__":
    main()
