"""Jobs by the names that their users gave them: several may have one, so that a name is no id."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from tango.controllers.central.ledger import Ledger
from tango.model.errors import NotFound
from tango.model.job import JobRecord

MAX_TOLD = 5


def no_such_job(ledger: Ledger, name: str) -> NotFound:
    """What to tell whoever asks for a job by an id that none has; it may be a name of some."""
    named = with_name(ledger, name)
    if not named:
        return NotFound(f"job {name!r} is unknown; `tango get jobs` lists those there are")
    return NotFound(names_jobs(name, named))


def with_name(ledger: Ledger, name: str) -> list[JobRecord]:
    """Those on disk that have it, those that go on first, then the newest first. Linear."""
    found = [
        job.durable
        for job in reversed(ledger.jobs.values())
        if job.durable is not None and job.durable.spec.name == name
    ]
    return sorted(found, key=lambda record: record.state.ended)


def names_jobs(name: str, named: Sequence[JobRecord]) -> str:
    """That this is the name of these jobs, and which they are."""
    told = ", ".join(f"{record.job_id} ({record.state.value})" for record in named[:MAX_TOLD])
    if len(named) == 1:
        return f"{name!r} is the name of a job and not its id, which is {told}"
    more = f" and {len(named) - MAX_TOLD} more" if len(named) > MAX_TOLD else ""
    return f"{name!r} is the name of {len(named)} jobs; say which by its id: {told}{more}"


def namesakes(ledger: Ledger, record: JobRecord) -> str:
    """A warning where other jobs of its name have not ended; "" where none is."""
    active = ledger.active_by_name.get(record.spec.name, {})
    count = len(active) - (record.job_id in active)
    if not count:
        return ""
    ids = (job_id for job_id in active if job_id != record.job_id)
    told = ", ".join(islice(ids, MAX_TOLD)) + (" and others" if count > MAX_TOLD else "")
    if count == 1:
        return f"another job named {record.spec.name!r} has not ended: {told}"
    return f"{count} other jobs named {record.spec.name!r} have not ended: {told}"
