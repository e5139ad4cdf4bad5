"""Memory does not grow with the length of a run."""

from __future__ import annotations

import tracemalloc

from small import jobs, load, scenario

from tango.sim.outcome import Progress
from tango.sim.run import simulate


def test_memory_is_flat_in_the_length_of_the_load() -> None:
    """Four times as many requests and jobs as when it was measured first, and no more memory."""
    seconds = 120.0
    held: dict[int, int] = {}

    def look(progress: Progress) -> None:
        for mark in (30, 60, 119):
            if progress.at_s >= mark and mark not in held:
                held[mark] = tracemalloc.get_traced_memory()[0]

    long = scenario(
        duration_s=seconds,
        loads=(load(150.0, seconds=seconds),),
        jobs=(jobs(0.5, seconds, work_cpu_s=0.2),),
    )
    tracemalloc.start()
    try:
        outcome = simulate(long, progress=look)
    finally:
        tracemalloc.stop()
    assert outcome.report.requests.sent > 17_000
    # Central keeps 10,000 ended jobs of a few KiB, and a row a second is kept of the timeline.
    kept = 240 * 4096 + 120 * 4096
    assert held[119] < held[30] + kept, held
