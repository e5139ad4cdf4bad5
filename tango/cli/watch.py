"""`tango watch service|job NAME`: a line for each change."""

from __future__ import annotations

import contextlib
import json

import click

from tango.cli.jobs import describe
from tango.cli.lasting import lasting
from tango.cli.options import as_plain, output_option, with_client
from tango.model.errors import NotFound
from tango.model.job import JobRecord, JobState
from tango.model.views import ServiceView
from tango.sdk.client import Client


@click.command()
@click.argument("kind", type=click.Choice(["service", "job"]))
@click.argument("name")
@click.option("--site", default="", help="Site of a service.  [default: the first that has it]")
@output_option
@with_client
async def watch(client: Client, kind: str, name: str, site: str, output: str) -> int:
    """Follow a service until it is deleted, or a job until it has ended.

    Where its daemon restarts meanwhile it is followed again, which a line on stderr tells.
    One line for each change; with -o json each is one JSON document on one line. For a job the
    exit status is 0 only if it succeeded.
    """
    if kind == "service":
        return await _service(client, name, site or await _site_of(client, name), output)
    state = JobState.PENDING
    told: JobRecord | None = None
    watched = lasting(lambda: client.watch(name), "the central master", _note)
    async with contextlib.aclosing(watched) as jobs:
        async for job in jobs:
            state = job.state
            if job != told:
                _line(job, f"{job.job_id}: {describe(job)}", output)
                told = job
    return int(state is not JobState.SUCCEEDED)


async def _service(client: Client, name: str, site: str, output: str) -> int:
    told = ""
    watched = lasting(lambda: client.watch_service(name, site=site), f"site {site}", _note)
    async with contextlib.aclosing(watched) as views:
        async for view in views:
            text = service_line(view)
            # Its counts change with every request; a line is for what its owner would act on.
            if text != told:
                _line(view, text, output)
                told = text
    return 0


async def _site_of(client: Client, name: str) -> str:
    views = await client.services()
    for view in views:
        if view.spec.name == name:
            return view.edge
    known = ", ".join(sorted({view.spec.name for view in views})) or "none"
    raise NotFound(f"service {name!r} is unknown at every site; known: {known}")


def service_line(view: ServiceView) -> str:
    """How a service stands, on one line."""
    replicas = ", ".join(
        f"{one.status.replica_id}{'@' + one.node if one.node else ''} {one.status.state.value}"
        for one in view.replicas
    )
    text = f"{view.spec.name} at {view.edge}: generation {view.generation}, "
    text += f"{view.ready}/{view.spec.replicas} ready [{replicas}]"
    return text + (f": {view.reason}" if view.reason else "")


def _note(text: str) -> None:
    click.echo(f"tango: {text}", err=True)


def _line(value: object, text: str, output: str) -> None:
    click.echo(json.dumps(as_plain(value)) if output == "json" else text)
