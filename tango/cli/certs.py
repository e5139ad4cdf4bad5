"""`tango certs init|issue|show`: certificates for mutual TLS, from an authority of one's own."""

from __future__ import annotations

from pathlib import Path

import click

from tango.cli.options import output_option, print_json
from tango.model.access import Identity, Role

DEFAULT_DIRECTORY = Path("certs")


@click.group()
def certs() -> None:
    """Make and look at certificates; they state who is a user, edge, worker, peer or central.

    Needs the extra `certs`; no node needs it.
    """


@certs.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.option("--days", default=3650, show_default=True, help="How long it is valid.")
@click.option("--force", is_flag=True, help="Replace an authority that is there.")
def init(directory: Path, days: int, force: bool) -> int:
    """Make an authority in DIRECTORY; whoever has its ca.key can be anybody, so keep it apart."""
    from tango.adapters.authority import make_authority

    path = make_authority(directory, days=days, force=force)
    click.echo(f"{path}: give it to everyone; {path.with_suffix('.key')}: to nobody")
    return 0


@certs.command()
@click.option(
    "--ca", type=click.Path(file_okay=False, path_type=Path), default=DEFAULT_DIRECTORY,
    show_default=True, help="Directory of the authority.",
)  # fmt: skip
@click.option(
    "--role", required=True, type=click.Choice([role.value for role in Role]), help="What it is."
)
@click.option("--name", required=True, help="Of the node, the site, the person.")
@click.option(
    "--host", "hosts", multiple=True,
    help="A further host name or address of a server, for other clients than tango; repeatable.",
)  # fmt: skip
@click.option("--days", default=365.0, show_default=True, help="How long it is valid.")
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path),
    help="Directory for cert.pem, key.pem and ca.pem.  [default: CA/ROLE-NAME]",
)  # fmt: skip
@click.option("--force", is_flag=True, help="Replace what is there; running daemons take it up.")
def issue(
    ca: Path,
    role: str,
    name: str,
    hosts: tuple[str, ...],
    days: float,
    out: Path | None,
    force: bool,
) -> int:
    """Issue a key and a certificate for a role and a name."""
    from tango.adapters import authority

    identity = Identity(Role(role), name)
    made = authority.issue(ca, identity, hosts=hosts, days=days, out=out, force=force)
    click.echo(f"{made.identity}, valid until {made.expires:%Y-%m-%d %H:%M} UTC")
    click.echo("[tls]")
    click.echo(f'ca_file = "{made.ca_file.absolute()}"')
    click.echo(f'cert_file = "{made.cert_file.absolute()}"')
    click.echo(f'key_file = "{made.key_file.absolute()}"')
    return 0


@certs.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@output_option
def show(file: Path, output: str) -> int:
    """Say what a certificate states: role, names, validity. Exit status 1 once it has expired."""
    from tango.adapters.authority import describe

    found = describe(file)
    if output == "json":
        print_json(found)
    else:
        for key, value in found.items():
            shown = ", ".join(value) if isinstance(value, list) else str(value)
            click.echo(f"{key.replace('_', ' '):12} {shown or '-'}")
    return 1 if found["expired"] else 0
