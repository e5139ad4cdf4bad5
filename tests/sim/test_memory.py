"""Memory does not grow with the length of a run."""

from __future__ import annotations

import tracemalloc

from small import jobs, load, scenario

from tango.sim.outcome import Progress
from tango.sim.run import simulate
from tango.sim.scenario import KEEP_JOBS


def test_memory_is_flat_in_the_length_of_the_load() -> None:
    """Once as many jobs have ended as central keeps, what is kept is a row a second."""
    seconds = 120.0
    held: dict[int, int] = {}

    def look(progress: Progress) -> None:
        for mark in (65, 90, 119):
            if progress.at_s >= mark and mark not in held:
                held[mark] = tracemalloc.get_traced_memory()[0]

    long = scenario(
        duration_s=seconds,
        loads=(load(150.0, seconds=seconds),),
        jobs=(jobs(0.05, seconds, work_cpu_s=0.02, cpu_millis=50),),
    )
    tracemalloc.start()
    try:
        outcome = simulate(long, progress=look)
    finally:
        tracemalloc.stop()
    assert outcome.report.requests.sent > 17_000
    assert outcome.report.jobs.succeeded > 2 * KEEP_JOBS
    # A row of the timeline; of each task its name, at its edge and its worker, for a while.
    kept = 54 * 4096 + 54 * 20 * 400
    assert held[119] < held[65] + kept, held
