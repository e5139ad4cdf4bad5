"""`tango central|edge|worker -c FILE`: the daemons."""

from __future__ import annotations

from pathlib import Path

import click

CONFIG = click.option(
    "-c",
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="Configuration file (TOML); see configs/ in the source tree.",
)


@click.command()
@CONFIG
def central(config: Path) -> int:
    """Run the central master: it keeps the jobs and places them over all sites."""
    from tango.daemons.central.main import run

    return run(config)


@click.command()
@CONFIG
def edge(config: Path) -> int:
    """Run the edge master of one site: it routes the requests of latency-critical services."""
    from tango.daemons.edge.main import run

    return run(config)


@click.command()
@CONFIG
def worker(config: Path) -> int:
    """Run the worker of one node: it runs replicas and tasks and enforces their CPU targets."""
    from tango.daemons.worker.main import run

    return run(config)
