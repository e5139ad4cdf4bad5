"""The timeline of a simulation: bounded in rows, small in memory, exact where rows become one."""

from __future__ import annotations

import random
import tracemalloc

import pytest

from tango.model.request import Outcome
from tango.sim.tally import MAX_ROWS, Tally
from tango.workload.latency import LatencyHistogram


def filled(seconds: int, per_s: int, rng: random.Random) -> tuple[Tally, list[float]]:
    tally = Tally(["web"], 0.0, 0.0)
    sent = []
    for second in range(seconds):
        for _ in range(per_s):
            latency_s = rng.lognormvariate(-3, 1.5)
            tally.send("web", float(second))
            tally.end("web", float(second), Outcome.COMPLETED, second + latency_s)
            sent.append(latency_s * 1000)
        tally.close_interval(second + 1.0, 0.5, 0.25, second, 3)
    return tally, sent


def test_rows_become_one_and_nothing_is_lost() -> None:
    tally, sent = filled(MAX_ROWS + 100, 5, random.Random(1))
    rows = tally.timeline(1.0)
    assert len(rows) <= MAX_ROWS // 2 + 100
    assert {row.to_s - row.from_s for row in rows[:-1]} == {2.0}
    assert sum(row.completed for row in rows) == len(sent)
    assert (rows[0].from_s, rows[-1].to_s) == (0.0, MAX_ROWS + 100.0)
    assert rows[3].pending == 7
    for number in (0, 50, 200):
        exact = LatencyHistogram()
        for latency_ms in sent[10 * number : 10 * number + 10]:
            exact.add(latency_ms)
        found = rows[number].p50_ms, rows[number].p95_ms, rows[number].p99_ms
        assert found == pytest.approx(tuple(exact.percentiles(50, 95, 99)))


def test_a_row_takes_little_memory() -> None:
    """Of latencies as different as they are: 10 bytes a bucket, not a hundred."""
    rng = random.Random(1)
    filled(2, 10, rng)
    tracemalloc.start()
    try:
        tally = filled(50, 2000, rng)[0]
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert tally.sent == 100_000
    assert held / 50 < 12_000, held
