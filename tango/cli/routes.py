"""`tango routes SERVICE`: where a service can be called directly, for people and for proxies."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal as signals
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import click

from tango.cli.options import as_plain, with_client
from tango.cli.tables import show
from tango.cli.tables import table as table_of
from tango.cli.upstreams import haproxy, nginx, replace_file
from tango.model.errors import InvalidField, NotFound, Unavailable
from tango.model.routes import FollowReport, RouteTable
from tango.model.units import format_count
from tango.sdk.client import Client

FORMATS = ("table", "json", "nginx", "haproxy")
# Between two tries to reach an edge that is away.
AWAY_S = 1.0
# What makes the proxy read its files again: nginx(8); HAProxy's management guide, 4.
RELOAD = {"nginx": signals.SIGHUP, "haproxy": signals.SIGUSR2}


@click.command()
@click.argument("service")
@click.option("--site", default="", help="Site of the service.  [default: the first that has it]")
@click.option(
    "--format", "style", type=click.Choice(FORMATS), default="table", show_default=True,
    help="nginx: an upstream block; haproxy: a backend section.",
)  # fmt: skip
@click.option(
    "--write", type=click.Path(dir_okay=False, path_type=Path),
    help="Replace this file in one step, and only where it changes.",
)  # fmt: skip
@click.option("--watch", is_flag=True, help="Go on, with each new version, until interrupted.")
@click.option(
    "--share", type=click.IntRange(1, 10_000),
    help="Requests at once that the proxy shall be able to have under way: set aside for as long "
    "as this command runs, and written as limits. Implies --watch.",
)  # fmt: skip
@click.option(
    "--signal", "pid", type=click.IntRange(2),
    help="After each write, tell this process to reload: HUP for nginx, USR2 for haproxy.",
)  # fmt: skip
@with_client
async def routes(
    client: Client,
    service: str,
    site: str,
    style: str,
    write: Path | None,
    watch: bool,
    share: int | None,
    pid: int | None,
) -> int:
    """Where SERVICE can be called directly, by HTTP, without going through its edge.

    Without --share nothing is set aside for who uses these routes: what they send competes with the
    requests that Tango carries. The exit status is 0 only if there is a route.
    """
    _check(style, write, pid)
    place = site or await _site_of(client, service)
    if not (watch or share):
        async with contextlib.aclosing(client.watch_routes(service, site=place)) as tables:
            async for table in tables:
                if _told(table):
                    _put(table, style, write, pid)
                    return 0
                return 1
        raise Unavailable(f"the edge of {place} is stopping")
    while True:
        # What was written stands while the edge is away: replicas serve without it.
        with contextlib.suppress(Unavailable):
            tables = (
                _follow(client, service, place, share)
                if share
                else client.watch_routes(service, site=place)
            )
            async with contextlib.aclosing(tables):
                async for table in tables:
                    _told(table)
                    _put(table, style, write, pid)
        click.echo(f"tango: the edge of {place} is away", err=True)
        await asyncio.sleep(AWAY_S)


def _told(table: RouteTable) -> bool:
    """Whether there is a route; says why there is none."""
    if not table.routes:
        click.echo(f"tango: no route to {table.service}: {table.reason}", err=True)
    return bool(table.routes)


def _check(style: str, write: Path | None, pid: int | None) -> None:
    if pid is None:
        return
    if style not in RELOAD or write is None:
        raise InvalidField("--signal", "has nothing to reload", "use it with --write and a proxy")
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        raise InvalidField("--signal", f"there is no process {pid}", "name the proxy's") from None
    except PermissionError:
        fix = "run this as the user that started it"
        raise InvalidField("--signal", f"process {pid} is not yours to signal", fix) from None


def _put(table: RouteTable, style: str, write: Path | None, pid: int | None) -> None:
    if write is None and style == "table":
        _print(table)
        return
    text = _STYLES[style](table)
    if write is None:
        click.echo(text, nl=not text.endswith("\n"))
    elif replace_file(write, text):
        click.echo(
            f"{write}: version {table.version}, {format_count(len(table.routes), 'replica')}"
        )
        if pid is not None:
            os.kill(pid, RELOAD[style])


def _json(table: RouteTable) -> str:
    return json.dumps(as_plain(table), separators=(",", ":")) + "\n"


def _plain(table: RouteTable) -> str:
    return "".join(
        f"{route.host}:{route.port} weight={route.weight} slots={route.slots} {route.replica}\n"
        for route in table.routes
    )


_STYLES: dict[str, Callable[[RouteTable], str]] = {
    "table": _plain,
    "json": _json,
    "nginx": nginx,
    "haproxy": haproxy,
}


def _print(table: RouteTable) -> None:
    rows = [
        (
            route.replica,
            route.node,
            f"{route.host}:{route.port}",
            str(route.weight),
            str(route.slots) if route.slots else "-",
        )
        for route in table.routes
    ]
    show(table_of(("REPLICA", "NODE", "ADDRESS", "WEIGHT", "SLOTS"), rows))
    click.echo(f"version {table.version} at {table.edge}")


async def _follow(
    client: Client, service: str, site: str, share: int
) -> AsyncGenerator[RouteTable, None]:
    """Tables with slots for `share` requests, kept leased until this is closed."""
    stream = client.edge(site).follow_routes(service)
    version = number = 0

    async def report() -> None:
        nonlocal number
        while True:
            number += 1
            await stream.report(FollowReport(number, version, share))
            await asyncio.sleep(LEASE_PART_S)

    reporter: asyncio.Task[None] | None = None
    try:
        await stream.open()
        reporter = asyncio.create_task(report(), name="hold the share")
        while True:
            _, table = await stream.read()
            if table is not None:
                yield table
                version = table.version
    finally:
        stream.close()
        if reporter is not None:
            reporter.cancel()
            await asyncio.gather(reporter, return_exceptions=True)


# A quarter of the shortest lease that an edge gives.
LEASE_PART_S = 0.5


async def _site_of(client: Client, service: str) -> str:
    for view in await client.services():
        if view.spec.name == service:
            return view.edge
    raise NotFound(f"service {service!r} is unknown at every site")
