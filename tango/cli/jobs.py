"""`tango submit`, `logs` and `cancel`: best-effort jobs."""

from __future__ import annotations

import asyncio
import contextlib
import sys

import click

from tango.cli import tables
from tango.cli.end_unknown import tell_end_unknown
from tango.cli.listing import known_nodes
from tango.cli.notes import note
from tango.cli.options import output_option, print_json, with_client
from tango.cli.reasons import why
from tango.cli.services import read_manifests
from tango.model.errors import InvalidField, Unavailable
from tango.model.job import CPU_BY_CORES, JobRecord, JobSpec, JobState, TaskSpec
from tango.model.units import parse_cpu, parse_memory
from tango.sdk.client import Client

# How a job that is no file says what is wrong with it.
_GIVEN_AS = {
    "name": "--name", "cpu": "--cpu", "memory": "--memory", "retries": "--retries",
    "cores": "--cores", "argv": "COMMAND",
}  # fmt: skip


@click.command()
@click.option("-f", "--file", default="", help='Manifest (YAML) with jobs, "-" for standard input.')
@click.option("--name", default="job", show_default=True, help="Name of a job given as a command.")
@click.option(
    "--cpu", default="", help="CPU of a job given as a command.  [default: its cores, or 100m]"
)
@click.option("--memory", default="128Mi", show_default=True, help="Memory, likewise.")
@click.option("--retries", default=0, show_default=True, help="Further attempts, likewise.")
@click.option("--cores", default=0, show_default=True, help="Whole cores of its own, likewise.")
@click.option(
    "--require-fit",
    is_flag=True,
    help="Refuse a job that could not run even if nothing else did, instead of keeping it waiting.",
)
@click.option(
    "--wait",
    is_flag=True,
    help="Wait for the end; exit 0 only if all succeeded, 3 if the central master stays away.",
)
@click.argument("argv", nargs=-1, type=click.UNPROCESSED)
@output_option
@with_client
async def submit(
    client: Client, file: str, name: str, cpu: str, memory: str, retries: int, cores: int,
    require_fit: bool, wait: bool, argv: tuple[str, ...], output: str,
) -> int:  # fmt: skip
    """Submit jobs from a manifest, or one command: `tango submit -- gzip -k big.log`."""
    if bool(file) == bool(argv):
        raise InvalidField(
            "submit", "needs either -f FILE or a command", "put the command after --"
        )
    specs = _specs(file) if file else (command_job(name, cpu, memory, retries, cores, argv),)
    jobs = [await client.submit(spec, require_fit=require_fit) for spec in specs]
    for job in jobs:
        if job.warning:
            click.echo(f"note: {job.warning}", err=True)
    status = await _follow_all(client, jobs) if wait else 0
    if output == "json":
        print_json(jobs)
    else:
        for job in jobs:
            click.echo(f"job {job.job_id}: {describe(job)}")
    return status


async def _follow_all(client: Client, jobs: list[JobRecord]) -> int:
    """Wait for the end of each, which takes its place in the list; the exit status."""
    for index in range(len(jobs)):
        try:
            await _follow(client, jobs, index)
        except Unavailable as error:
            return tell_end_unknown(error, [job.job_id for job in jobs[index:]])
    return int(any(job.state is not JobState.SUCCEEDED for job in jobs))


async def _follow(client: Client, jobs: list[JobRecord], index: int) -> None:
    """Wait for its end; how it stands goes to stderr meanwhile, each time that it changes.

    The list always has what is known of it latest.
    """
    said = ""
    job = jobs[index]
    try:
        # The answer to the submit has shown that it is there.
        async with contextlib.aclosing(client.watch(job.job_id, say=note, known=True)) as records:
            async for job in records:
                jobs[index] = job
                if not job.state.ended and describe(job) != said:
                    said = describe(job)
                    click.echo(f"job {job.job_id}: {said}", err=True)
    except asyncio.CancelledError:
        text = f"job {job.job_id} goes on; `tango cancel {job.job_id}` ends it"
        click.echo(text, err=True)
        raise


def _specs(file: str) -> tuple[JobSpec, ...]:
    specs = []
    for manifest in read_manifests(file):
        if not isinstance(manifest.spec, JobSpec):
            raise InvalidField(
                "kind", "Service", "`tango apply -f` takes services, `submit` jobs", manifest.where
            )
        specs.append(manifest.spec)
    return tuple(specs)


def command_job(
    name: str, cpu: str, memory: str, retries: int, cores: int, argv: tuple[str, ...]
) -> JobSpec:
    """The job that is one command. Raises InvalidField, which names the option that is wrong."""
    task = TaskSpec(
        name,
        argv,
        cpu_millis=parse_cpu(cpu, "--cpu") if cpu else CPU_BY_CORES,
        memory_bytes=parse_memory(memory, "--memory"),
        cores=cores,
    )
    spec = JobSpec(name, (task,), retries=retries)
    try:
        spec.validate()
    except InvalidField as error:
        field = _GIVEN_AS.get(error.field.removeprefix("tasks[0]."), error.field)
        raise InvalidField(field, error.problem, error.fix) from None
    return spec


def describe(job: JobRecord) -> str:
    """State and reason on one line."""
    reason = why(job)
    return job.state.value + (f" ({reason})" if reason else "")


@click.command()
@click.argument("target")
@click.option("--task", default="", help="Task of a job.  [default: the first]")
@click.option(
    "--tail",
    "tail_bytes",
    default=65536,
    show_default=True,
    help="Last bytes; 0: all that is kept.",
)
@click.option("-f", "--follow", is_flag=True, help="Go on as more is written.")
@with_client
async def logs(client: Client, target: str, task: str, tail_bytes: int, follow: bool) -> None:
    """Print the log of a job, or of a replica by its id."""
    out = sys.stdout.buffer
    chunks = client.logs(target, task=task, tail_bytes=tail_bytes, follow=follow)
    async with contextlib.aclosing(chunks) as parts:
        async for chunk in parts:
            out.write(chunk)
            out.flush()


@click.command()
@click.argument("job_ids", nargs=-1, required=True)
@output_option
@with_client
async def cancel(client: Client, job_ids: tuple[str, ...], output: str) -> None:
    """Cancel jobs; those that have ended stay as they are."""
    jobs = [await client.cancel(job_id) for job_id in job_ids]
    if output == "json":
        print_json(jobs)
    else:
        tables.show(tables.jobs_table(jobs, await known_nodes(client)))
