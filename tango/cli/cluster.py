"""`tango up` and `tango down`: an embedded cluster on this machine."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from pathlib import Path

import click

from tango.adapters.policies import batch_policy
from tango.cli.options import record_option, state_option
from tango.model.errors import InvalidField
from tango.model.units import format_count, format_cpu, format_memory, parse_cpu
from tango.sdk.cluster_file import default_state_dir, read_cluster_file
from tango.sdk.embedded import EmbeddedCluster
from tango.sdk.embedded_plan import EmbeddedPlan
from tango.sdk.keeper import Keeper


@click.command()
@state_option
@click.option("--sites", default=2, show_default=True, help="Edge sites.")
@click.option("--workers", default=1, show_default=True, help="Nodes at each site.")
@click.option(
    "--reserve", default="700m", show_default=True,
    help="CPU kept for daemons and clients; nodes share the rest.",
)  # fmt: skip
@click.option(
    "--batch", metavar="NAME",
    help="Policy by which jobs are placed (docs/batch.md); left out, the default one.",
)  # fmt: skip
@click.option(
    "--rest", type=click.IntRange(0, 65535), metavar="PORT",
    help="REST face of the central master on 127.0.0.1; 0 picks a port. Needs the extra `rest`.",
)  # fmt: skip
@click.option(
    "--label", "labels", multiple=True, metavar="NODE:KEY=VALUE",
    help="A label of a node, such as a1:zone=west; may be given again.",
)  # fmt: skip
@click.option(
    "--taint", "taints", multiple=True, metavar="NODE:KEY=VALUE:EFFECT",
    help="A taint of a node, such as b1:gpu=true:NoSchedule; may be given again.",
)  # fmt: skip
@click.option("--detach", is_flag=True, help="Return when it is up; `tango down` stops it.")
@record_option
def up(
    state: Path | None,
    sites: int,
    workers: int,
    reserve: str,
    batch: str | None,
    rest: int | None,
    labels: tuple[str, ...],
    taints: tuple[str, ...],
    detach: bool,
    record: Path | None,
) -> int:
    """Start a whole cluster on this machine: central, edges and workers, each a process.

    A daemon that dies is started again while `tango up` runs; where it was detached, the next
    `tango up` starts those that are missing. Services and jobs are kept in the state directory:
    they are there again after `down` and `up`.
    """
    if batch is not None:
        _require_policy(batch)
    cluster = EmbeddedCluster(state or default_state_dir())
    if missing := cluster.revive():
        cluster.wait_ready()
        click.echo(f"started again: {', '.join(missing)}")
        given = (
            ("--record", record is not None),
            ("--batch", batch is not None),
            ("--rest", rest is not None),
            ("--label", bool(labels)),
            ("--taint", bool(taints)),
        )
        for option, is_given in given:
            if is_given:
                click.echo(f"tango: {option} counts where a whole cluster is started", err=True)
        return 0
    plan = cluster.start(
        sites=sites,
        workers_per_site=workers,
        reserve_millis=parse_cpu(reserve, "--reserve"),
        record=record,
        batch_policy=batch or "",
        rest_port=rest,
        labels=labels,
        taints=taints,
    )
    if detach:
        _announce(cluster, plan)
        return 0
    started = cluster.token()
    try:
        stopping = _stop_signals()
        _announce(cluster, plan)
        click.echo("Ctrl-C stops it and cleans up")
        keeper = Keeper(cluster)
        while not select.select([stopping], [], [], 0.2)[0]:
            if cluster.token() != started:
                click.echo("tango: it was stopped elsewhere, as by `tango down`", err=True)
                break
            for line in keeper.look(time.monotonic()):
                click.echo(f"tango: {line}", err=True)
    finally:
        # After a `down` what runs there may be the cluster of another `up`.
        if cluster.token() == started:
            cluster.stop()
    return 0


def _require_policy(name: str) -> None:
    """Said here, and not by a central master that ends at once."""
    try:
        batch_policy(name)
    except InvalidField as error:
        raise InvalidField("--batch", error.problem, error.fix) from None


def _announce(cluster: EmbeddedCluster, plan: EmbeddedPlan) -> None:
    for line in describe_plan(plan):
        click.echo(line)
    click.echo(f"state: {cluster.state_dir}")
    if rest := read_cluster_file(cluster.state_dir).rest:
        click.echo(f"REST: {rest}/, with the token in {cluster.state_dir / 'token'}")


def _stop_signals() -> int:
    """A file that can be read once SIGINT or SIGTERM has come, or the terminal has gone.

    A handler runs between any two steps of the main thread, so that it must not take a lock that
    this one may hold just then; threading.Event does.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)

    def on_signal(*_: object) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(writing, b"\0")

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, on_signal)
    return reading


def describe_plan(plan: EmbeddedPlan) -> list[str]:
    """What was started, a line each."""
    sites, nodes = format_count(len(plan.sites), "site"), format_count(len(plan.nodes), "node")
    lines = [f"central master, {sites}, {nodes} by {plan.by}"]
    lines.extend(
        f"  {node.site}: node {node.name}, {format_cpu(node.cpu_millis)} CPU, "
        f"{format_memory(node.memory_bytes)} memory"
        + (f", cores {node.cpuset}" if node.cpuset else "")
        for node in plan.nodes
    )
    return lines


@click.command()
@state_option
def down(state: Path | None) -> int:
    """Stop the cluster of this state directory; nothing of it keeps running.

    What was declared and submitted stays in the directory, and the next `tango up` goes on with it.
    Daemons that were not started by `tango up` are left alone.
    """
    cluster = EmbeddedCluster(state or default_state_dir())
    if not cluster.stop():
        click.echo(f"no cluster of `tango up` is at {cluster.state_dir}", err=True)
        return 1
    click.echo(f"stopped {cluster.state_dir}; services and jobs are kept there for the next up")
    return 0
