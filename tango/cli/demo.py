"""`tango demo`: a cluster, services, batch jobs and load on this machine, and what came of it."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib.util
import random
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from tango.cli.cluster import describe_plan
from tango.cli.demo_jobs import JobStream
from tango.cli.demo_machine import MachineCpu, machine_cpu
from tango.cli.demo_plan import (
    SITES,
    DemoPlan,
    DemoTrace,
    default_policies,
    demo_loads,
    demo_plan,
    demo_trace,
    load_words,
)
from tango.cli.demo_view import demo_view, shortcomings
from tango.cli.figure_file import check_plot
from tango.cli.options import record_option, state_option
from tango.cli.panels import Panels, jobs_words
from tango.cli.plot import write_plot
from tango.cli.progress import Progress
from tango.cli.report_view import milliseconds, print_view, share, write_report
from tango.cli.whole_file import check_place
from tango.model.errors import TangoError
from tango.sdk.client import Client
from tango.sdk.embedded import EmbeddedCluster
from tango.sdk.embedded_plan import EmbeddedPlan
from tango.sdk.load import LoadRunner, RunRecord
from tango.sdk.observe import ServiceMeter
from tango.workload.bounds import require_number

REPORT, PLOT = Path("tango-demo.json"), Path("tango-demo.png")
READY_WITHIN_S = 60.0
INTERRUPTED = 130


@click.command()
@click.option("--duration", default=60.0, show_default=True, help="Seconds of load.")
@click.option("--seed", default=1, show_default=True, help="Same seed, same load and jobs.")
@click.option(
    "--trace", type=click.Path(path_type=Path), default=None,
    help="Azure LLM inference trace (CSV) for the heavy service, instead of bursts.",
)  # fmt: skip
@click.option(
    "--report", type=click.Path(path_type=Path), default=REPORT, show_default=True,
    help="Write the figures as JSON.",
)  # fmt: skip
@click.option(
    "--plot", type=click.Path(path_type=Path), default=None,
    help=f"Draw the run as PNG, SVG or PDF; needs matplotlib.  [default: {PLOT}]",
)  # fmt: skip
@functools.partial(state_option, default="one of its own, removed afterwards")
@record_option
def demo(
    duration: float, seed: int, trace: Path | None, report: Path, plot: Path | None,
    state: Path | None, record: Path | None,
) -> int:  # fmt: skip
    """Show what Tango is for, in a minute, on this machine.

    Starts a cluster of two sites, deploys a light and a heavy service, fills what they leave with
    batch jobs, sends load, prints what was seen, and stops everything again. Exit status 0 only if
    every request is accounted for, jobs succeeded, and both kinds used CPU on every node.
    """
    require_number("--duration", duration, 1, 86_400)
    check_place(report, "report")
    plot = _plot_path(plot)
    if trace is not None:
        demo_trace(trace, 1.0, duration)  # refuses a broken one before anything starts
    progress = Progress()
    with _running(state, record, progress) as (cluster, plan):
        for line in describe_plan(plan):
            progress.say(line)
        run = DemoRun(cluster, demo_plan(plan), progress, duration, seed, trace)
        status = asyncio.run(run.all(report, plot))
        progress.say("stopping the cluster ...")
    return status


def _plot_path(given: Path | None) -> Path | None:
    if given is None and importlib.util.find_spec("matplotlib") is None:
        click.echo("no plot: matplotlib is missing; install the extra `plot`", err=True)
        return None
    path = given or PLOT
    check_plot(path)
    return path


@contextlib.contextmanager
def _running(
    state: Path | None, record: Path | None, progress: Progress
) -> Iterator[tuple[EmbeddedCluster, EmbeddedPlan]]:
    """A cluster that is gone afterwards, come what may; so is a directory made for it, unless
    something went wrong: then its logs stay."""
    directory = state or Path(tempfile.mkdtemp(prefix="tango-demo-"))
    cluster = EmbeddedCluster(directory)
    progress.say(f"starting a cluster of {SITES} sites in {directory} ...")
    well = False
    with _terminations_interrupt():
        try:
            plan = cluster.start(sites=SITES, record=record)
            try:
                yield cluster, plan
            finally:
                with _undisturbed():
                    cluster.stop()
            well = True
        except (KeyboardInterrupt, click.Abort):
            well = True
            raise
        finally:
            if state is None and well:
                shutil.rmtree(directory, ignore_errors=True)
            elif state is None:
                progress.say(f"the daemons' logs are kept in {directory / 'logs'}")


@contextlib.contextmanager
def _terminations_interrupt() -> Iterator[None]:
    """SIGTERM and SIGHUP (a closed terminal) end the demo as Ctrl-C does: in order."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with _handled(interrupt, signal.SIGTERM, signal.SIGHUP):
        yield


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """No signal cuts the stopping of a cluster short: half of it would stay."""
    with _handled(signal.SIG_IGN, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        yield


@contextlib.contextmanager
def _handled(handler: Callable[..., object] | signal.Handlers, *numbers: int) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, each in before.items():
            signal.signal(number, each)


class DemoRun:
    """Deploys, loads, drains and reports, on a cluster that is up."""

    def __init__(
        self, cluster: EmbeddedCluster, plan: DemoPlan, progress: Progress, duration_s: float,
        seed: int, trace: Path | None,
    ) -> None:  # fmt: skip
        self._cluster = cluster
        self._plan = plan
        self._progress = progress
        self._duration_s = duration_s
        self._seed = seed
        self._trace: DemoTrace | None = None
        if trace is not None:
            self._trace = demo_trace(trace, plan.rates_per_s[1], duration_s)
        self._panels = Panels(progress.console)
        self._rates = ServiceMeter()
        self._runner: LoadRunner | None = None

    async def all(self, report: Path, plot: Path | None) -> int:
        """The exit status."""
        self._interruptible()
        try:
            async with Client(self._cluster.state_dir) as client:
                return await self._run(client, report, plot)
        except asyncio.CancelledError:
            # A signal before or after the load; during it, the report comes first.
            raise click.Abort from None
        except TangoError as error:
            # A daemon's own last words say more than that it does not answer.
            gone = self._cluster.gone()
            if gone:
                ends = "; ".join(f"{name} {how}" for name, how in gone.items())
                raise TangoError(f"{error} ({ends})") from error
            raise

    def _interruptible(self) -> None:
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None

        def on_signal() -> None:
            if self._runner is not None and not self._runner.stopped:
                self._runner.stop()
            else:
                task.cancel()

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, on_signal)

    async def _run(self, client: Client, report: Path, plot: Path | None) -> int:
        say = self._progress.say
        services = self._plan.services
        say(f"deploying {' and '.join(spec.name for spec in services)} at every site ...")
        await asyncio.gather(*(client.apply(spec, wait_s=READY_WITHIN_S) for spec in services))
        say(f"{self._duration_s:g} s of load, and batch jobs on what CPU it leaves:")
        for line in load_words(self._plan, self._trace):
            say(line)
        jobs = JobStream(client, self._plan, random.Random(self._seed))
        machine = await self._load(client, jobs)
        runner = self._runner
        assert runner is not None
        if not runner.stopped:
            say("load has ended; the last batch jobs run to their end ...")
        runner.record.see_jobs(await jobs.drain(0.0 if runner.stopped else 30.0))
        result = runner.record.report(
            seed=self._seed, duration_s=runner.duration_s, policies=default_policies()
        )
        print_view(demo_view(result, runner.record, machine))
        write_report(result, report)
        click.echo(f"\nfigures: {report}")
        if plot is not None:
            title = f"Tango demo: two services and batch jobs on {len(result.nodes)} nodes"
            write_plot(runner.record.timeline(title), plot)
            click.echo(f"picture: {plot}")
        if runner.stopped:
            click.echo("tango: the demo was ended before its time", err=True)
            return INTERRUPTED
        found = shortcomings(result, jobs.problem)
        for problem in found:
            click.echo(f"tango: the demo has failed: {problem}", err=True)
        return int(bool(found))

    async def _load(self, client: Client, jobs: JobStream) -> MachineCpu:
        """Both kinds of work for the whole duration; what the machine did meanwhile."""
        runner = LoadRunner(
            client,
            demo_loads(self._plan, client.sites, self._duration_s, self._seed, self._trace),
            duration_s=self._duration_s,
            on_second=self._on_second,
        )
        self._runner = runner
        feeding = asyncio.create_task(jobs.feed(), name="demo jobs")
        before = machine_cpu(self._cluster.daemons_cpu_s())
        try:
            with self._progress:
                await runner.run()
            return machine_cpu(self._cluster.daemons_cpu_s()).since(before)
        finally:
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)

    def _on_second(self, record: RunRecord, at_s: float) -> None:
        snapshot = record.snapshot
        self._rates.see(snapshot)
        cpu = record.rows[-1].nodes
        latencies = {name: each.recent()[1] for name, each in record.services.items()}
        heading = f"tango demo: {at_s:.0f} of {self._duration_s:g} s, Ctrl-C ends it"
        view = self._panels.draw(heading, snapshot, cpu, self._rates.rates, latencies)
        self._progress.show(at_s, view, self._line(record, at_s))

    def _line(self, record: RunRecord, at_s: float) -> str:
        parts = [f"{at_s:.0f} of {self._duration_s:g} s"]
        for name, each in record.services.items():
            rate, latency = each.recent()
            ended = each.tally.sent - each.tally.in_flight
            in_time = share(each.tally.ended.completed, ended)
            parts.append(
                f"{name}: {rate:.0f}/s, {in_time} in time, p99 {milliseconds(latency.p99)}"
            )
        cpu = record.rows[-1].nodes.values()
        capacity = sum(node.capacity_millis for node in cpu)
        lc = share(sum(node.lc_cpu_millis for node in cpu), capacity)
        be = share(sum(node.be_cpu_millis for node in cpu), capacity)
        parts.append(f"CPU: services {lc}, batch {be}")
        if record.snapshot.jobs is not None:
            parts.append(f"jobs: {jobs_words(record.snapshot.jobs)}")
        if record.snapshot.away:
            parts.append(f"away: {', '.join(record.snapshot.away)}")
        return " | ".join(parts)
