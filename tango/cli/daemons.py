"""`tango central|edge|worker -c FILE`: the daemons, each in this process's place."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

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
def central(config: Path) -> None:
    """Run the central master: it keeps the jobs and places them over all sites."""
    _become("central", config)


@click.command()
@CONFIG
def edge(config: Path) -> None:
    """Run the edge master of one site: it routes the requests of latency-critical services."""
    _become("edge", config)


@click.command()
@CONFIG
def worker(config: Path) -> None:
    """Run the worker of one node: it runs replicas and tasks and enforces their CPU targets."""
    _become("worker", config)


def _become(kind: str, config: Path) -> NoReturn:
    # Same pid, so systemd and whoever started us see no difference. -P: nothing is imported from
    # the directory in which a daemon happens to be started.
    argv = [sys.executable, "-P", "-m", "tango.daemons", kind, "-c", str(config)]
    os.execv(sys.executable, argv)  # noqa: S606
