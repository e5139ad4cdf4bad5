"""One run of `tango bench simulate`, in a process of its own: SCENARIO SEED LOG [CHANGE ...]."""

from __future__ import annotations

import json
import math
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import IO

from tango.cli.benches.process_memory import peak_rss_mib
from tango.sim.outcome import Progress
from tango.sim.run import simulate
from tango.sim.scenario_file import load_scenario, parse_change


def main() -> None:
    """Simulate, and print requests, wall time and peak memory as JSON."""
    path, seed, log, *words = sys.argv[1:]
    changes = tuple(parse_change(word) for word in words)
    scenario = load_scenario(Path(path), changes, seed=int(seed))
    marks: list[tuple[float, float]] = []

    def told(progress: Progress) -> None:
        # The first when the load begins, the second when it is over, but for rounding.
        if progress.at_s >= (0.0, progress.until_s, math.inf)[len(marks)] - 1e-6:
            marks.append((time.perf_counter(), time.process_time()))

    begun = time.perf_counter()
    with _opened(log) as text:
        outcome = simulate(scenario, log=text, progress=told)
    ended = time.perf_counter()
    found = {
        "requests": outcome.report.requests.sent,
        "wall_s": ended - begun,
        "load_s": marks[1][0] - marks[0][0],
        "load_cpu_s": marks[1][1] - marks[0][1],
        "rss_mib": peak_rss_mib(),
    }
    print(json.dumps(found))


def _opened(log: str) -> AbstractContextManager[IO[str] | None]:
    return Path(log).open("w", encoding="utf-8", buffering=2**20) if log else nullcontext()


if __name__ == "__main__":
    main()
