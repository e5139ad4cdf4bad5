"""`tango explain REQUEST|JOB|SERVICE|NODE`: why it is as it is, in sentences or as JSON."""

from __future__ import annotations

import json
import time

import click

from tango.cli.options import output_option, print_json, with_client
from tango.model.explanation import DEFAULT_LIMIT, MAX_LIMIT, Explanation, Reason, Subject
from tango.sdk.client import Client


@click.command()
@click.argument("name")
@click.option(
    "--kind", type=click.Choice([subject.value for subject in Subject]), default=None,
    help="What NAME is of.  [default: whatever has that name]",
)  # fmt: skip
@click.option("--site", default="", help="Ask only this site.  [default: all of them]")
@click.option(
    "--limit", type=click.IntRange(1, MAX_LIMIT), default=DEFAULT_LIMIT, show_default=True,
    help="Decisions on each, the latest.",
)  # fmt: skip
@output_option
@with_client
async def explain(
    client: Client, name: str, kind: str | None, site: str, limit: int, output: str
) -> None:
    """Say why a request, job, service or node is as it is, and who decided what about it."""
    subjects = (Subject(kind),) if kind else ()
    found = await client.explain(name, *subjects, site=site, limit=limit)
    if output == "json":
        print_json([_document(one) for one in found])
        return
    for at, one in enumerate(found):
        if at:
            click.echo()
        _show(one)


def _document(one: Explanation) -> dict[str, object]:
    """As the model has it, but with records as objects in place of their lines."""
    return {
        "subject": one.subject,
        "name": one.name,
        "daemon": one.daemon,
        "summary": one.summary,
        "decisions": [
            {
                "at_s": reason.at_s,
                "daemon": reason.daemon,
                "text": reason.text,
                "record": json.loads(reason.record),
            }
            for reason in one.decisions
        ],
        "missing": one.missing,
    }


def _show(one: Explanation) -> None:
    click.echo(f"{one.daemon}: {one.summary}")
    for reason in one.decisions:
        click.echo(f"  {_when(reason)}  {reason.daemon}: {reason.text}")
    for what in one.missing:
        click.echo(f"  not here: {what}")


def _when(reason: Reason) -> str:
    at = time.strftime("%H:%M:%S", time.localtime(reason.at_s))
    return f"{at}.{int(reason.at_s % 1 * 1000):03d}"
