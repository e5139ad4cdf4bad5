"""`tango top`: a live picture of the cluster."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time

import click
from rich.console import Console, RenderableType
from rich.live import Live

from tango.cli.options import with_client
from tango.cli.panels import Panels
from tango.cli.report_view import PIPE_COLUMNS
from tango.model.errors import InvalidField
from tango.model.units import format_count
from tango.sdk.client import Client
from tango.sdk.observe import ClusterSnapshot, CpuMeter, ServiceMeter, observe

# Long enough for each worker to have reported twice.
ONCE_APART_S = 0.5


class Meters:
    """Looks at the cluster and keeps what the rates are made from."""

    def __init__(self, client: Client) -> None:
        self.cpu = CpuMeter()
        self.services = ServiceMeter()
        self._client = client

    async def look(self) -> ClusterSnapshot:
        """One more look."""
        snapshot = await observe(self._client)
        self.cpu.see(snapshot.nodes)
        self.services.see(snapshot)
        return snapshot


@click.command()
@click.option("--interval", default=1.0, show_default=True, help="Seconds between two looks.")
@click.option("--once", is_flag=True, help="Print one picture, as is done where no terminal is.")
@with_client
async def top(client: Client, interval: float, once: bool) -> int:
    """Show nodes, services and jobs, live; Ctrl-C ends it.

    CPU is what the kernel's counters gained between two reports of a node. A daemon that does not
    answer is named, and the rest is shown. Exit status 1 where nothing answers at all.
    """
    if not 0.2 <= interval <= 3600:
        raise InvalidField("--interval", f"{interval:g} is out of range", "use 0.2 to 3600")
    console = Console(highlight=False)
    meters = Meters(client)
    if not console.is_terminal:
        console = Console(highlight=False, width=PIPE_COLUMNS)
    panels = Panels(console)
    if once or not console.is_terminal or console.is_dumb_terminal:
        await meters.look()
        await asyncio.sleep(ONCE_APART_S)
        snapshot = await meters.look()
        console.print(_picture(client, panels, meters, snapshot))
        return int(len(snapshot.away) > len(client.sites))
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    # The alternate screen keeps the shell's own lines; one write for each picture cannot flicker.
    with Live(console=console, auto_refresh=False, screen=True) as live:
        while not stop.is_set():
            begun = loop.time()
            snapshot = await meters.look()
            live.update(_picture(client, panels, meters, snapshot), refresh=True)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, begun + interval - loop.time())):
                    await stop.wait()
    return 0


def _picture(
    client: Client, panels: Panels, meters: Meters, snapshot: ClusterSnapshot
) -> RenderableType:
    ready = sum(node.ready for node in snapshot.nodes)
    heading = (
        f"tango top  {time.strftime('%H:%M:%S')}  {format_count(len(client.sites), 'site')}, "
        f"{ready} of {format_count(len(snapshot.nodes), 'node')} ready"
    )
    return panels.draw(heading, snapshot, meters.cpu.rates(), meters.services.rates)
