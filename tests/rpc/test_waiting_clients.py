"""Who waits for a job outlives `tango down` and `up`, and takes no silence for a failed job."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from central_probe import JOB, central
from click.testing import CliRunner, Result

from tango.cli.main import tango
from tango.model.errors import Unavailable
from tango.model.job import JobState
from tango.sdk import lasting
from tango.sdk.client import Client

OLD, NEW = "the-token-of-the-first-up", "the-token-of-the-second-up"
SUBMIT = ("submit", "--wait", "--", "true")
WATCH = ("watch", "job", JOB.job_id)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lasting, "FIRST_S", 0.01)


async def cli(state_dir: Path, *words: str) -> Result:
    """In a thread: a command runs a loop of its own."""
    words = (words[0], "--state", str(state_dir), *words[1:])
    return await asyncio.to_thread(CliRunner().invoke, tango, words, standalone_mode=False)


async def test_wait_finds_a_cluster_that_was_brought_up_again(tmp_path: Path) -> None:
    async with asyncio.timeout(20):
        async with central(tmp_path, OLD, JobState.RUNNING):
            client = await Client(tmp_path).__aenter__()
            waits = asyncio.create_task(client.wait(JOB.job_id))
            async for job in client.watch(JOB.job_id):
                assert job.state is JobState.RUNNING
                break
        begun_late = asyncio.create_task(client.wait(JOB.job_id))
        await asyncio.sleep(0.1)
        assert not waits.done()
        assert not begun_late.done()
        async with central(tmp_path, NEW, JobState.SUCCEEDED):
            for wait in (waits, begun_late):
                assert (await wait).state is JobState.SUCCEEDED
        await client.__aexit__()


async def test_a_service_is_found_again_too(tmp_path: Path) -> None:
    found: list[int] = []
    seen = asyncio.Event()

    async def watch(client: Client) -> None:
        async for view in client.watch_service("web", site="site-a"):
            found.append(view.generation)
            seen.set()
            if len(found) == 2:
                return

    async with asyncio.timeout(20):
        async with central(tmp_path, OLD):
            client = await Client(tmp_path).__aenter__()
            watches = asyncio.create_task(watch(client))
            await seen.wait()
        async with central(tmp_path, NEW):
            await watches
        await client.__aexit__()
    assert found == [len(OLD), len(NEW)]


@pytest.mark.parametrize(
    ("last", "status"), [(JobState.SUCCEEDED, 0), (JobState.FAILED, 1)], ids=["done", "failed"]
)
@pytest.mark.parametrize("words", [SUBMIT, WATCH], ids=["submit", "watch"])
async def test_a_command_waits_on(
    tmp_path: Path, words: tuple[str, ...], last: JobState, status: int
) -> None:
    async with asyncio.timeout(20):
        async with central(tmp_path, OLD, JobState.RUNNING) as first:
            command = asyncio.create_task(cli(tmp_path, *words))
            await first.told.wait()
            await asyncio.sleep(0.1)
        async with central(tmp_path, NEW, last) as second:
            done = await command
    assert (done.return_value, done.exception) == (status, None)
    assert "trying again for 60 s" in done.stderr
    assert "the central master answers again" in done.stderr
    assert f"{JOB.job_id}: {last.value}" in done.stdout
    assert second.submits == 0


@pytest.mark.parametrize("words", [SUBMIT, WATCH], ids=["submit", "watch"])
async def test_giving_up_is_no_failed_job(
    tmp_path: Path, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lasting, "GIVE_UP_S", 0.2)
    async with asyncio.timeout(20):
        async with central(tmp_path, OLD, JobState.RUNNING) as first:
            command = asyncio.create_task(cli(tmp_path, *words))
            await first.told.wait()
            await asyncio.sleep(0.1)
        done = await command
    assert (done.return_value, done.exception) == (3, None)
    assert f"job {JOB.job_id} goes on, and how it ends is not known here" in done.stderr
    assert f"`tango watch job {JOB.job_id}`" in done.stderr


async def test_a_watch_where_no_cluster_is_tells_nothing_of_the_job(tmp_path: Path) -> None:
    done = await cli(tmp_path, *WATCH)
    assert (done.return_value, done.exception) == (3, None)
    assert "no cluster at" in done.stderr


async def test_a_service_that_cannot_be_watched_is_an_error_as_before(tmp_path: Path) -> None:
    done = await cli(tmp_path, "watch", "service", "web")
    assert isinstance(done.exception, Unavailable)
