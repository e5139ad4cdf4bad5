"""Runs of several variants over the same seeds: figures with intervals, ratios to a reference.

Runs of one seed are pairs: their users and jobs come at the same times, so a ratio is taken seed by
seed and its interval over the seeds (tango.workload.intervals).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tango.workload.intervals import Interval, mean_interval, paired_ratio
from tango.workload.report import Report


@dataclass(frozen=True, slots=True)
class Figure:
    """Something that runs are compared in. axis: what it is counted in, for an axis.

    share: it is 0..1 inside, and shown in percent.
    """

    name: str
    words: str
    axis: str
    share: bool = False


FIGURES = (
    Figure("qos", "QoS: LC requests answered in time", "share of all sent", share=True),
    Figure("requests_per_s", "Throughput of LC: requests answered in time", "requests/s"),
    Figure("utilisation", "CPU used, LC and BE", "share of all nodes' CPU", share=True),
    Figure("lc_utilisation", "CPU used by LC", "share of all nodes' CPU", share=True),
    Figure("be_utilisation", "CPU used by BE", "share of all nodes' CPU", share=True),
    Figure("jobs_per_min", "Throughput of BE: jobs that succeeded", "jobs/min"),
    Figure("p50_ms", "Median latency of LC", "ms"),
    Figure("p95_ms", "Latency of LC: 95th percentile", "ms"),
    Figure("p99_ms", "Latency of LC: 99th percentile", "ms"),
    Figure("evictions", "Evictions of BE tasks", "evictions"),
)
BY_NAME: Mapping[str, Figure] = {figure.name: figure for figure in FIGURES}


def figures_of(report: Report, cores: float) -> dict[str, float]:
    """All figures that a run has. cores: of all nodes together.

    Missing: shares of nothing sent, and latencies where nothing was answered.
    """
    duration_s = report.duration_s
    if duration_s <= 0:
        return {}
    lc_s = sum(node.lc_cpu_seconds for node in report.nodes.values())
    be_s = sum(node.be_cpu_seconds for node in report.nodes.values())
    offered_s = cores * duration_s
    found: dict[str, float | None] = {
        "qos": report.requests.satisfied_share,
        "requests_per_s": report.requests.completed / duration_s,
        "utilisation": (lc_s + be_s) / offered_s,
        "lc_utilisation": lc_s / offered_s,
        "be_utilisation": be_s / offered_s,
        "jobs_per_min": report.jobs.succeeded / duration_s * 60,
        "p50_ms": report.latency_ms.p50,
        "p95_ms": report.latency_ms.p95,
        "p99_ms": report.latency_ms.p99,
        "evictions": float(report.jobs.evictions),
    }
    return {name: value for name, value in found.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Compared:
    """One variant. figures: over its seeds. ratios: reference / this one, over the seeds that both
    have; empty for the reference itself."""

    variant: str
    seeds: tuple[int, ...]
    figures: Mapping[str, Interval]
    ratios: Mapping[str, Interval]

    def to_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "variant": self.variant,
            "seeds": list(self.seeds),
            "figures": {name: each.to_dict() for name, each in self.figures.items()},
            "ratios": {name: each.to_dict() for name, each in self.ratios.items()},
        }


def compare(
    runs: Mapping[str, Mapping[int, Mapping[str, float]]], reference: str
) -> tuple[Compared, ...]:
    """runs: figures by variant and seed. Variants without any run are left out."""
    return tuple(
        Compared(
            variant,
            tuple(sorted(by_seed)),
            _over_seeds(by_seed, mean_interval),
            {} if variant == reference else _ratios(runs.get(reference, {}), by_seed),
        )
        for variant, by_seed in runs.items()
        if by_seed
    )


def _over_seeds(
    by_seed: Mapping[int, Mapping[str, float]], over: Callable[[Sequence[float]], Interval]
) -> dict[str, Interval]:
    found = {}
    for figure in FIGURES:
        values = [run[figure.name] for _, run in sorted(by_seed.items()) if figure.name in run]
        if values:
            found[figure.name] = over(values)
    return found


def _ratios(
    ours: Mapping[int, Mapping[str, float]], theirs: Mapping[int, Mapping[str, float]]
) -> dict[str, Interval]:
    found = {}
    for figure in FIGURES:
        pairs = [
            (ours[seed][figure.name], run[figure.name])
            for seed, run in sorted(theirs.items())
            if seed in ours and figure.name in ours[seed] and figure.name in run
        ]
        # A ratio to nothing, as of jobs where none ran, says nothing.
        if pairs and all(a > 0 and b > 0 for a, b in pairs):
            found[figure.name] = paired_ratio([a for a, _ in pairs], [b for _, b in pairs])
    return found
