"""`tango place --dry-run -f job.yaml`: where jobs would go and why, without doing it."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from tango.cli.options import output_option, print_json, state_option
from tango.model.errors import InvalidField

FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.option(
    "-f", "--file", required=True,
    help='Jobs as `tango submit -f` takes them, or `kind: Pod` (YAML); "-": standard input.',
)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Show the decision and do nothing; must be given.")
@click.option(
    "--snapshot", type=FILE,
    help="Decide on this cluster (docs/placement.md).  [default: the running one]",
)  # fmt: skip
@click.option(
    "--profile", "profile_file", type=FILE,
    help="TOML with a [placement] table: plugins, weights, parameters.  [default: the default]",
)  # fmt: skip
@click.option("--save-snapshot", type=FILE, help="Write the cluster that was decided on there.")
@click.option("--json", "output", flag_value="json", help="The same as -o json.")
@output_option
@state_option
def place(
    file: str, dry_run: bool, snapshot: Path | None, profile_file: Path | None,
    save_snapshot: Path | None, output: str, state: Path | None,
) -> int:  # fmt: skip
    """Show where jobs would go and why: which nodes were left out by what, how the best two scored.

    Each job sees the ones before it. A job is a gang: all of its tasks find a node, or none does.
    Exit status 0 only if every job would find room now.

    This is the placement framework's decision (docs/placement.md). The central master places jobs
    by its batch policy (docs/batch.md), which may choose another node. `backup` of tasks, and room
    reserved for backups, do not count here; `near` does on a snapshot.
    """
    if not dry_run:
        fix = "`tango submit -f FILE` does it; with --dry-run this command shows the decision"
        raise InvalidField("--dry-run", "is missing: `tango place` places nothing", fix)
    try:  # it needs numpy, and `tango --help` does not
        from tango.cli import place_run, place_view
    except ModuleNotFoundError as error:
        needs = f"needs {error.name}, which is not installed"
        raise InvalidField("place", needs, "install the extra `solver`") from None
    stdin = sys.stdin.buffer.read() if file == "-" else b""
    outcome = place_run.decide(file, stdin, snapshot, profile_file, save_snapshot, state)
    if outcome.note:
        click.echo(f"note: {outcome.note}", err=True)
    if output == "json":
        print_json(place_view.document(outcome))
    else:
        place_view.show(outcome)
    return int(not all(one.placed for one in outcome.gangs))
