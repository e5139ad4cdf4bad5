"""A decision of `tango place` for people, and as JSON."""

from __future__ import annotations

from collections.abc import Sequence

import click

from tango.algorithms.placement.decision import MAX_NAMED, Chosen, named
from tango.algorithms.placement.trial import Download, Tried
from tango.cli import tables
from tango.cli.place_run import BoundTried, Outcome
from tango.model.units import format_count, format_memory

Row = dict[str, object]
UNPROTECTED = "none has room: unprotected"


def document(outcome: Outcome) -> Row:
    """All of it; scores are 0 to 100, higher is better, null without a runner-up."""
    names = _names(outcome)
    return {
        "source": outcome.source,
        "profile": outcome.profile.name,
        "nodes": len(names),
        "jobs": [
            _gang(one, names) if isinstance(one, Tried) else _bound(one) for one in outcome.gangs
        ],
    }


def show(outcome: Outcome) -> None:
    """Each job, its tasks, and why they go where they go."""
    names = _names(outcome)
    nodes = format_count(len(names), "node")
    click.echo(f"On {outcome.source} ({nodes}), by the profile {outcome.profile.name}:")
    for one in outcome.gangs:
        click.echo()
        if isinstance(one, BoundTried):
            _show_bound(one)
        elif one.placed:
            _show_placed(one, names)
        else:
            _show_missed(one, names)
    click.echo("\nNothing was done: this was a dry run.")


def _names(outcome: Outcome) -> tuple[str, ...]:
    """In the order of the decisions' bits."""
    return tuple(sorted(node.name for node in outcome.cluster.nodes))


def _gang(one: Tried, names: Sequence[str]) -> Row:
    downloads: Sequence[Download | None] = one.downloads or (None,)
    return {
        "job": one.gang,
        "placed": one.placed,
        "reason": "" if one.placed else one.decisions[0].reason,
        "nearest": one.nearest,
        "never_fits": one.never_fits,
        "tasks": [
            _decision(chosen, download, names, dict(one.backups).get(chosen.pod))
            for chosen, download in zip(one.decisions, downloads, strict=True)
        ],
    }


def _bound(one: BoundTried) -> Row:
    """By the central master's own word: no scores."""
    return {
        "job": one.job,
        "placed": bool(one.answer.tasks),
        "reason": one.answer.reason,
        "tasks": [
            {
                "task": f"{one.job}/{task.task}",
                "node": task.node,
                "backup": task.backup,
                "warning": task.warning,
            }
            for task in one.answer.tasks
        ],
    }


def _show_bound(one: BoundTried) -> None:
    if not one.answer.tasks:
        click.echo(f"{one.job} has no room now, says the central master: {one.answer.reason}")
        return
    click.echo(f"{one.job} has room, says the central master")
    for task in one.answer.tasks:
        backup = f", its backup on {task.backup}" if task.backup else ""
        warning = f", {task.warning}" if task.warning else ""
        click.echo(f"  {one.job}/{task.task} -> {task.node}{backup}{warning}")


def _decision(
    chosen: Chosen, download: Download | None, names: Sequence[str], backup: str | None
) -> Row:
    return {
        "task": chosen.pod,
        "node": chosen.node,
        "backup": backup,
        "cores": chosen.cores,
        "score": chosen.score,
        "runner_up": chosen.runner_up,
        "runner_up_score": chosen.runner_up_score if chosen.runner_up else None,
        "scores": [
            {
                "plugin": plugin,
                "weight": weight,
                "score": mine,
                "runner_up_score": other if chosen.runner_up else None,
            }
            for plugin, weight, mine, other in chosen.scores
        ],
        "removed": [
            {"plugin": plugin, "why": why, "nodes": named(bits, names)}
            for plugin, why, _, bits in chosen.removed
        ],
        "download": download,
    }


def _show_placed(one: Tried, names: Sequence[str]) -> None:
    click.echo(
        f"{one.gang} has room" + (f" for all of its {one.size} tasks" if one.size > 1 else "")
    )
    backups = dict(one.backups)
    for chosen, download in zip(one.decisions, one.downloads, strict=True):
        cores = f" on cores {','.join(map(str, chosen.cores))}" if chosen.cores else ""
        second = (
            f"next best is {chosen.runner_up} with {chosen.runner_up_score:.1f}"
            if chosen.runner_up
            else "no other node would do"
        )
        scored = f"{chosen.score:.1f} of 100; {second}"
        click.echo(f"  {chosen.pod} -> {chosen.node}{cores}, with {scored}")
        if chosen.pod in backups:
            where = f"on {backups[chosen.pod]}" if backups[chosen.pod] else UNPROTECTED
            click.echo(f"    its backup: {where}")
        if chosen.scores:
            _show_scores(chosen)
        _show_removed(chosen, names)
        _show_download(download)


def _show_scores(chosen: Chosen) -> None:
    headings = ["    PLUGIN", "WEIGHT", chosen.node]
    rows = [
        [f"    {plugin}", f"{weight:g}", f"{mine:.1f}", f"{other:.1f}"]
        for plugin, weight, mine, other in chosen.scores
    ]
    if chosen.runner_up:
        headings.append(chosen.runner_up)
    tables.show(tables.table(headings, [row[: len(headings)] for row in rows]))


def _show_removed(chosen: Chosen, names: Sequence[str]) -> None:
    for plugin, why, count, bits in chosen.removed:
        some = ", ".join(named(bits, names)[:MAX_NAMED])
        more = f" and {count - MAX_NAMED} more" if count > MAX_NAMED else ""
        by = f"{plugin}: " if plugin else ""
        click.echo(f"    left out: {some}{more} ({by}{why})")


def _show_download(download: Download) -> None:
    if download.missing_bytes:
        took = "at an unknown bandwidth"
        if download.seconds is not None:
            took = f"about {download.seconds:.1f} s"
        click.echo(f"    to download: {format_memory(download.missing_bytes)}, {took}")
    if download.unknown:
        click.echo(f"    no layers are known of {', '.join(download.unknown)}")


def _show_missed(one: Tried, names: Sequence[str]) -> None:
    (chosen,) = one.decisions
    what = f": {chosen.pod} fits nowhere beside the others of it" if one.size > 1 else ""
    click.echo(f"{one.gang} has no room now{what}")
    _show_removed(chosen, names)
    if not chosen.looked:
        click.echo(f"    {chosen.reason}")
    if one.never_fits:
        click.echo(f"    NeverFits, not even on the empty cluster: {one.never_fits}")
    elif one.nearest != chosen.reason:
        click.echo(f"    {one.nearest}")
