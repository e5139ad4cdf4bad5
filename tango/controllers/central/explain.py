"""Explains jobs and nodes from the central master's books and its decision records."""

from __future__ import annotations

from collections.abc import Collection
from itertools import islice

from tango.controllers.central.core import Core
from tango.controllers.central.named import names_jobs, with_name
from tango.controllers.forgotten import no_record, overwritten
from tango.model.errors import NotFound
from tango.model.explanation import Finding, Subject
from tango.model.job import JobRecord, JobState, TaskRecord, TaskSpec
from tango.model.units import format_cpu, format_memory

MAX_TASKS = 8


def findings(
    core: Core,
    job: JobRecord | None,
    name: str,
    subjects: Collection[Subject],
    limit: int,
    now: float,
) -> tuple[Finding, ...]:
    """One for the job, one for each node of that name; NotFound for none. job: as users see it."""
    found: list[Finding] = []
    if Subject.JOB in subjects:
        found += _job(core, job, name, limit, now)
    if Subject.NODE in subjects:
        found += _nodes(core, name, limit, now)
    if not found:
        subject = Subject.JOB if Subject.JOB in subjects else Subject.NODE
        if not {Subject.JOB, Subject.NODE} & set(subjects):
            what = " and ".join(sorted(one.value for one in subjects))
            raise NotFound(f"central: a {what} is explained by its edge, not by the central master")
        if subject is Subject.JOB and (named := with_name(core.ledger, name)):
            raise NotFound(f"central: {names_jobs(name, named)}")
        raise NotFound(f"central: {no_record(core.decisions, subject, name, now)}")
    return tuple(found)


def _job(core: Core, job: JobRecord | None, name: str, limit: int, now: float) -> list[Finding]:
    records = tuple(list(islice(core.decisions.about("job", name), limit))[::-1])
    missing = overwritten(core.decisions, Subject.JOB, now)
    if job is None:
        if not records:
            return []
        text = f"Job {name} is not kept any more."
        return [Finding(Subject.JOB, name, text, records, missing)]
    wall = core.wall + now - core.now if core.wall else 0.0
    if not records and core.decisions.keep:
        older = "this master has restarted since, or they were overwritten"
        missing = (*missing, f"no decision on it is kept: {older}")
    return [Finding(Subject.JOB, name, _of_job(job, wall), records, missing)]


def _of_job(job: JobRecord, wall: float) -> str:
    why = f": {job.reason}" if job.reason else ""
    text = f"Job {job.job_id} is {job.state.value}{why}."
    tasks = list(zip(job.spec.tasks, job.tasks, strict=True))
    for spec, task in tasks[:MAX_TASKS]:
        text += f" {_of_task(spec, task, job, wall)}"
    if len(tasks) > MAX_TASKS:
        text += f" {len(tasks) - MAX_TASKS} more tasks."
    return text


def _of_task(spec: TaskSpec, task: TaskRecord, job: JobRecord, wall: float) -> str:
    text = f"Task {spec.name} ({format_cpu(spec.cpu_millis)} CPU, "
    text += f"{format_memory(spec.memory_bytes)}) is {task.state.value}"
    if task.node:
        was = "on" if task.state in (JobState.SCHEDULED, JobState.RUNNING) else "last on"
        text += f" {was} {task.node} of {task.edge}"
        if task.state is JobState.RUNNING and wall > task.started_at > 0:
            text += f" for {_lasting(wall - task.started_at)}"
    text += _bound(spec, task)
    if task.attempt:
        text += f", attempt {task.attempt}, {task.failures} of {job.spec.retries} retries used"
    if task.warning:
        text += f"; {task.warning}"
    if task.reason:
        text += f"; the last attempt: {task.reason}"
    if task.moved:
        text += f"; moved: {task.moved}"
    return text + "."


def _bound(spec: TaskSpec, task: TaskRecord) -> str:
    """Its bound and its backup."""
    text, near = "", spec.near
    if near is not None:
        text += f", to be within {near.within_s * 1000:g} ms of {near.whom}"
    if spec.backup and not task.state.ended:
        text += f", backup on {task.backup}" if task.backup else ", without a backup now"
    return text


def _lasting(seconds: float) -> str:
    """A time for people, in its largest unit of which there are at least two."""
    for name, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {name}"
    return f"{seconds:.0f} s"


def _nodes(core: Core, name: str, limit: int, now: float) -> list[Finding]:
    """Sites name their nodes: several may have one of this name."""
    found: list[Finding] = []
    records = tuple(list(islice(core.decisions.about("node", name), limit))[::-1])
    missing = overwritten(core.decisions, Subject.NODE, now)
    for site in core.sites.by_name.values():
        if name not in site.nodes and name not in site.held:
            continue
        of_site = tuple(
            record for record in records if record[record[2].index["site"]] == site.edge
        )
        held = site.held.get(name)
        attempts = len(held.attempts) if held is not None else 0
        offer = site.offers.get(name)
        if offer is None:
            gives = "offers nothing to jobs now"
        else:
            gives = f"offers {format_cpu(offer.cpu_millis)} CPU and "
            gives += f"{format_memory(offer.memory_bytes)} to jobs"
            if offer.reclaimable_millis:
                gives += (
                    f", and {format_cpu(offer.reclaimable_millis)} that BE holds and does not use"
                )
        text = f"Node {name} of {site.edge} {gives}; {attempts} attempts are assigned to it."
        found.append(Finding(Subject.NODE, name, text, of_site, missing))
    return found
