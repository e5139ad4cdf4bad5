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
RECORD = click.option(
    "--record",
    type=click.Path(file_okay=False, path_type=Path),
    help="Record all that happens to its controller there, for `tango simulate --replay`.",
)


@click.command()
@CONFIG
@RECORD
def central(config: Path, record: Path | None) -> None:
    """Run the central master: it keeps the jobs and places them over all sites."""
    _become("central", config, record)


@click.command()
@CONFIG
@RECORD
def edge(config: Path, record: Path | None) -> None:
    """Run the edge master of one site: it routes the requests of latency-critical services."""
    _become("edge", config, record)


@click.command()
@CONFIG
@RECORD
def worker(config: Path, record: Path | None) -> None:
    """Run the worker of one node: it runs replicas and tasks and enforces their CPU targets."""
    _become("worker", config, record)


def _become(kind: str, config: Path, record: Path | None) -> NoReturn:
    # Same pid, so systemd and whoever started us see no difference. -P: nothing is imported from
    # the directory in which a daemon happens to be started.
    option = [] if record is None else ["--record", str(record)]
    argv = [sys.executable, "-P", "-m", "tango.daemons", *option, kind, "-c", str(config)]
    os.execv(sys.executable, argv)  # noqa: S606
