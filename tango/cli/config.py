"""`tango config check FILE...`: daemon configurations and manifests, before anyone uses them."""

from __future__ import annotations

from pathlib import Path

import click

from tango.adapters.manifests import load_manifests
from tango.adapters.settings import load_central, load_edge, load_worker
from tango.adapters.toml_documents import load_toml
from tango.model.errors import InvalidField

LOADERS = {"central": load_central, "edge": load_edge, "worker": load_worker}


@click.group()
def config() -> None:
    """Configuration files and manifests."""


@config.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
def check(files: tuple[Path, ...]) -> int:
    """Check daemon configurations (TOML) and manifests (YAML); nothing is started or sent.

    Each problem is one line, FILE:LINE: FIELD: PROBLEM; FIX. Exit status 1 if there is any.
    """
    n_bad = 0
    for file in files:
        try:
            what = check_file(file)
        except InvalidField as error:
            n_bad += 1
            # An error of the file itself has no line.
            place = "" if error.where else f"{file}: "
            click.echo(f"{place}{error}", err=True)
        else:
            click.echo(f"{file}: {what}")
    return 1 if n_bad else 0


def check_file(file: Path) -> str:
    """What a file holds, for people. Raises InvalidField."""
    if file.suffix == ".toml":
        kind = daemon_kind(file)
        LOADERS[kind](file)
        return f"a configuration for `tango {kind}`"
    if file.suffix in (".yaml", ".yml"):
        manifests = load_manifests(file)
        names = ", ".join(f"{type(one.spec).__name__[:-4]} {one.spec.name}" for one in manifests)
        return names or "no manifests"
    problem = f"is named {file.name!r}: neither a configuration nor a manifest"
    raise InvalidField("document", problem, "name it .toml or .yaml", str(file))


def daemon_kind(file: Path) -> str:
    """Which daemon a TOML file is for, by its section."""
    document = load_toml(file)
    found = [kind for kind in LOADERS if document.has(kind)]
    if len(found) != 1:
        problem = f"has sections of {' and '.join(found)}" if found else "has no daemon's section"
        fix = "a file is for one daemon: [central], [edge] or [worker] beside [server]"
        raise InvalidField("document", problem, fix, str(file))
    return found[0]
