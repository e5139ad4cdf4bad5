"""Best-effort jobs on a real cluster: every way to end, retries, gangs, logs, cancel, limits."""

from __future__ import annotations

import asyncio
import sys
from contextlib import aclosing
from pathlib import Path

import psutil
import pytest
from cluster_at_work import ClusterAtWork, job, until

from tango.model.errors import NotFound
from tango.model.job import JobRecord, JobSpec, JobState, TaskSpec
from tango.sdk.client import Client

pytestmark = pytest.mark.e2e

# Written to "$0": when each attempt began. Fails until it has begun three times.
THIRD_TIME_LUCKY = 'date +%s.%N >> "$0"; [ "$(wc -l < "$0")" -ge 3 ]'
# A child of a child in a session of its own, which ignores TERM, as a daemon would be.
DAEMON = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pids = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
os.write(pids, b"%d\\n" % os.getpid())
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.write(pids, b"%d\\n" % os.getpid())
        time.sleep(600)
    os._exit(0)
time.sleep(600)
"""
EAT = "data = bytearray(256 * 2**20)\nfor at in range(0, len(data), 4096): data[at] = 1"


async def ended(client: Client, spec: JobSpec) -> JobRecord:
    async with asyncio.timeout(30):
        submitted = await client.submit(spec)
        return await client.wait(submitted.job_id)


async def log_of(client: Client, job_id: str, task: str = "", *, follow: bool = False) -> str:
    async with aclosing(client.logs(job_id, task=task, follow=follow)) as chunks:
        return b"".join([chunk async for chunk in chunks]).decode()


async def test_submitted_watched_listed_and_its_log_read(client: Client) -> None:
    said = 'echo begin; read -r _ < "$0"; echo end; echo oops >&2'
    submitted = await client.submit(job("/bin/sh", "-c", said, "/dev/null", name="tale"))
    assert submitted.job_id.startswith("tale-")
    assert submitted.state is JobState.PENDING
    async with asyncio.timeout(30):
        seen = [record async for record in client.watch(submitted.job_id)]
    order = list(JobState)
    assert [record.state for record in seen] == sorted(
        (record.state for record in seen), key=order.index
    )
    assert [record.version for record in seen] == sorted({record.version for record in seen})
    last = seen[-1]
    assert (last.state, last.reason) == (JobState.SUCCEEDED, "")
    (task,) = last.tasks
    assert (task.state, task.exit_code, task.attempt) == (JobState.SUCCEEDED, 0, 1)
    assert (task.edge, task.node) in {("site-a", "a1"), ("site-b", "b1")}
    assert last.submitted_at <= task.started_at <= task.ended_at <= last.ended_at
    assert await log_of(client, last.job_id) == "begin\nend\noops\n"
    assert await client.job(last.job_id) == last
    listed, counts = await client.jobs(JobState.SUCCEEDED)
    assert last in listed
    assert counts.succeeded == len(listed)
    with pytest.raises(NotFound, match="'tale-0' is unknown"):
        await client.job("tale-0")
    with pytest.raises(NotFound, match="has no task 'other'; it has: main"):
        await log_of(client, last.job_id, "other")


@pytest.mark.parametrize(
    ("script", "code", "signal", "reason"),
    [
        ("exit 3", 3, 0, "exit code 3"),
        ("kill -KILL $$", None, 9, "killed by signal 9"),
        ("kill -TERM $$", None, 15, "killed by signal 15"),
    ],
)
async def test_how_a_failed_job_ended(
    client: Client, script: str, code: int | None, signal: int, reason: str
) -> None:
    last = await ended(client, job("/bin/sh", "-c", script))
    assert (last.state, last.reason) == (JobState.FAILED, reason)
    (task,) = last.tasks
    assert (task.exit_code, task.signal, task.reason) == (code, signal, reason)


async def test_a_failed_task_is_tried_again_after_its_backoff(
    client: Client, tmp_path: Path
) -> None:
    times = tmp_path / "times"
    spec = job("/bin/sh", "-c", THIRD_TIME_LUCKY, str(times), retries=3, backoff_s=0.3)
    last = await ended(client, spec)
    assert last.state is JobState.SUCCEEDED
    (task,) = last.tasks
    assert (task.attempt, task.failures, task.exit_code) == (3, 2, 0)
    began = [float(line) for line in times.read_text().split()]
    assert len(began) == 3
    assert began[1] - began[0] >= 0.3
    assert began[2] - began[1] >= 0.6

    times.write_text("")
    spec = job("/bin/sh", "-c", THIRD_TIME_LUCKY, str(times), retries=1, backoff_s=0.05)
    last = await ended(client, spec)
    assert (last.state, last.tasks[0].attempt) == (JobState.FAILED, 2)
    assert len(times.read_text().split()) == 2


async def test_a_task_that_runs_too_long_is_stopped(client: Client) -> None:
    last = await ended(client, job("/bin/sleep", "600", deadline_s=0.5))
    assert (last.state, last.reason) == (JobState.FAILED, "deadline of 0.5 s exceeded")
    assert 0.5 <= last.tasks[0].ended_at - last.tasks[0].started_at < 10


async def test_a_gang_gets_its_places_at_once(client: Client) -> None:
    """300m each: two fit on no node of 650m together with a third."""
    tasks = tuple(
        TaskSpec(
            name,
            ("/bin/sh", "-c", 'echo "$NAME"; exec sleep 0.3'),
            env=(("NAME", f"I am {name}"),),
            cpu_millis=300,
            memory_bytes=32 * 2**20,
        )
        for name in ("one", "two", "three")
    )
    last = await ended(client, JobSpec("gang", tasks))
    assert last.state is JobState.SUCCEEDED
    assert {task.node for task in last.tasks} == {"a1", "b1"}
    began = max(task.started_at for task in last.tasks)
    assert all(began < task.ended_at for task in last.tasks), "all three ran at the same time"
    for name in ("one", "two", "three"):
        assert await log_of(client, last.job_id, name) == f"I am {name}\n"


async def test_one_failed_task_ends_the_gang(client: Client) -> None:
    tasks = (
        TaskSpec("bad", ("/bin/sh", "-c", "exit 5"), cpu_millis=50, memory_bytes=2**24),
        TaskSpec("long", ("/bin/sleep", "600"), cpu_millis=50, memory_bytes=2**24),
    )
    last = await ended(client, JobSpec("pair", tasks))
    assert (last.state, last.reason) == (JobState.FAILED, "task bad: exit code 5")

    async def long_is_over() -> bool:
        return (await client.job(last.job_id)).tasks[1].state is JobState.CANCELLED

    await until(long_is_over, "the other task to be stopped")


async def test_a_cancelled_jobs_whole_tree_is_gone(
    cluster: ClusterAtWork, client: Client, tmp_path: Path
) -> None:
    file = tmp_path / "pids"
    submitted = await client.submit(job(sys.executable, "-c", DAEMON, str(file), stop_grace_s=0.2))
    await until(lambda: file.exists() and len(file.read_text().split()) == 2, "the job to fork")
    pids = [int(line) for line in file.read_text().split()]
    (task,) = (await client.job(submitted.job_id)).tasks
    group = f"{task.node}/be/{task.attempt_id}"
    if cluster.groups(group):
        assert {str(pid) for pid in pids} <= group_pids(cluster, group)
    await client.cancel(submitted.job_id)
    async with asyncio.timeout(30):
        last = await client.wait(submitted.job_id)
    assert (last.state, last.reason) == (JobState.CANCELLED, "cancelled")
    assert last.tasks[0].state is JobState.CANCELLED
    # A process that is past its code, memory and files keeps its number until it is reaped.
    await until(lambda: not any(map(psutil.pid_exists, pids)), "its processes to be reaped", 5)
    await until(lambda: not cluster.groups(group), "its group to go")
    again = await client.cancel(submitted.job_id)
    assert again == await client.job(submitted.job_id), "to cancel what has ended changes nothing"


def group_pids(cluster: ClusterAtWork, group: str) -> set[str]:
    return {
        pid for path in cluster.groups(group) for pid in (path / "cgroup.procs").read_text().split()
    }


async def test_a_waiting_job_is_cancelled_without_having_run(client: Client) -> None:
    huge = await client.submit(job("/bin/true", cpu_millis=64_000, name="huge"))

    async def parked() -> str:
        return (await client.job(huge.job_id)).reason

    async def says_never() -> bool:
        return "NeverFits" in await parked()

    await until(says_never, "the reason why it waits")
    assert "NeverFits: task main needs 64 CPU and 64.0 MiB, the largest node has" in await parked()
    assert (await client.job(huge.job_id)).state is JobState.PENDING
    assert (await client.cancel(huge.job_id)).state is JobState.CANCELLED
    assert (await client.job(huge.job_id)).tasks[0].attempt == 0


async def test_the_same_submission_is_one_job(client: Client, tmp_path: Path) -> None:
    file = tmp_path / "ran"
    spec = job("/bin/sh", "-c", 'echo ran >> "$0"', str(file), name="once")
    twice = [client.submit(spec, submission_id="the-same") for _ in range(8)]
    jobs = await asyncio.gather(*twice)
    assert len({record.job_id for record in jobs}) == 1
    async with asyncio.timeout(30):
        await client.wait(jobs[0].job_id)
    again = await client.submit(spec, submission_id="the-same")
    assert (again.job_id, again.state) == (jobs[0].job_id, JobState.SUCCEEDED)
    assert file.read_text() == "ran\n"


@pytest.mark.usefixtures("grouped")
async def test_more_memory_than_declared_is_out_of_memory(client: Client) -> None:
    last = await ended(client, job(sys.executable, "-c", EAT, memory_bytes=48 * 2**20))
    assert last.state is JobState.FAILED
    assert last.reason.startswith("killed by signal 9 (")
    assert "out of memory" in last.reason
    assert last.tasks[0].signal == 9


async def test_it_is_in_its_group_before_its_first_instruction(
    grouped: ClusterAtWork, client: Client
) -> None:
    last = await ended(client, job("/bin/cat", "/proc/self/cgroup", "/proc/self/oom_score_adj"))
    (task,) = last.tasks
    *groups, oom = (await log_of(client, last.job_id)).splitlines()
    assert oom == "1000", "the kernel kills it before any service"
    # Beside the BE of other nodes where these share cores by weight.
    expected = (
        f"/{grouped.cgroup_root}/be/{task.node}/{task.attempt_id}",
        f"/{grouped.cgroup_root}/{task.node}/be/{task.attempt_id}",
    )
    ours = {line.split(":")[1] for line in groups if line.endswith(expected)}
    assert ours, groups
    assert {"cpu", "cpuacct", "memory"} <= ours or ours == {""}


async def test_a_log_is_followed_to_the_jobs_end(client: Client, tmp_path: Path) -> None:
    go = tmp_path / "go"
    script = 'echo first; until [ -e "$0" ]; do sleep 0.02; done; echo last'
    submitted = await client.submit(job("/bin/sh", "-c", script, str(go)))
    async with asyncio.timeout(30):
        async for record in client.watch(submitted.job_id):
            if record.state is JobState.RUNNING:
                break
        got = b""
        async with aclosing(client.logs(submitted.job_id, follow=True)) as chunks:
            async for chunk in chunks:
                got += chunk
                if got == b"first\n":
                    go.touch()
    assert got == b"first\nlast\n"


async def test_a_large_log_comes_whole(client: Client) -> None:
    """Over a rotated file, and through queues that are smaller than it."""
    script = 'i=0; while [ $i -lt 12 ]; do head -c 1000000 /dev/zero | tr "\\0" x; i=$((i+1)); done'
    last = await ended(client, job("/bin/sh", "-c", script))
    assert last.state is JobState.SUCCEEDED
    async with aclosing(client.logs(last.job_id, tail_bytes=0)) as chunks:
        whole = b"".join([chunk async for chunk in chunks])
    assert whole == b"x" * 12_000_000
    async with aclosing(client.logs(last.job_id, tail_bytes=10_000_000)) as chunks:
        assert len(b"".join([chunk async for chunk in chunks])) == 10_000_000
