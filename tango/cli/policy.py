"""`tango policy`: by which policy a site routes LC requests; switched while it runs."""

from __future__ import annotations

import click

from tango.cli.options import output_option, print_json, with_client
from tango.sdk.client import Client


@click.command()
@click.argument("name", required=False, default="")
@click.option("--site", default="", help="Which site.  [default: the first]")
@output_option
@with_client
async def policy(client: Client, name: str, site: str, output: str) -> None:
    """Show by which policy a site routes LC requests, or switch it to NAME.

    A switch takes no restart and loses no request. The edge's configuration counts again after
    its next restart.
    """
    view = await client.traffic_policy(site, switch_to=name)
    if output == "json":
        print_json(view)
        return
    click.echo(f"{view.edge} routes by {view.policy}")
    if view.policy != view.configured:
        click.echo(f"its configuration says {view.configured}, which a restart goes back to")
    others = [each for each in view.known if each != view.policy]
    click.echo(f"installed there too: {', '.join(others) or 'none'}")
