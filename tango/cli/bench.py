"""`tango bench`: the figures that Tango promises, measured on real processes of this machine."""

from __future__ import annotations

from importlib import import_module

import click

# Command name -> module and attribute.
BENCHES = {
    "agent": ("tango.cli.benches.agent", "agent"),
    "calibrate": ("tango.cli.benches.calibrate", "calibrate"),
    "colocation": ("tango.cli.benches.colocation", "colocation"),
    "flow": ("tango.cli.benches.flow", "flow"),
    "path": ("tango.cli.benches.path", "path"),
    "placement": ("tango.cli.benches.placement", "placement"),
    "resize": ("tango.cli.benches.resize", "resize"),
    "simulate": ("tango.cli.benches.simulate", "simulate"),
    "submit": ("tango.cli.benches.submit", "submit"),
}


class LazyBenches(click.Group):
    """Imports the one that is called, as `tango` itself does."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, for --help."""
        return sorted(BENCHES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one benchmark."""
        place = BENCHES.get(cmd_name)
        if place is None:
            return None
        command = getattr(import_module(place[0]), place[1])
        assert isinstance(command, click.Command)
        return command


@click.group(cls=LazyBenches)
def bench() -> None:
    """Measure Tango itself; figures are of a quiet machine, so stop other work before."""
