"""Entry point of `tango`; loads a command when it is asked for, so that a worker stays small."""

from __future__ import annotations

import sys
from importlib import import_module

import click

from tango.model.errors import TangoError

# Command name -> module and attribute.
COMMANDS = {
    "apply": ("tango.cli.services", "apply"),
    "bench": ("tango.cli.bench", "bench"),
    "call": ("tango.cli.services", "call"),
    "cancel": ("tango.cli.jobs", "cancel"),
    "central": ("tango.cli.daemons", "central"),
    "certs": ("tango.cli.certs", "certs"),
    "config": ("tango.cli.config", "config"),
    "cordon": ("tango.cli.nodes", "cordon"),
    "delete": ("tango.cli.services", "delete"),
    "demo": ("tango.cli.demo", "demo"),
    "describe": ("tango.cli.describe", "describe"),
    "down": ("tango.cli.cluster", "down"),
    "drain": ("tango.cli.nodes", "drain"),
    "edge": ("tango.cli.daemons", "edge"),
    "explain": ("tango.cli.explain", "explain"),
    "get": ("tango.cli.listing", "get"),
    "load": ("tango.cli.load", "load"),
    "logs": ("tango.cli.jobs", "logs"),
    "migrate": ("tango.cli.migrate", "migrate"),
    "routes": ("tango.cli.routes", "routes"),
    "place": ("tango.cli.place", "place"),
    "policy": ("tango.cli.policy", "policy"),
    "simulate": ("tango.cli.simulate", "simulate"),
    "submit": ("tango.cli.jobs", "submit"),
    "top": ("tango.cli.top", "top"),
    "uncordon": ("tango.cli.nodes", "uncordon"),
    "up": ("tango.cli.cluster", "up"),
    "watch": ("tango.cli.watch", "watch"),
    "worker": ("tango.cli.daemons", "worker"),
}
FAILED = 1


class LazyGroup(click.Group):
    """Knows its commands by name and imports the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, for --help."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        place = COMMANDS.get(cmd_name)
        if place is None:
            return None
        command = getattr(import_module(place[0]), place[1])
        assert isinstance(command, click.Command)
        return command


def _tell_version(ctx: click.Context) -> None:
    # Looked up when asked for: a worker goes through here, too, and stays small.
    from importlib.metadata import version

    from tango.cli.compiled import compiled

    click.echo(f"tango, version {version('tango-edge')}{', compiled' if compiled() else ''}")
    ctx.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=lambda ctx, _, asked: _tell_version(ctx) if asked else None,
    help="Show the version, and whether the hot modules are compiled, and exit.",
)
def tango() -> None:
    """Run latency-critical services and best-effort jobs side by side on edge sites."""


def main() -> None:
    """The console script: an error of ours is one clear line and exit status 1, no traceback."""
    try:
        status = tango(standalone_mode=False, prog_name="tango")
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except TangoError as error:
        click.echo(f"tango: {error}", err=True)
        sys.exit(FAILED)
    except BrokenPipeError:
        # `tango get jobs | head` is no failure of ours.
        sys.stderr.close()
        sys.exit(0)
    sys.exit(status if isinstance(status, int) else 0)


if __name__ == "__main__":
    main()
