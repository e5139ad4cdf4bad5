"""`tango migrate`: a running task goes on at another node, with its state."""

from __future__ import annotations

import asyncio
import contextlib

import click

from tango.cli.options import output_option, print_json, with_client
from tango.model.job import JobRecord, JobState, TaskRecord
from tango.sdk.client import Client


@click.command()
@click.argument("target", metavar="JOB[/TASK]")
@click.option("--to", "node", required=True, metavar="[SITE/]NODE", help="Where it is to go on.")
@click.option("--no-wait", is_flag=True, help="Do not wait for the outcome.")
@output_option
@with_client
async def migrate(client: Client, target: str, node: str, no_wait: bool, output: str) -> int:
    """Move a task of a job (or all of its tasks that run) to another node, with its state.

    Both nodes need CRIU, and a common worker.checkpoint_dir or worker.checkpoint_transfer at both;
    `tango describe node` says what they have. Where the move fails the task goes on at its node.
    Exit status 0 only if it moved.
    """
    job_id, _, task = target.partition("/")
    site, _, name = node.rpartition("/")
    job = await client.migrate(job_id, name, task=task, site=site)
    numbers = {
        index: record.migrations
        for index, record in enumerate(job.tasks)
        if record.migration is not None
    }
    if not no_wait:
        job = await _over(client, job)
    if output == "json":
        print_json([job])
    else:
        for index in numbers:
            click.echo(f"{job_id}/{job.spec.tasks[index].name}: {_told(job.tasks[index])}")
    return int(not no_wait and not all(_is_there(job.tasks[at], name) for at in numbers))


async def _over(client: Client, job: JobRecord) -> JobRecord:
    """The job when none of its tasks migrates any more."""
    try:
        async with contextlib.aclosing(client.watch(job.job_id)) as records:
            async for job in records:
                if all(task.migration is None for task in job.tasks):
                    break
    except asyncio.CancelledError:
        click.echo(f"the migration goes on; see `tango describe job {job.job_id}`", err=True)
        raise
    return job


def _is_there(task: TaskRecord, node: str) -> bool:
    there = task.state in (JobState.RUNNING, JobState.SUCCEEDED) and task.node == node
    return there and task.migration is None and task.moved.startswith("migrated")


def _told(task: TaskRecord) -> str:
    migration = task.migration
    if migration is None:
        return task.moved or task.state.value
    return f"migrates from {migration.from_node} to {migration.to_node}"
