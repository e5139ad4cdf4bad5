"""`tango cordon`, `uncordon` and `drain`: nodes that operators take out of service."""

from __future__ import annotations

import asyncio
import contextlib

import click

from tango.cli import tables
from tango.cli.options import output_option, print_json, with_client
from tango.model.cluster import NodeView
from tango.model.views import DrainView
from tango.sdk.client import Client

SITE = click.option("--site", default="", help="Its site.  [default: found by its name]")


@click.command()
@click.argument("node")
@SITE
@output_option
@with_client
async def cordon(client: Client, node: str, site: str, output: str) -> None:
    """Let a node take no new replicas and tasks; what it has stays."""
    view = await client.cordon(node, site=site)
    _show(view, output)


@click.command()
@click.argument("node")
@SITE
@output_option
@with_client
async def uncordon(client: Client, node: str, site: str, output: str) -> None:
    """Let a node take new replicas and tasks again; ends a drain."""
    view = await client.uncordon(node, site=site)
    _show(view, output)


def _show(view: NodeView, output: str) -> None:
    if output == "json":
        print_json(view)
    else:
        click.echo(f"node {view.node} of {view.edge}: {tables.node_status(view)}")


@click.command()
@click.argument("node")
@click.option(
    "--grace", "grace_s", type=click.FloatRange(0, 86_400), default=None,
    help="Seconds between TERM and KILL for tasks.  [default: their own stop_grace_s]",
)  # fmt: skip
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(0.1), default=300.0, show_default=True,
    help="Seconds to wait; the drain goes on after that.",
)  # fmt: skip
@SITE
@output_option
@with_client
async def drain(
    client: Client, node: str, grace_s: float | None, timeout_s: float, site: str, output: str
) -> int:
    """Cordon a node and move its replicas and tasks elsewhere.

    A replica goes when its replacement is ready, and finishes its requests first. Exit status 0
    only when nothing is left on the node; else it says what could not be moved, and why.
    """
    latest: DrainView | None = None
    told: set[str] = set()
    with contextlib.suppress(TimeoutError):
        async with (
            asyncio.timeout(timeout_s),
            contextlib.aclosing(client.drain(node, grace_s=grace_s, site=site)) as views,
        ):
            async for view in views:
                latest = view
                if output != "json":
                    _tell(view, told)
    if latest is None:
        click.echo(f"tango: node {node}: no word of it within {timeout_s:g} s", err=True)
        return 1
    if output == "json":
        print_json(latest)
    elif latest.done:
        click.echo(f"node {node} is drained; `tango uncordon {node}` takes it into service again")
    else:
        for item in latest.items:
            if not item.moved:
                click.echo(f"tango: {item.kind} {item.name} is left: {item.detail}", err=True)
        why = (
            "cannot be drained as things are" if latest.stuck else f"not yet after {timeout_s:g} s"
        )
        click.echo(f"tango: node {node}: {why}; it stays cordoned", err=True)
    return 0 if latest.done else 1


def _tell(view: DrainView, told: set[str]) -> None:
    """A line for each thing that has left."""
    for item in view.items:
        if item.moved and item.name not in told:
            told.add(item.name)
            to = f" -> {item.detail}" if item.detail else " left, to run elsewhere or ended"
            click.echo(f"{item.kind} {item.name}{to}")
