"""`tango place`: where jobs would go and why, without doing it; and better plans for what runs."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from click.core import ParameterSource

from tango.cli.options import output_option, print_json, state_option
from tango.model.errors import InvalidField
from tango.model.improvement import DEFAULT_MAX_MOVES

FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.option(
    "-f", "--file",
    help='Jobs as `tango submit -f` takes them, or `kind: Pod` (YAML); "-": standard input.',
)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Show the decision and do nothing.")
@click.option(
    "--improve", is_flag=True,
    help="Look for a better plan for tasks with `near` or `backup` that run already; only shown.",
)  # fmt: skip
@click.option("--apply", is_flag=True, help="With --improve: carry it out.")
@click.option(
    "--max-moves", type=click.IntRange(0, 10_000), default=DEFAULT_MAX_MOVES, show_default=True,
    help="With --improve: how many tasks may be stopped, to begin anew elsewhere.",
)  # fmt: skip
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
    file: str | None, dry_run: bool, improve: bool, apply: bool, max_moves: int,
    snapshot: Path | None, profile_file: Path | None, save_snapshot: Path | None, output: str,
    state: Path | None,
) -> int:  # fmt: skip
    """Show where jobs would go and why: which nodes were left out by what, how the best two scored.

    Each job sees the ones before it. A job is a gang: all of its tasks find a node, or none does.
    Exit status 0 only if every job would find room now.

    This is the placement framework's decision (docs/placement.md). The central master places jobs
    by its batch policy (docs/batch.md), which may choose another node. Jobs with `near` or `backup`
    it places by delay bounds, and on the running cluster it says itself where they and their
    backups would be, each as if it came next (docs/delay.md). Reserved room counts for all.

    With --improve it is about tasks with delay bounds and backups that run: the central master
    looks for a plan with more of them protected, or less room reserved (docs/delay.md). Tasks that
    move begin anew: what they have run so far is lost, and told before. Exit status 0 unless a plan
    that was to be carried out was ended before all of it was done.
    """
    if improve:
        for option, given in (("-f", file), ("--snapshot", snapshot), ("--profile", profile_file),
                              ("--save-snapshot", save_snapshot)):  # fmt: skip
            if given is not None:
                raise InvalidField(option, "has no place beside --improve", "leave it out")
        if dry_run and apply:
            raise InvalidField("--apply", "contradicts --dry-run", "give one of the two")
        from tango.cli import improve as better

        return better.improve(state, max_moves, output, apply=apply)
    if apply:
        raise InvalidField("--apply", "is for --improve", "`tango submit -f FILE` starts jobs")
    source = click.get_current_context().get_parameter_source("max_moves")
    if source is not ParameterSource.DEFAULT:
        raise InvalidField("--max-moves", "is for --improve", "leave it out")
    if file is None:
        raise InvalidField("-f", "is missing", "give the file with the jobs, or --improve")
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
    if output == "json":
        print_json(place_view.document(outcome))
    else:
        place_view.show(outcome)
    return int(not outcome.all_placed)
