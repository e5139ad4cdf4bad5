"""What a command tells beside its result."""

from __future__ import annotations

import click


def note(text: str) -> None:
    """One line on stderr."""
    click.echo(f"tango: {text}", err=True)
