"""`tango bench colocation`: a service and best-effort work on one core, under six rules."""

from __future__ import annotations

import json
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from pathlib import Path

import click
import uvloop

from tango.adapters.trace_files import check_azure_llm, read_azure_llm
from tango.cli.benches.colocation_modes import MODES, TANGO
from tango.cli.benches.colocation_node import CPU_MS, DEADLINE_MS, Node, RunFigures
from tango.cli.benches.colocation_plot import write_colocation_plot
from tango.cli.benches.figures import bench_options, check_report, machine
from tango.cli.benches.programs import ended_by_sigterm, scratch_dir
from tango.cli.figure_file import check_plot
from tango.cli.tables import show, table
from tango.model.errors import InvalidField
from tango.sdk.client import Client
from tango.sdk.embedded import EmbeddedCluster
from tango.workload.arrival import Arrival
from tango.workload.intervals import Interval, paired_ratio
from tango.workload.patterns import PatternSpec, arrivals

Runs = dict[str, list[RunFigures]]


@click.command()
@bench_options
@click.option(
    "--requests", default=2000, show_default=True, type=click.IntRange(50, 1_000_000),
    help="Requests of each run.",
)  # fmt: skip
@click.option(
    "--repeats", default=5, show_default=True, type=click.IntRange(1, 100),
    help="Runs of each mode, interleaved.",
)  # fmt: skip
@click.option(
    "--rate", default=150.0, show_default=True, type=click.FloatRange(1, 10_000),
    help=f"Requests a second on average; each takes {CPU_MS:g} ms of CPU.",
)  # fmt: skip
@click.option(
    "--trace", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Arrivals and work from this Azure LLM trace, faster, in place of a steady load.",
)  # fmt: skip
@click.option(
    "--modes", default=",".join(MODES), show_default=True, help="Which, by commas.",
)  # fmt: skip
@click.option(
    "--static-lc-share", default=0.6, show_default=True, type=click.FloatRange(0.05, 0.95),
    help="The service's part of the node in static-partition.",
)  # fmt: skip
@click.option(
    "--plot", type=click.Path(dir_okay=False, path_type=Path),
    help="Draw the figures, as PNG, SVG or PDF by the name's ending.",
)  # fmt: skip
def colocation(
    report: Path | None,
    seed: int,
    requests: int,
    repeats: int,
    rate: float,
    trace: Path | None,
    modes: str,
    static_lc_share: float,
    plot: Path | None,
) -> None:
    """A real service and real best-effort work on a node of one core.

    Daemons and load generator have the other cores. Open loop; in each repeat all modes get the
    same arrivals, in an order drawn anew. Modes other than tango are re-implementations of what
    others do, on the same groups and through the same daemons, which then only observe. Latency
    counts from when a request was due.
    """
    check_report(report)
    if plot is not None:
        check_plot(plot)
    chosen = tuple(modes.split(","))
    unknown = [mode for mode in chosen if mode not in MODES]
    if unknown:
        raise InvalidField("--modes", f"{unknown[0]!r} is none", f"use some of {','.join(MODES)}")
    loads = [_arrivals(rate, requests, trace, seed + repeat) for repeat in range(repeats)]
    begun = time.monotonic()
    with ended_by_sigterm(), scratch_dir() as directory:
        cluster = EmbeddedCluster(directory)
        cluster.start(sites=1, workers_per_site=1, reserve_millis=1000)
        try:
            node = Node(cluster, static_lc_share)
            try:
                runs = uvloop.run(_measure(node, directory, chosen, loads, seed))
            finally:
                node.close()
        finally:
            cluster.stop()
    found = _summary(runs)
    _show(found, runs)
    load = trace.name if trace else f"steady, {rate:g}/s"
    if plot is not None:
        write_colocation_plot(runs, plot, load, DEADLINE_MS)
    if report is not None:
        content = {
            "modes": found,
            "runs": {mode: [asdict(run) for run in each] for mode, each in runs.items()},
            "ratios_to_tango": {
                mode: {name: _as_list(ratio) for name, ratio in each.items()}
                for mode, each in _ratios(runs).items()
            },
            "load": load,
            "requests": requests,
            "repeats": repeats,
            "static_lc_share": static_lc_share,
            "deadline_ms": DEADLINE_MS,
            "seed": seed,
            "duration_s": round(time.monotonic() - begun, 1),
            "machine": machine(),
        }
        report.write_text(json.dumps(content, indent=2) + "\n")


async def _measure(
    node: Node,
    state: Path,
    chosen: Sequence[str],
    loads: Sequence[Sequence[Arrival]],
    seed: int,
) -> Runs:
    rng = random.Random(seed)
    runs: Runs = {mode: [] for mode in chosen}
    async with Client(state) as client:
        await node.set_up(client)
        await node.run("warm-up", client, loads[0][: len(loads[0]) // 4])
        for repeat, load in enumerate(loads):
            # The worker starts anew between tango and the rest: once a repeat is enough.
            others = [mode for mode in chosen if mode != TANGO]
            rng.shuffle(others)
            own = [TANGO] if TANGO in chosen else []
            for mode in own + others if repeat % 2 == 0 else others + own:
                await node.enter(mode, client)
                figures = await node.run(mode, client, load)
                runs[mode].append(figures)
                click.echo(
                    f"{repeat + 1}/{len(loads)} {mode:16} p50 {figures.lc_p50_ms:6.2f} ms  p99 "
                    f"{figures.lc_p99_ms:7.2f} ms  BE {figures.be_work:6.0f}/s", err=True,
                )  # fmt: skip
    return runs


def _arrivals(rate: float, requests: int, trace: Path | None, seed: int) -> list[Arrival]:
    """The arrivals of one repeat; of a trace, another part for each seed."""
    if trace is None:
        spec = PatternSpec("steady", rate, 2 * requests / rate)
        found = arrivals(spec, random.Random(seed))
        return [arrival for _, arrival in zip(range(requests), found, strict=False)]
    about = check_azure_llm(trace)
    every = list(read_azure_llm(trace, speed_up=rate / about.mean_rate_per_s))
    if len(every) <= requests:
        return every
    first = random.Random(seed).randrange(len(every) - requests)
    part = every[first : first + requests]
    return [Arrival(arrival.at_s - part[0].at_s, arrival.work) for arrival in part]


# ---- what came of it


def _summary(runs: Runs) -> dict[str, dict[str, float | list[float]]]:
    """Medians over the repeats, and their spread, by mode."""
    found: dict[str, dict[str, float | list[float]]] = {}
    for mode, each in runs.items():
        figures: dict[str, float | list[float]] = {}
        for field in fields(RunFigures):
            values = [getattr(run, field.name) for run in each]
            figures[field.name] = round(statistics.median(values), 4)
            figures[f"{field.name}_spread"] = [round(min(values), 4), round(max(values), 4)]
        found[mode] = figures
    return found


def _ratios(runs: Runs) -> dict[str, dict[str, Interval]]:
    """tango over each other mode, in LC p99 and BE work."""
    if TANGO not in runs:
        return {}
    wanted: dict[str, Callable[[RunFigures], float]] = {
        "lc_p99": lambda run: run.lc_p99_ms,
        "be_work": lambda run: run.be_work,
    }
    return {
        mode: {
            name: paired_ratio([take(run) for run in runs[TANGO]], [take(run) for run in each])
            for name, take in wanted.items()
            if not (mode == "alone" and name == "be_work")
        }
        for mode, each in runs.items()
        if mode != TANGO
    }


def _as_list(ratio: Interval) -> list[float | None]:
    """Mean, low and high, for JSON."""
    ends = (ratio.mean, ratio.low, ratio.high)
    return [None if value is None else round(value, 4) for value in ends]


def _in_words(ratio: Interval) -> str:
    if ratio.low is None or ratio.high is None:
        return f"{ratio.mean:.3f}"
    return f"{ratio.mean:.3f} ({ratio.low:.3f} to {ratio.high:.3f})"


def _show(found: dict[str, dict[str, float | list[float]]], runs: Runs) -> None:
    head = ("MODE", "P50 ms", "P95 ms", "P99 ms", "IN TIME", "BE/s", "BE OF REST", "CPU")
    rows = []
    for mode, each in found.items():
        value = {name: number for name, number in each.items() if isinstance(number, float | int)}
        rows.append((
            mode, f"{value['lc_p50_ms']:.2f}", f"{value['lc_p95_ms']:.2f}",
            f"{value['lc_p99_ms']:.2f}", f"{value['qos_rate']:.1%}", f"{value['be_work']:.0f}",
            f"{value['be_cpu_fraction']:.1%}", f"{value['cpu_utilisation']:.1%}",
        ))  # fmt: skip
    show(table(head, rows))
    for mode, ratios in _ratios(runs).items():
        words = [f"{name} {_in_words(ratio)}" for name, ratio in ratios.items()]
        click.echo(f"tango / {mode}: {', '.join(words)}")
