"""`tango place --improve`: a better plan for tasks with bounds and backups, or its doing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path

import click

from tango.cli import tables
from tango.cli.options import print_json
from tango.model.errors import Unavailable
from tango.model.improvement import BoundTotals, ImproveView, MoveState, TaskMove
from tango.model.units import format_cpu, format_memory
from tango.sdk.client import Client

GOES_ON = "it is carried out further; `tango get jobs` shows what runs where"
DOES_IT = "Nothing was done: `tango place --improve --apply` makes a plan anew and carries it out."
BETTER_NOT = "Nothing was done."


def improve(state: Path | None, max_moves: int, output: str, *, apply: bool) -> int:
    """Show the plan; with apply also what becomes of it. The exit status: 0 unless it was ended
    before all of it was done."""
    return asyncio.run(_improve(state, max_moves, output, apply=apply))


async def _improve(state: Path | None, max_moves: int, output: str, *, apply: bool) -> int:
    view: ImproveView | None = None
    told: dict[tuple[str, str], MoveState] = {}
    try:
        async with (
            Client(state) as client,
            contextlib.aclosing(client.improve_placement(max_moves, apply=apply)) as views,
        ):
            async for latest in views:
                if output != "json":
                    if view is None:
                        _show(latest)
                    for line in _news(latest, told):
                        click.echo(line)
                view = latest
    except asyncio.CancelledError:
        if apply and view is not None:
            click.echo(GOES_ON, err=True)
        raise
    if view is None:
        raise Unavailable("the central master told nothing of a plan")
    if output == "json":
        print_json(view)
    elif not view.applied:
        click.echo(f"\n{BETTER_NOT if view.why_not else DOES_IT}")
    else:
        _show_end(view)
    return int(bool(view.stopped))


def _show(view: ImproveView) -> None:
    """The plan."""
    if not view.before.tasks:
        click.echo(view.why_not)
        return
    count = view.before.tasks
    click.echo(f"{count} task{'s' * (count != 1)} with delay bounds or backups:\n")
    planned = view.before if view.why_not else view.after
    _show_totals(view.before, None if view.why_not else planned, "THEN")
    if view.why_not:
        click.echo(f"\n{view.why_not}")
        return
    if view.moves:
        click.echo("\nStopped, to begin anew elsewhere (this costs no retry):\n")
        rows = [
            (f"{one.job_id}/{one.task}", one.source, one.target, one.backup or "none",
             lasted(one.ran_s))
            for one in view.moves
        ]  # fmt: skip
        tables.show(tables.table(("TASK", "FROM", "TO", "BACKUP THEN", "RUN TIME LOST"), rows))
    else:
        click.echo("\nNothing is stopped.")
    if view.rebacked:
        some = f"{view.rebacked} task{'s stay and get' if view.rebacked > 1 else ' stays and gets'}"
        click.echo(f"\n{some} another backup.")


def _show_totals(before: BoundTotals, after: BoundTotals | None, then: str) -> None:
    headings = ("", "NOW", then) if after is not None else ("", "NOW")
    columns = [_cells(one) for one in (before, after) if one is not None]
    names = ("that have a node", "outside their bound", "unprotected", "reserved for backups")
    rows = [(name, *cells) for name, *cells in zip(names, *columns, strict=True)]
    tables.show(tables.table(headings, rows))


def _cells(one: BoundTotals) -> tuple[str, ...]:
    reserved = f"{format_memory(one.reserved_bytes)}, {format_cpu(one.reserved_millis)} CPU"
    return str(one.placed), str(one.outside), str(one.unprotected), reserved


def _news(view: ImproveView, told: dict[tuple[str, str], MoveState]) -> Iterator[str]:
    """A line for each move that has become something else."""
    for one in view.moves:
        key = one.job_id, one.task
        if view.applied and told.get(key, MoveState.PLANNED) is not one.state:
            if not told:
                yield ""
            told[key] = one.state
            yield _line(one)


def _line(one: TaskMove) -> str:
    what = f"{one.job_id}/{one.task}"
    match one.state:
        case MoveState.MOVING:
            return f"{what} is stopped on {one.source}, to begin anew on {one.target}"
        case MoveState.MOVED:
            return f"{what} is on {one.target}"
        case _:
            return f"{what} {one.state.value}: {one.detail}"


def _show_end(view: ImproveView) -> None:
    click.echo()
    _show_totals(view.now, None, "")
    if view.stopped:
        click.echo(f"tango: ended before all was done: {view.stopped}; ask again", err=True)
    else:
        click.echo("\nDone.")


def lasted(seconds: float) -> str:
    """A time in its two greatest units."""
    whole = int(seconds)
    for unit, size, less, part in (("d", 86_400, "h", 3600), ("h", 3600, "min", 60)):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // part} {less}"
    return f"{whole // 60} min {whole % 60} s" if whole >= 60 else f"{seconds:.0f} s"
