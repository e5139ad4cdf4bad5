"""`tango bench calibrate`: the same load on a real cluster and in the simulator, side by side."""

from __future__ import annotations

import datetime as dt
import json
import random
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import click
import uvloop

from tango.cli.benches.be_work import COUNT
from tango.cli.benches.calibrate_ground import (
    NODE_MILLIS,
    NODES,
    PERIOD_US,
    Ground,
    plan_ground,
    python,
)
from tango.cli.benches.calibrate_rules import Compared, Measured, RunFigures, compare, missed
from tango.cli.benches.calibrate_scenario import Load, Setting, simulated
from tango.cli.benches.figures import bench_options, check_report, machine
from tango.cli.benches.programs import ended_by_sigterm, scratch_dir
from tango.cli.tables import show, table
from tango.model.errors import InvalidField
from tango.model.job import JobSpec, TaskSpec
from tango.model.service import HealthCheck, ServiceSpec
from tango.sdk.client import Client
from tango.sdk.embedded import EmbeddedCluster
from tango.sdk.embedded_plan import EmbeddedPlan
from tango.workload.arrival import Arrival
from tango.workload.patterns import PatternSpec, arrivals

SERVICE = "service"
CONCURRENCY = 2
ALONE_PER_S = 10.0
# Of the capacity over one request's CPU; the most goodput of these is the saturation.
STEPS = (0.85, 1.0, 1.15)
# Trivial requests come as fast as ordinary ones do at this share of it.
TRIVIAL_SHARE = 0.6
IDLE_S = 2.0
_MIB = 2**20


@dataclass(frozen=True, slots=True)
class Options:
    """What the command was told."""

    seed: int
    seconds: float
    warm_up_s: float
    loads: tuple[int, ...]
    with_be: bool
    cpu_ms: float
    deadline_ms: float


@dataclass(frozen=True, slots=True)
class Seen:
    """One load on the real nodes. rate: requests a second."""

    name: str
    rate: float
    load: Load
    real: RunFigures


@dataclass(frozen=True, slots=True)
class Pair:
    """One load, on both sides. rate: requests a second."""

    name: str
    rate: float
    real: RunFigures
    simulated: RunFigures


@click.command()
@bench_options
@click.option(
    "--seconds", default=25.0, show_default=True, type=click.FloatRange(2, 600),
    help="Of each load that is compared.",
)  # fmt: skip
@click.option(
    "--warm-up", default=5.0, show_default=True, type=click.FloatRange(1, 600),
    help="Seconds of the same load before it.",
)  # fmt: skip
@click.option(
    "--loads", default="30,60,90", show_default=True,
    help="Percent of the saturation goodput, by commas.",
)  # fmt: skip
@click.option("--be/--no-be", default=True, help="Best-effort work on both nodes, that never ends.")
@click.option(
    "--cpu-ms", default=10.0, show_default=True, type=click.FloatRange(0.5, 1000),
    help="CPU of each request.",
)  # fmt: skip
@click.option(
    "--deadline-ms", default=150.0, show_default=True, type=click.FloatRange(5, 60_000),
    help="Of each request.",
)  # fmt: skip
@click.pass_context
def calibrate(
    ctx: click.Context, report: Path | None, seed: int, seconds: float, warm_up: float, loads: str,
    be: bool, cpu_ms: float, deadline_ms: float,
) -> None:  # fmt: skip
    """Real nodes against simulated ones, under the same arrivals.

    An embedded cluster of one site and two nodes, both on one core that everything else keeps off,
    each held to 450 millicores by a CFS quota on its own group. What a request and the control
    plane cost is measured first, at low load, and the simulator's figures follow from that by one
    rule; then the saturation goodput; then shares of it, open loop. Exit status 0 only where QoS
    rate (5 points), throughput (10 %), CPU utilisation (5 points) and p95 (25 % or 2 ms) agree at
    every load.
    """
    check_report(report)
    options = Options(seed, seconds, warm_up, _loads(loads), be, cpu_ms, deadline_ms)
    # Before this process keeps off a core.
    where = machine()
    plan = plan_ground()
    begun = time.monotonic()
    with ended_by_sigterm(), scratch_dir() as directory:
        cluster = EmbeddedCluster(directory)
        cluster.start(plan=plan)
        try:
            ground = Ground(cluster, plan)
            try:
                run = _Run(options, plan, ground, directory, where)
                seen = uvloop.run(run.whole())
            finally:
                ground.close()
        finally:
            cluster.stop()
    pairs = [run.simulated(each) for each in seen]
    verdicts = {pair.name: compare(pair.real, pair.simulated) for pair in pairs}
    judged = {name: verdicts[name] for name in map(_percent, options.loads)}
    misses = {name: out for name, each in judged.items() if (out := missed(each))}
    _show(run, pairs, verdicts, judged)
    if report is not None:
        content = {
            "saturation_per_s": run.saturation_per_s,
            "measured_ms": asdict(run.setting.measured) | {"hop": run.setting.measured.hop},
            "pairs": [asdict(pair) for pair in pairs],
            "errors": {
                name: [asdict(one) | {"holds": one.holds} for one in each]
                for name, each in verdicts.items()
            },
            "holds": not misses,
            "node_millis": NODE_MILLIS,
            "nodes": len(NODES),
            "period_us": PERIOD_US,
            "options": asdict(options),
            "seed": seed,
            "duration_s": round(time.monotonic() - begun, 1),
            "machine": where,
        }
        report.write_text(json.dumps(content, indent=2) + "\n")
    for name, out in misses.items():
        words = ", ".join(f"{one.what} {_error(one)} (bound {_bound(one)})" for one in out)
        click.echo(f"out of bounds at {name}: {words}", err=True)
    ctx.exit(1 if misses else 0)


class _Run:
    """One calibration against a cluster that runs."""

    def __init__(
        self, options: Options, plan: EmbeddedPlan, ground: Ground, directory: Path, where: str
    ) -> None:
        self._options = options
        self._plan = plan
        self._ground = ground
        self._directory = directory
        self._where = f"{where}, {dt.datetime.now(dt.UTC):%Y-%m-%d}"
        self._spec = _service(options)
        self._be = _job(directory)
        self.saturation_per_s = 0.0
        self.setting: Setting

    async def whole(self) -> list[Seen]:
        """Everything that is measured."""
        options, ground = self._options, self._ground
        async with Client(self._directory) as client:
            await client.apply(self._spec, wait_s=60.0)
            seen = [await self._costs(client)]
            if options.with_be:
                await ground.start_be(client, self._be)
            seen.append(await self._saturate(client))
            for percent in options.loads:
                rate = self.saturation_per_s * percent / 100
                load = Load(
                    self._arrivals(rate, options.warm_up_s, 1000 + percent), options.warm_up_s,
                    self._arrivals(rate, options.seconds, percent), options.seconds,
                    options.with_be,
                )  # fmt: skip
                await ground.warm_up(client, self._spec, load.warm_up, load.warm_up_s)
                real, _ = await ground.load(client, self._spec, load.arrivals, load.seconds)
                seen.append(self._seen(_percent(percent), rate, load, real))
        return seen

    def simulated(self, seen: Seen) -> Pair:
        """The same in the simulator."""
        name = "".join(letter if letter.isalnum() else "-" for letter in seen.name)
        figures = simulated(self.setting, seen.load, f"load-{name}".rstrip("-"))
        return Pair(seen.name, seen.rate, seen.real, figures)

    async def _costs(self, client: Client) -> Seen:
        """What requests cost, one at a time, before any BE work is there."""
        ground, spec = self._ground, self._spec
        idle = await ground.idle(IDLE_S)
        seconds = max(3.0, self._options.seconds / 4)
        rng = random.Random(self._options.seed)
        count = round(ALONE_PER_S * seconds)
        # Never two at once, and not in step with the quota's periods.
        times = [Arrival((index + rng.random() / 2) / ALONE_PER_S) for index in range(count)]
        alone, whole = await ground.load(client, spec, times, seconds)
        request_cpu_s = whole.beyond(idle).lc_s / count
        pace = TRIVIAL_SHARE * len(NODES) * NODE_MILLIS / 1000 / request_cpu_s
        direct = await ground.direct(client, spec, round(pace * seconds / 2))
        trivial = self._arrivals(pace, seconds, 0)
        carried, used = await ground.trivial(client, spec, trivial, seconds)
        net = used.beyond(idle)
        share = 1000 / len(trivial)
        self.setting = Setting(
            self._plan, PERIOD_US, spec, self._be,
            Measured(
                direct.percentiles(50)[0], carried.percentiles(50)[0],
                net.edge_s * share, net.worker_s * share, net.lc_s * share, 1000 * request_cpu_s,
            ),
            self._where,
        )  # fmt: skip
        return self._seen("alone", ALONE_PER_S, Load((), 0.0, times, seconds, with_be=False), alone)

    async def _saturate(self, client: Client) -> Seen:
        """Goodput at rates about the capacity; that with the most of it."""
        options = self._options
        capacity = len(NODES) * NODE_MILLIS / self.setting.measured.request_cpu
        seconds = max(2.0, options.seconds / 3)
        steps = []
        for index, share in enumerate(STEPS):
            arrivals = self._arrivals(share * capacity, seconds, 100 + index)
            real, _ = await self._ground.load(client, self._spec, arrivals, seconds)
            load = Load((), 0.0, arrivals, seconds, options.with_be)
            steps.append(self._seen(f"step {share:g}", share * capacity, load, real))
        most = max(steps, key=lambda step: step.real.in_time_per_s)
        self.saturation_per_s = most.real.in_time_per_s
        return replace(most, name="saturation")

    def _arrivals(self, rate: float, seconds: float, stream: int) -> list[Arrival]:
        rng = random.Random(1000 * self._options.seed + stream)
        return list(arrivals(PatternSpec("steady", rate, seconds), rng))

    def _seen(self, name: str, rate: float, load: Load, real: RunFigures) -> Seen:
        click.echo(
            f"{name:10} {rate:6.1f}/s  in time {real.qos:6.1%}  p95 {real.p95_ms or 0:6.1f} ms  "
            f"CPU {real.lc_cpu:.1%} + {real.be_cpu:.1%}, others {real.others:.1%}", err=True,
        )  # fmt: skip
        return Seen(name, rate, load, real)


def _service(options: Options) -> ServiceSpec:
    argv = (
        python(), "-m", "tango.cli.samples.burner", "--port", "{port}",
        "--cpu-ms", f"{options.cpu_ms:g}",
    )  # fmt: skip
    return ServiceSpec(
        SERVICE,
        argv,
        replicas=len(NODES),
        memory_bytes=96 * _MIB,
        concurrency=CONCURRENCY,
        cpu_per_request_millis=200,
        deadline_s=options.deadline_ms / 1000,
        timeout_s=max(2.0, 2 * options.deadline_ms / 1000),
        health=HealthCheck(interval_s=1.0),
    )


def _job(directory: Path) -> JobSpec:
    """One task for each node that never ends."""
    tasks = []
    for index in range(len(NODES)):
        counter = directory / f"be-{index}"
        counter.write_bytes(COUNT.pack(0))
        argv = (python(), "-m", "tango.cli.benches.be_work", str(counter))
        # What two requests of the service leave of a node.
        tasks.append(TaskSpec(f"be-{index}", argv, cpu_millis=50, memory_bytes=96 * _MIB))
    return JobSpec("work", tuple(tasks))


def _loads(text: str) -> tuple[int, ...]:
    try:
        found = tuple(int(part) for part in text.split(","))
    except ValueError:
        found = ()
    if not found or len(set(found)) < len(found) or not all(1 <= each <= 200 for each in found):
        raise InvalidField("--loads", f"{text!r}", "whole percents from 1 to 200, by commas")
    return found


def _percent(load: int) -> str:
    return f"{load}%"


# ---- what came of it


def _show(
    run: _Run,
    pairs: list[Pair],
    verdicts: dict[str, tuple[Compared, ...]],
    judged: dict[str, tuple[Compared, ...]],
) -> None:
    rows = []
    for pair in pairs:
        for one in verdicts[pair.name]:
            bound = verdict = ""
            if pair.name in judged and one.allowed is not None:
                bound, verdict = _bound(one), "yes" if one.holds else "NO"
            rows.append(
                (pair.name, one.what, _value(one, one.real), _value(one, one.simulated),
                 _error(one), bound, verdict)
            )  # fmt: skip
    show(table(("LOAD", "FIGURE", "REAL", "SIMULATED", "ERROR", "BOUND", "HOLDS"), rows))
    measured = run.setting.measured
    click.echo(
        f"saturation {run.saturation_per_s:.1f}/s; a request: {measured.request_cpu:.2f} ms CPU; "
        f"a trivial one: direct {measured.direct:.2f} ms, carried {measured.carried:.2f} ms, of it "
        f"edge {measured.edge_cpu:.2f}, workers {measured.worker_cpu:.2f}, replica "
        f"{measured.trivial_cpu:.2f} ms of CPU, four messages of {measured.hop:.2f} ms"
    )


def _value(one: Compared, value: float | None) -> str:
    if value is None:
        return "-"
    if one.unit == "points":
        return f"{value:.1%}"
    return f"{value:.1f}" + (" ms" if one.unit == "ms" else "")


def _error(one: Compared) -> str:
    if one.unit == "points":
        return f"{100 * one.error:+.1f} points"
    if one.unit == "ratio":
        return f"{one.error:+.1%}"
    share = f" ({one.error / one.real:+.0%})" if one.real else ""
    return f"{one.error:+.1f} ms{share}"


def _bound(one: Compared) -> str:
    assert one.allowed is not None
    if one.unit == "points":
        return f"{100 * one.allowed:g} points"
    return f"{one.allowed:.0%}" if one.unit == "ratio" else f"{one.allowed:.1f} ms"
