"""Markdown of a simulated sweep over seeds: what each pairing got, and the first over each other.

    .venv/bin/python tools/sweep_tables.py REPORT.json...

Reports are those of `tango simulate --report`; several are one sweep whose seeds were run apart. A
run that was stopped is left out. Cells are the median over seeds; ranges the least and the most.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Figures = dict[str, float]
Sweep = dict[str, dict[str, dict[int, Figures]]]
"""Point, pairing, seed."""

# The share of a node's CPU that tells its size well enough.
MIN_USED = 0.05
COLUMNS = {
    "in time": "{:.1f} %",
    "in time/s": "{:,.0f}",
    "CPU": "{:.1f} %",
    "LC CPU": "{:.1f} %",
    "BE CPU": "{:.1f} %",
    "jobs/min": "{:,.0f}",
    "p95 ms": "{:,.0f}",
    "p99 ms": "{:,.0f}",
}
COMPARED = ("CPU", "in time", "jobs/min", "p95 ms")


def capacity_of(runs: Iterable[dict[str, Any]]) -> float:
    """Cores of all nodes of one seed, each from the run that used it most.

    Raises ValueError where some node did next to nothing in all of them.
    """
    used: dict[str, float] = {}
    cores: dict[str, float] = {}
    for run in runs:
        for name, node in run["nodes"].items():
            share = node["cpu_utilisation"]
            if share >= used.get(name, 0.0):
                used[name] = share
                seconds = node["lc_cpu_seconds"] + node["be_cpu_seconds"]
                cores[name] = seconds / (share * run["duration_s"]) if share else 0.0
    idle = [name for name, share in used.items() if share < MIN_USED]
    if idle:
        raise ValueError(f"no run shows how large these nodes are: {', '.join(idle[:3])}")
    return sum(cores.values())


def figures_of(run: dict[str, Any], cores: float) -> Figures:
    """What the columns show of one run."""
    requests, seconds = run["requests"], run["duration_s"]
    lc, be = (
        100 * sum(node[f"{side}_cpu_seconds"] for node in run["nodes"].values()) / cores / seconds
        for side in ("lc", "be")
    )
    return {
        "in time": 100 * requests["completed"] / requests["sent"],
        "in time/s": requests["completed"] / seconds,
        "CPU": lc + be,
        "LC CPU": lc,
        "BE CPU": be,
        "jobs/min": 60 * run["jobs"]["succeeded"] / seconds,
        "p95 ms": run["latency_ms"]["p95"],
        "p99 ms": run["latency_ms"]["p99"],
    }


def read(paths: Iterable[str]) -> Sweep:
    """All complete runs of these reports. Raises ValueError for a run that is there twice."""
    by_seed: dict[int, list[dict[str, Any]]] = {}
    for path in paths:
        for run in json.loads(Path(path).read_text())["runs"]:
            if not run["stopped"]:
                by_seed.setdefault(run["seed"], []).append(run)
    found: Sweep = {}
    for seed, runs in by_seed.items():
        cores = capacity_of(runs)
        for run in runs:
            point = ", ".join(f"{name} {value:g}" for name, value in run["point"].items())
            seeds = found.setdefault(point, {}).setdefault(run["variant"], {})
            if seed in seeds:
                raise ValueError(f"{point}, {run['variant']}, seed {seed} is there twice")
            seeds[seed] = figures_of(run, cores)
    return found


def table(sweep: Sweep) -> list[str]:
    """Medians over seeds."""
    lines = [f"| | LC:BE | seeds | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 3) + "|"]
    for point, pairings in sweep.items():
        for index, (pairing, seeds) in enumerate(pairings.items()):
            cells = [
                form.format(statistics.median(one[name] for one in seeds.values()))
                for name, form in COLUMNS.items()
            ]
            head = point if index == 0 else ""
            lines.append(f"| {head} | {pairing} | {len(seeds)} | {' | '.join(cells)} |")
    return lines


def comparison(sweep: Sweep) -> list[str]:
    """The first pairing over each other one, seed by seed: median, least and most."""
    lines = [f"| | over | {' | '.join(COMPARED)} |", "|---" * (len(COMPARED) + 2) + "|"]
    for point, pairings in sweep.items():
        (_, ours), *others = pairings.items()
        for index, (pairing, theirs) in enumerate(others):
            cells = []
            for name in COMPARED:
                both = sorted(ours.keys() & theirs.keys())
                gains = [100 * (ours[s][name] / theirs[s][name] - 1) for s in both]
                middle = statistics.median(gains)
                cells.append(f"{middle:+.1f} % ({min(gains):+.1f} to {max(gains):+.1f})")
            lines.append(f"| {point if index == 0 else ''} | {pairing} | {' | '.join(cells)} |")
    return lines


def main() -> None:
    """Both tables, a blank line between."""
    sweep = read(sys.argv[1:])
    print("\n".join([*table(sweep), "", *comparison(sweep)]))


if __name__ == "__main__":
    main()
