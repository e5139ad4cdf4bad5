"""`tango bench simulate`: simulated requests a second of wall time, and memory, by length."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path

import click

import tango
from tango.cli.benches.figures import BenchFailed, Figures, bench_options, check_report, conclude
from tango.cli.benches.programs import scratch_dir
from tango.model.errors import InvalidField
from tango.sim.loads import RequestLoad
from tango.sim.scenario import Scenario
from tango.sim.scenario_file import load_scenario
from tango.workload.patterns import PatternSpec

WANTED_PER_S = 10_000
WANTED_PER_NODE = 10
SHORTER = 10
# Of the city: 40 requests a second and node in place of 10, so that what is measured is requests.
CITY_TIMES = 4
# The city of this clone; an installed package has none.
CITY = Path(tango.__file__).parents[1] / "configs" / "scenarios" / "city.toml"


@dataclass(frozen=True, slots=True)
class Timed:
    """One run in a process of its own. load_s, load_cpu_s: wall and CPU time under load."""

    requests: int
    wall_s: float
    load_s: float
    load_cpu_s: float
    rss_mib: float

    @property
    def per_s(self) -> float:
        """Simulated requests a second of wall time, the start of all daemons included."""
        return self.requests / self.wall_s


@click.command()
@bench_options
@click.option(
    "--requests", default=1_000_000, show_default=True, type=click.IntRange(1000, 10**9),
    help="LC requests of the longest run, about; a tenth of it in the others.",
)  # fmt: skip
@click.option(
    "--scenario", type=click.Path(path_type=Path), default=CITY, show_default="city, of this clone",
    help="Whose loads are patterns.",
)  # fmt: skip
@click.option(
    "--times", type=click.IntRange(1, 100), show_default="4 for the city, else 1",
    help="So many times the scenario's requests a second, each of so much less CPU.",
)  # fmt: skip
@click.option("--log/--no-log", default=True, help="Also with the decision log on.")
def simulate(
    report: Path | None, seed: int, requests: int, scenario: Path, times: int | None, log: bool
) -> None:
    """Simulated LC requests a second of wall time on one core, and the process's peak memory.

    Each run has a process of its own: a tenth of the requests, then all, then a tenth with the
    decision log on a file. Time should grow with the requests, memory should not. Wall time
    counts everything from the loaded scenario on, with the start of its daemons.

    What nodes cost by themselves, with their samples, reports and pings, is shared by more requests
    with --times; how busy they are stays the same. The city has 10 requests a second and node, and
    is measured with 40; --times 1 is the city as it stands.
    """
    check_report(report)
    if not scenario.is_file():
        fix = "name one with --scenario, as configs/scenarios/city.toml of a clone"
        raise InvalidField("--scenario", f"there is no file {scenario}", fix)
    loaded = load_scenario(scenario)
    if times is None:
        times = CITY_TIMES if scenario == CITY else 1
    rate = times * _rate(loaded)
    per_node = rate / sum(1 for _ in loaded.topology.nodes())
    changes = _denser(scenario, times)
    begun = time.perf_counter()
    with scratch_dir() as directory:
        short = _run(scenario, requests / SHORTER / rate, seed, None, changes)
        long = _run(scenario, requests / rate, seed, None, changes)
        logged_to = directory / "decisions.jsonl"
        logged = (
            _run(scenario, requests / SHORTER / rate, seed, logged_to, changes) if log else None
        )
        log_mib = logged_to.stat().st_size / 2**20 if log else 0.0
    # What a request costs in the longer run over the shorter; start and end of all daemons apart.
    # By CPU time, which says the same of one thread and does not count what else the machine did.
    growth = (long.load_cpu_s / long.requests) / (short.load_cpu_s / short.requests)
    figures: Figures = {
        "requests_per_s": long.per_s,
        "load_requests_per_s": long.requests / long.load_s,
        "load_requests_per_cpu_s": long.requests / long.load_cpu_s,
        "rss_mib": long.rss_mib,
        "requests": long.requests,
        "wall_s": long.wall_s,
        "short_requests": short.requests,
        "short_requests_per_s": short.per_s,
        "short_rss_mib": short.rss_mib,
        "time_growth": growth,
        "rss_growth": long.rss_mib / short.rss_mib,
        "scenario": scenario.name,
        "times": times,
        "per_node_per_s": per_node,
    }
    rows = [
        ("requests a second and node", f"{per_node:g} /s", f">= {WANTED_PER_NODE} /s"),
        ("requests_per_s", f"{long.per_s:,.0f} /s", f">= {WANTED_PER_S:,} /s"),
        ("  start and end of daemons apart", f"{long.requests / long.load_s:,.0f} /s", ""),
        ("  the same, of CPU time", f"{long.requests / long.load_cpu_s:,.0f} /s", ""),
        ("rss_mib", f"{long.rss_mib:.0f} MiB", ""),
        (f"  of {short.requests:,} requests", f"{short.per_s:,.0f} /s", ""),
        ("  its memory", f"{short.rss_mib:.0f} MiB", "the same"),
        (
            f"CPU time a request, {long.requests:,} over {short.requests:,}",
            f"{growth:.2f}",
            "1: linear",
        ),
    ]
    if logged is not None:
        figures |= {
            "logged_requests_per_s": logged.per_s,
            "logged_rss_mib": logged.rss_mib,
            "log_mib": log_mib,
        }
        rows.append(("with the decision log", f"{logged.per_s:,.0f} /s", ""))
        rows.append((f"  of {log_mib:.0f} MiB; memory", f"{logged.rss_mib:.0f} MiB", ""))
    conclude(figures, rows, report, seed=seed, duration_s=time.perf_counter() - begun)


def _rate(scenario: Scenario) -> float:
    """LC requests a second at all sites together."""
    total = 0.0
    for load in scenario.loads:
        if not isinstance(load, RequestLoad) or not isinstance(load.source, PatternSpec):
            fix = "use one whose loads are patterns"
            raise InvalidField("--scenario", "has a load that is no pattern", fix)
        streams = 1
        if load.each:
            service = next(one for one in scenario.services if one.spec.name == load.service)
            streams = len(load.sites or service.sites or scenario.topology.sites)
        total += load.source.rate_per_s * streams
    if not total:
        raise InvalidField("--scenario", "has no LC load", "use one that has")
    return total


def _denser(path: Path, times: int) -> list[str]:
    """What to change in the scenario for so many times the requests, of as much CPU in all."""
    if times == 1:
        return []
    document = tomllib.loads(path.read_text("utf-8"))
    changes = []
    for section, field, factor in (("loads", "rate", times), ("services", "cpu_ms", 1 / times)):
        for index, item in enumerate(document.get(section, ())):
            if field not in item:
                fix = "state it there, or leave --times out"
                raise InvalidField(f"{section}[{index}].{field}", "is not in the scenario", fix)
            changes.append(f"{section}[{index}].{field}={item[field] * factor!r}")
    return changes


def _run(
    scenario: Path, duration_s: float, seed: int, log: Path | None, changes: list[str]
) -> Timed:
    phases = [f"duration_s={duration_s!r}", "warmup_s=0"]
    words = [str(scenario), str(seed), str(log or ""), *phases, *changes]
    done = subprocess.run(
        [sys.executable, "-m", "tango.cli.benches.simulate_run", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BenchFailed(f"a run ended with code {done.returncode}")
    return Timed(**json.loads(done.stdout))
