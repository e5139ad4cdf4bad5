"""`tango policy`: by which one LC requests are routed, or jobs placed; switched while it runs."""

from __future__ import annotations

import click

from tango.cli.options import output_option, print_json, with_client
from tango.model.errors import InvalidField
from tango.model.views import BatchPolicyView, TrafficPolicyView
from tango.sdk.client import Client


@click.command()
@click.argument("name", required=False, default="")
@click.option("--site", default="", help="Which site.  [default: the first]")
@click.option("--jobs", is_flag=True, help="By which policy the central master places jobs.")
@output_option
@with_client
async def policy(client: Client, name: str, site: str, jobs: bool, output: str) -> None:
    """Show by which policy a site routes LC requests, or switch it to NAME.

    With --jobs: by which one the central master places BE jobs. A switch takes no restart, and
    loses no request and no job that waits. The daemon's configuration counts again after its next
    restart.
    """
    if jobs and site:
        raise InvalidField("--site", "stands beside --jobs", "one central master places all jobs")
    view: BatchPolicyView | TrafficPolicyView
    if jobs:
        view = await client.batch_policy(switch_to=name)
        does = "the central master places jobs"
    else:
        view = routed = await client.traffic_policy(site, switch_to=name)
        does = f"{routed.edge} routes"
    if output == "json":
        print_json(view)
        return
    click.echo(f"{does} by {view.policy}")
    if view.policy != view.configured:
        click.echo(f"its configuration says {view.configured}, which a restart goes back to")
    others = [each for each in view.known if each != view.policy]
    click.echo(f"installed there too: {', '.join(others) or 'none'}")
