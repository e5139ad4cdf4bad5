"""`tango load`: requests on a service by a pattern or a trace, in an open loop."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click
from rich.text import Text

from tango.adapters.trace_files import check_azure_llm, read_azure_llm
from tango.cli.figure_file import check_plot
from tango.cli.options import with_client
from tango.cli.plot import write_plot
from tango.cli.progress import Progress
from tango.cli.report_view import (
    load_view,
    milliseconds,
    print_view,
    share,
    write_report,
)
from tango.cli.whole_file import check_place
from tango.model.errors import InvalidField, NotFound, TangoError, Unavailable
from tango.model.views import ServiceView
from tango.sdk.client import Client
from tango.sdk.load import LoadRunner, RunRecord, ServiceLoad
from tango.sdk.readiness import not_ready_reason
from tango.workload.arrival import Arrival
from tango.workload.azure_llm import WorkModel
from tango.workload.patterns import PATTERN_NAMES, PatternSpec, arrivals

INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Plan:
    """Which arrivals, how long, and what to call it. notes: what a user must know before."""

    arrivals: Iterable[Arrival]
    duration_s: float | None
    title: str
    notes: tuple[str, ...] = ()


@click.command()
@click.argument("service")
@click.option(
    "--pattern", type=click.Choice(PATTERN_NAMES), default=None,
    help="How the rate changes over time; all are Poisson.  [default: steady]",
)  # fmt: skip
@click.option("--rate", type=float, default=None, help="Mean requests per second.  [default: 10]")
@click.option("--duration", type=float, default=None, help="Seconds.  [default: 30]")
@click.option("--seed", default=1, show_default=True, help="Same seed, same arrivals.")
@click.option(
    "--trace", type=click.Path(path_type=Path), default=None,
    help="Replay an Azure LLM inference trace (CSV) instead of a pattern; a request's work follows "
    "from its token counts and travels as the header x-work.",
)  # fmt: skip
@click.option(
    "--speed-up", type=float, default=None, help="Replay so many times as fast.  [default: 1]"
)
@click.option(
    "--trace-duration", type=float, default=None, help="Stop the replay after so many seconds."
)
@click.option("--skip-bad-rows", is_flag=True, help="Leave broken rows out instead of refusing.")
@click.option(
    "--site", "sites", multiple=True,
    help="Send to this site; given several times, in turn.  [default: all that have the service]",
)  # fmt: skip
@click.option("--path", default="/", show_default=True, help="Path and query of each request.")
@click.option("--deadline-ms", type=float, default=None, help="In place of the service's own.")
@click.option(
    "--report", type=click.Path(path_type=Path), default=None, help="Write the report as JSON."
)
@click.option(
    "--plot", type=click.Path(path_type=Path), default=None,
    help="Draw the run, as PNG, SVG or PDF by the name's ending.",
)  # fmt: skip
@with_client
async def load(
    client: Client, service: str, pattern: str | None, rate: float | None, duration: float | None,
    seed: int, trace: Path | None, speed_up: float | None, trace_duration: float | None,
    skip_bad_rows: bool, sites: tuple[str, ...], path: str, deadline_ms: float | None,
    report: Path | None, plot: Path | None,
) -> int:  # fmt: skip
    """Send requests to SERVICE, each when it is due, never waiting for earlier answers.

    An answer counts as in time when it is there within the deadline after its request was due,
    measured here at the client. Ctrl-C ends the load and still reports. The exit status is 0 only
    if the load ran to its end; how the service did is in the report.
    """
    if not path.startswith("/"):
        raise InvalidField("--path", f"{path!r}", "begin it with '/'")
    if deadline_ms is not None and not 1 <= deadline_ms <= 3_600_000:
        raise InvalidField("--deadline-ms", f"{deadline_ms:g} is out of range", "use 1 to 3600000")
    if report is not None:
        check_place(report, "report")
    if plot is not None:
        check_plot(plot)
    if trace is not None:
        _only_with("--pattern", pattern=pattern, rate=rate, duration=duration)
        with _as_options(speed_up="--speed-up", duration_s="--trace-duration", trace="--trace"):
            plan = trace_plan(
                trace, _or(speed_up, 1.0), trace_duration, skip_bad_rows=skip_bad_rows
            )
    else:
        _only_with("--trace", speed_up=speed_up, trace_duration=trace_duration)
        if skip_bad_rows:
            raise InvalidField("--skip-bad-rows", "goes with --trace only", "leave it out")
        with _as_options(rate_per_s="--rate", duration_s="--duration"):
            plan = pattern_plan(pattern or "steady", _or(rate, 10.0), _or(duration, 30.0), seed)
    views = await _find_service(client, service, sites)
    target = ServiceLoad(
        service,
        plan.arrivals,
        deadline_ms / 1000 if deadline_ms is not None else views[0].spec.deadline_s,
        tuple(view.edge for view in views),
        path,
        own_deadline=deadline_ms is not None,
        timeout_s=max(views[0].spec.timeout_s, (deadline_ms or 0) / 1000),
    )
    return await _run(client, target, plan, seed, report, plot)


def _only_with(other: str, **given: object) -> None:
    for name, value in given.items():
        if value is not None:
            option = f"--{name.replace('_', '-')}"
            raise InvalidField(option, f"goes with {other} only", "leave it out")


def _or(given: float | None, default: float) -> float:
    return default if given is None else given


@contextlib.contextmanager
def _as_options(**options: str) -> Iterator[None]:
    """Errors name what the user typed, not the field that it became."""
    try:
        yield
    except InvalidField as error:
        if error.field not in options:
            raise
        field = options[error.field]
        raise InvalidField(field, error.problem, error.fix, error.where) from None


def pattern_plan(name: str, rate: float, duration_s: float, seed: int) -> Plan:
    """Raises InvalidField."""
    spec = PatternSpec(name, rate, duration_s)
    count = sum(1 for _ in arrivals(spec, random.Random(seed)))
    title = (
        f"{name}, {rate:g} requests/s in the long run; seed {seed} makes {count:,} in "
        f"{duration_s:g} s"
    )
    return Plan(arrivals(spec, random.Random(seed)), duration_s, title)


def trace_plan(
    path: Path, speed_up: float, duration_s: float | None, *, skip_bad_rows: bool
) -> Plan:
    """Reads the trace once before anything is sent. Raises InvalidField with file and line."""
    found = check_azure_llm(
        path, speed_up=speed_up, duration_s=duration_s, skip_bad_rows=skip_bad_rows
    )
    found_words = (
        f"{path.name}: {found.rows:,} requests over {found.span_s:,.1f} s "
        f"({found.mean_rate_per_s:.1f}/s), mean work {found.mean_work:.2f}; "
        f"work is {WorkModel().describe()}"
    )
    notes = [found_words]
    if found.skipped:
        notes.append(f"{found.skipped:,} broken rows are left out, the first: {found.problems[0]}")
    trace = read_azure_llm(
        path, speed_up=speed_up, duration_s=duration_s, skip_bad_rows=skip_bad_rows
    )
    title = f"trace {path.name}, {speed_up:g} times as fast"
    return Plan(trace, duration_s, title, tuple(notes))


async def _find_service(
    client: Client, service: str, sites: tuple[str, ...]
) -> tuple[ServiceView, ...]:
    """The service at the sites it is wanted at; refused where it could not answer at all."""
    views = []
    wanted = tuple(dict.fromkeys(sites)) or client.sites
    for site in wanted:
        try:
            views.append(await client.edge(site).service(service))
        except NotFound:
            # Named sites must have it; of all sites, those that have it will do.
            if sites:
                raise
    if not views:
        known = sorted({view.spec.name for view in await client.services()})
        raise NotFound(
            f"service {service!r} is unknown; "
            + (f"there are: {', '.join(known)}" if known else "`tango apply` declares one first")
        )
    ready = tuple(view for view in views if view.ready)
    if not ready:
        raise Unavailable(f"{service}: {not_ready_reason(views[0])}")
    return tuple(views) if sites else ready


async def _run(
    client: Client, target: ServiceLoad, plan: Plan, seed: int, report: Path | None,
    plot: Path | None,
) -> int:  # fmt: skip
    where = ", ".join(target.sites)
    with Progress() as progress:
        for note in plan.notes:
            progress.say(note)
        progress.say(f"load on {target.service} at {where}: {plan.title}; Ctrl-C ends it")

        def on_second(record: RunRecord, at_s: float) -> None:
            line = progress_line(record, at_s, plan.duration_s)
            progress.show(at_s, Text(line), line)

        runner = LoadRunner(client, [target], duration_s=plan.duration_s, on_second=on_second)
        problem: TangoError | None = None
        with stop_on_signals(runner):
            try:
                await runner.run()
            except TangoError as error:
                problem = error
    record = runner.record
    result = record.report(seed=seed, duration_s=runner.duration_s)
    print_view(load_view(result, record, where))
    if report is not None:
        write_report(result, report)
        click.echo(f"report: {report}")
    if plot is not None:
        write_plot(record.timeline(f"Tango load on {target.service}: {plan.title}"), plot)
        click.echo(f"plot: {plot}")
    if problem is not None:
        raise problem
    if runner.stopped:
        click.echo("tango: the load was ended before its time", err=True)
        return INTERRUPTED
    return 0


def progress_line(record: RunRecord, at_s: float, duration_s: float | None) -> str:
    """A run so far, for each service, in one line."""
    of = f" of {duration_s:g}" if duration_s is not None else ""
    parts = [f"{at_s:.0f}{of} s"]
    for name, service in record.services.items():
        rate, latency = service.recent()
        tally = service.tally
        ended = tally.sent - tally.in_flight
        completed = tally.ended.completed
        parts.append(
            f"{name} {rate:.0f}/s, {share(completed, ended)} of {ended:,} in time, "
            f"p50 {milliseconds(latency.p50)}, p99 {milliseconds(latency.p99)}, "
            f"{tally.in_flight:,} under way"
        )
    if record.snapshot.away:
        parts.append(f"away: {', '.join(record.snapshot.away)}")
    return " | ".join(parts)


@contextlib.contextmanager
def stop_on_signals(runner: LoadRunner) -> Iterator[None]:
    """Ctrl-C and SIGTERM end the load in order; a second one cuts through."""
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None

    def stop() -> None:
        if runner.stopped:
            task.cancel()
        runner.stop()

    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, stop)
    try:
        yield
    except asyncio.CancelledError:
        raise click.Abort from None
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
