"""`tango watch service|job NAME`: a line for each change."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Callable
from typing import Any

import click

from tango.cli.end_unknown import tell_end_unknown
from tango.cli.jobs import describe
from tango.cli.notes import note
from tango.cli.options import as_plain, output_option, with_client
from tango.model.errors import NotFound, Unavailable
from tango.model.job import JobRecord, JobState
from tango.model.views import ServiceView
from tango.sdk.client import Client


def _unless_unknown(command: Callable[..., int]) -> Callable[..., int]:
    """A job whose master is away has not failed; also where no cluster is found at all."""

    @functools.wraps(command)
    def run(**arguments: Any) -> int:
        try:
            return command(**arguments)
        except Unavailable as error:
            if arguments["kind"] != "job":
                raise
            return tell_end_unknown(error, [arguments["name"]])

    return run


@click.command()
@click.argument("kind", type=click.Choice(["service", "job"]))
@click.argument("name")
@click.option("--site", default="", help="Site of a service.  [default: the first that has it]")
@output_option
@_unless_unknown
@with_client
async def watch(client: Client, kind: str, name: str, site: str, output: str) -> int:
    """Follow a service until it is deleted, or a job until it has ended.

    Where its daemon restarts meanwhile, or the cluster by `tango down` and `up`, it is followed
    again, which a line on stderr tells. One line for each change; with -o json each is one JSON
    document on one line. For a job the exit status is 0 only if it succeeded, and 3 where the
    central master does not answer, for 60 s once it did: that tells nothing of the job.
    """
    if kind == "service":
        return await _service(client, name, site or await _site_of(client, name), output)
    state = JobState.PENDING
    told: JobRecord | None = None
    async with contextlib.aclosing(client.watch(name, say=note)) as jobs:
        async for job in jobs:
            state = job.state
            if job != told:
                _line(job, f"{job.job_id}: {describe(job)}", output)
                told = job
    return int(state is not JobState.SUCCEEDED)


async def _service(client: Client, name: str, site: str, output: str) -> int:
    told = ""
    async with contextlib.aclosing(client.watch_service(name, site=site, say=note)) as views:
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


def _line(value: object, text: str, output: str) -> None:
    click.echo(json.dumps(as_plain(value)) if output == "json" else text)
