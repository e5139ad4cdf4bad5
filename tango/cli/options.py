"""Options and plumbing that client commands share: --state, -o json, async to sync."""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import functools
import json
import shlex
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from typing import Any, TypeVar

import click

from tango.model.errors import Unavailable
from tango.sdk.client import Client
from tango.sdk.cluster_file import default_state_dir
from tango.wire.errors import NOBODY

NOT_SHOWN = "(not shown)"
F = TypeVar("F", bound=Callable[..., Any])


def state_option(function: F, default: str = "~/.local/state/tango") -> F:
    """--state DIR: which cluster. default: as --help tells it."""
    return click.option(
        "--state",
        type=click.Path(file_okay=False, path_type=Path),
        envvar="TANGO_STATE",
        help=f"State directory of the cluster.  [default: {default}]",
    )(function)


def record_option(function: F) -> F:
    """--record DIR, of a whole cluster."""
    return click.option(
        "--record",
        type=click.Path(file_okay=False, path_type=Path),
        help="Every daemon records itself there, and logs its decisions beside; see "
        "`tango simulate --replay`.",
    )(function)


def output_option(function: F) -> F:
    """-o table|json."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice(["table", "json"]),
        default="table",
        show_default=True,
        help="A table for people, JSON for programs.",
    )(function)


def with_client(function: Callable[..., Coroutine[Any, Any, int | None]]) -> Callable[..., int]:
    """Run an async command with a connected Client as its first argument; takes --state."""

    @state_option
    @functools.wraps(function)
    def command(state: Path | None, **arguments: Any) -> int:
        async def run() -> int | None:
            async with Client(state) as client:
                return await function(client, **arguments)

        try:
            return asyncio.run(run()) or 0
        except Unavailable as error:
            if type(error) is not Unavailable or not str(error).startswith(NOBODY):
                raise
            from tango.sdk.embedded import EmbeddedCluster  # only here; it loads a lot

            if not EmbeddedCluster(state or default_state_dir()).is_ours:
                raise
            words = f"tango up --state {shlex.quote(str(state))}" if state else "tango up"
            raise Unavailable(f"{error}; `{words}` starts it again") from None

    return command


def as_plain(value: object) -> object:
    """Dataclasses, enums and tuples as what JSON knows; names and units stay as in the model.

    Of an environment only the names: listings are pasted into tickets, and values may be secret.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: as_plain(
                _names_only(getattr(value, field.name))
                if field.name == "env"
                else getattr(value, field.name)
            )
            for field in dataclasses.fields(value)
        }
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    if isinstance(value, dict):
        return {key: as_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_plain(item) for item in value]
    return value


def _names_only(env: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(name, NOT_SHOWN) for name, _ in env]


def print_json(value: object) -> None:
    """Indented JSON on stdout."""
    click.echo(json.dumps(as_plain(value), indent=2))
