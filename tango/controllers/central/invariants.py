"""What must hold of the central master's books after every event; tests check it each time."""

from __future__ import annotations

from tango.controllers.central.core import Core
from tango.controllers.central.jobs import ACTIVE, state_of, stopping, waiting
from tango.controllers.central.ledger import Job
from tango.controllers.central.site import Site
from tango.model.cores import mask_of
from tango.model.job import JobRecord, JobState, attempt_id, has_bounds


def check(core: Core) -> None:
    """Raise AssertionError naming the first contradiction. Linear in jobs, tasks and nodes."""
    active: set[str] = set()
    for job_id, job in core.ledger.jobs.items():
        assert job.record.job_id == job_id
        check_record(job.record)
        _check_disk(core, job)
        _check_queue(core, job)
        for index, task in enumerate(job.record.tasks):
            if task.state in ACTIVE:
                active.add(task.attempt_id)
                attempt = core.sites.attempts.get(task.attempt_id)
                assert attempt is not None, f"{task.attempt_id} is active but not in the index"
                found = (attempt.job_id, attempt.index, attempt.edge, attempt.node)
                assert found == (job_id, index, task.edge, task.node), task.attempt_id
                assert attempt.cores == task.cores, task.attempt_id
                assert len(task.cores) == job.record.spec.tasks[index].cores, task.attempt_id
                assert task.state is not JobState.RUNNING or attempt.sent, task.attempt_id
    extra = core.sites.attempts.keys() - active
    assert not extra, f"in the index but not active: {sorted(extra)}"
    for site in core.sites.by_name.values():
        _check_site(core, site)
    _check_counts(core)
    _check_names(core)


def _check_names(core: Core) -> None:
    named: dict[str, set[str]] = {}
    for job in core.ledger.jobs.values():
        if job.durable is not None and not job.durable.state.ended:
            named.setdefault(job.durable.spec.name, set()).add(job.durable.job_id)
    kept = {name: set(ids) for name, ids in core.ledger.active_by_name.items()}
    assert kept == named


def check_record(record: JobRecord) -> None:
    """One record by itself: its state against its tasks."""
    name = record.job_id
    assert len(record.tasks) == len(record.spec.tasks), name
    states = [task.state for task in record.tasks]
    if record.state.ended:
        assert JobState.PENDING not in states, f"{name} ended with a task that waits"
    if record.state is JobState.FAILED:
        assert JobState.FAILED in states, f"{name} failed without a failed task"
    else:
        expected = state_of(record.tasks, record.cancel_requested)
        assert record.state is expected, f"{name} is {record.state}, tasks are {states}"
    if record.cancel_requested and not record.state.ended:
        assert ACTIVE & set(states), f"{name} waits for a stop of nothing"
        assert JobState.PENDING not in states, f"{name} is cancelled but has a task that waits"
    for index, task in enumerate(record.tasks):
        assert task.failures <= record.spec.retries + 1, name
        if task.migration is not None:
            restored = task.migration.checkpoint is not None
            expected = JobState.SCHEDULED if restored else JobState.RUNNING
            assert task.state is expected, f"{name} migrates and is {task.state}"
        if task.state in ACTIVE:
            assert task.attempt_id == attempt_id(name, index, task.attempt), name
            assert task.edge, name
            assert task.node, name


def _check_disk(core: Core, job: Job) -> None:
    durable, record = job.durable, job.record
    version = durable.version if durable is not None else 0
    assert job.saving in (0, *range(version + 1, record.version + 1)), record.job_id
    if version < record.version:
        assert core.ledger.awaits_write(job), f"{record.job_id} changed but is never written"
    else:
        assert durable == record, record.job_id
        assert not job.effects, f"{record.job_id} holds back effects of a durable state"
    versions = [needed for needed, _ in job.effects]
    assert versions == sorted(versions), record.job_id
    assert all(version < needed <= record.version for needed in versions), record.job_id


def _check_queue(core: Core, job: Job) -> None:
    job_id = job.record.job_id
    tasks = waiting(job.record)[0] if job.durable is not None else ()
    assert job.waits_for == tasks, f"{job_id} waits for {job.waits_for}, not for {tasks}"
    bound = has_bounds(job.record.spec)
    gang = (core.batch.bound_queue if bound else core.batch.queue).get(job_id)
    assert job_id not in (core.batch.queue if bound else core.batch.bound_queue), job_id
    parked = job_id in core.batch.parked
    places = (gang is not None) + parked + bool(job.timer)
    assert places == bool(tasks), f"{job_id} waits in {places} places"
    if gang is not None:
        assert tuple(task.task_index for task in gang.tasks) == tasks, job_id
    assert not (tasks and stopping(job.record)), f"{job_id} shall stop but waits"


def _check_site(core: Core, site: Site) -> None:
    if site.session is not None:
        assert core.sites.by_session.get(site.session) is site
    else:
        assert not site.offers, f"{site.edge} is away but offers"
    for node, held in site.held.items():
        assert held.attempts, f"{site.edge}/{node} keeps an empty account"
        ours = held.attempts.values()
        untold = [attempt for attempt in ours if not attempt.reported]
        assert held.cpu_millis == sum(attempt.cpu_millis for attempt in ours)
        assert held.memory_bytes == sum(attempt.memory_bytes for attempt in ours)
        assert held.untold_cpu_millis == sum(attempt.cpu_millis for attempt in untold)
        cores = [core for attempt in ours for core in attempt.cores]
        assert len(cores) == len(set(cores)), f"{site.edge}/{node}: a core is booked twice"
        assert held.core_mask == mask_of(tuple(cores)), f"{site.edge}/{node}: cores"
        ports = [port for attempt in ours for port in attempt.ports]
        assert held.ports == set(ports), f"{site.edge}/{node}: ports"
        ports += [port for one in site.kept.get(node, {}).values() for port in one[3]]
        assert len(ports) == len(set(ports)), f"{site.edge}/{node}: a port is booked twice"
        assert held.untold_memory_bytes == sum(attempt.memory_bytes for attempt in untold)
        for attempt in ours:
            assert core.sites.attempts.get(attempt.attempt_id) is attempt, attempt.attempt_id
    kept = {
        (task.migration.to_node, task.attempt_id)
        for job in core.ledger.jobs.values()
        for task in job.record.tasks
        if task.migration is not None
        and task.migration.checkpoint is None
        and task.migration.to_edge == site.edge
    }
    for node, ones in site.kept.items():
        booked = site.held[node].core_mask if node in site.held else 0
        for _, _, mask, _ in ones.values():
            assert not booked & mask, f"{site.edge}/{node}: kept and held"
    assert {(node, one) for node, ones in site.kept.items() for one in ones} == kept, site.edge
    for node in site.nodes.keys() | site.offers.keys():
        assert site.offers.get(node) == site.offer(node), f"stale offer of {site.edge}/{node}"


def _check_counts(core: Core) -> None:
    ledger = core.ledger
    durable = [job.durable for job in ledger.jobs.values() if job.durable is not None]
    assert ledger.new == len(ledger.jobs) - len(durable)
    for state, ids in ledger.by_state.items():
        assert ids.keys() == {job.job_id for job in durable if job.state is state}, state
    cpu_s = sum(task.cpu_s for job in durable for task in job.tasks)
    assert abs(ledger.cpu_s - cpu_s) <= 1e-6 * max(1.0, cpu_s)
    for submission, job_id in ledger.submissions.items():
        assert ledger.jobs[job_id].record.submission_id == submission
    for job in core.batch.parked.values():
        assert job.wait_reason, f"{job.record.job_id} is parked without a reason"
