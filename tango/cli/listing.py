"""`tango get nodes|services|jobs|edges|peers|images`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import click

from tango.cli import tables
from tango.cli.images import images_table, left_out
from tango.cli.job_list import listed, not_shown
from tango.cli.options import output_option, print_json, with_client
from tango.model.cluster import NodeView
from tango.model.errors import TangoError
from tango.model.job import JobState
from tango.sdk.client import Client
from tango.wire.edge_client import EdgeClient

KINDS = ("nodes", "services", "jobs", "edges", "peers", "images")


@click.command()
@click.argument("kind", type=click.Choice(KINDS))
@click.option(
    "--limit", default=50, show_default=True,
    help="At most this many jobs that have ended, the newest; others are always shown, up to 1000.",
)  # fmt: skip
@click.option(
    "--job-state", multiple=True, type=click.Choice([s.value for s in JobState]),
    help="Only jobs in this state; may be given again.",
)  # fmt: skip
@output_option
@with_client
async def get(
    client: Client, kind: str, limit: int, job_state: tuple[str, ...], output: str
) -> int:
    """List nodes, services, jobs, edges, their peers or images; exit 1 where a site did not answer.

    Images are those that nodes hold or, where [registry] is set, jobs name (docs/layers.md).
    """
    away: dict[str, TangoError] = {}
    if kind == "nodes":
        nodes, away = await client.from_sites(EdgeClient.nodes)
        nodes = await with_reserved(client, nodes)
        print_json(nodes) if output == "json" else tables.show(tables.nodes_table(nodes))
    elif kind == "services":
        services, away = await client.from_sites(EdgeClient.services)
        if output == "json":
            print_json(services)
        else:
            nodes, _ = await client.from_sites(EdgeClient.nodes)
            tables.show(tables.services_table(services, nodes))
    elif kind == "edges":
        edges = await client.edges()
        if output == "json":
            print_json(edges)
        else:
            peers, _ = await client.from_sites(EdgeClient.peers)
            tables.show(tables.edges_table(edges, peers))
    elif kind == "peers":
        peers, away = await client.from_sites(EdgeClient.peers)
        print_json(peers) if output == "json" else tables.show(tables.peers_table(peers))
    elif kind == "images":
        images = await client.images()
        if output == "json":
            print_json(images)
            return 0
        tables.show(images_table(images))
        for note in (images.note, left_out(images)):
            if note:
                click.echo(f"note: {note}", err=True)
    else:
        states = [JobState(name) for name in job_state]
        jobs, counts = await listed(client, states, limit)
        if output == "json":
            print_json({"jobs": jobs, "counts": counts})
            return 0
        tables.show(tables.jobs_table(jobs, await known_nodes(client)))
        if text := not_shown(jobs, counts, states):
            click.echo(text, err=True)
    for site, error in away.items():
        click.echo(f"tango: {site} is not in this list: {error}", err=True)
    return int(bool(away))


async def known_nodes(client: Client) -> tuple[NodeView, ...]:
    """All nodes as the central master knows them."""
    return tuple(node for edge in await client.edges() for node in edge.nodes)


async def with_reserved(client: Client, nodes: Iterable[NodeView]) -> tuple[NodeView, ...]:
    """Nodes as their edges tell of them, with what the central master, if it answers, reserves."""
    try:
        known = {(node.edge, node.node): node for node in await known_nodes(client)}
    except TangoError:
        known = {}
    return tuple(
        replace(
            node,
            reserved_millis=one.reserved_millis,
            reserved_bytes=one.reserved_bytes,
            reserved_ports=one.reserved_ports,
        )
        if (one := known.get((node.edge, node.node))) is not None
        else node
        for node in nodes
    )
