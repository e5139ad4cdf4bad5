"""Checkpoints as every Runtime does them: a supervisor with a pretended criu, and the fake."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from runtime_node import worker_settings
from supervisor_process import supervised

from tango.adapters.fake_runtime import FakeRuntime
from tango.adapters.process_runtime import ProcessRuntime
from tango.model.job import Checkpoint
from tango.model.process import ProcessRecord, ProcessSpec
from tango.ports import CheckpointFailed, Runtime, StartFailed

FAKE = Path(__file__).with_name("fake_criu.py")
PATIENCE_S = 15.0
NOWHERE = Checkpoint("j.9.1", "sha256:0")


def spec(key: str, **fields: Any) -> ProcessSpec:
    return ProcessSpec(key, ("sleep", "60"), (), "", None, False, **fields)


async def next_end(ends: AsyncIterator[ProcessRecord]) -> ProcessRecord:
    async with asyncio.timeout(PATIENCE_S):
        return await anext(ends)


@pytest.fixture(params=["supervisor", "fake"])
async def runtime(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Runtime]:
    with contextlib.ExitStack() as stack:
        found: Runtime
        if request.param == "fake":
            found = FakeRuntime()
        else:
            if os.geteuid() != 0:
                pytest.skip("criu needs root's rights")
            program = tmp_path / "criu"
            shutil.copy(FAKE, program)
            program.chmod(0o755)
            (tmp_path / "MODE").write_text("well")
            root = tmp_path / "checkpoints"
            root.mkdir(mode=0o700)
            supervisor = stack.enter_context(supervised("--criu", str(program)))
            settings = worker_settings(checkpoint_dir=str(root))
            found = await ProcessRuntime.connect(supervisor.socket, None, settings)
        yield found
        await found.close()


async def test_it_says_that_it_can(runtime: Runtime) -> None:
    able, note = await runtime.can_checkpoint()
    assert (able, bool(note)) == (True, True)


async def test_a_process_goes_on_under_another_key(runtime: Runtime) -> None:
    ends = runtime.watch()
    await runtime.start(spec("j.0.1"))
    await runtime.checkpoint("j.0.1")
    ended = await next_end(ends)
    made = ended.checkpoint
    assert made is not None
    assert (made.attempt_id, ended.key, ended.ended, ended.lost) == ("j.0.1", "j.0.1", True, False)
    assert (await runtime.list())[0].checkpoint == made, "for a worker that is restarted"
    record, _ = await runtime.start(spec("j.0.2", restore=made))
    assert (record.ended, record.checkpoint) == (False, None)
    await runtime.stop("j.0.2", 0.0)
    assert (await next_end(ends)).checkpoint is None


async def test_what_does_not_run_has_no_state(runtime: Runtime) -> None:
    with pytest.raises(CheckpointFailed):
        await runtime.checkpoint("j.0.1")
    ends = runtime.watch()
    await runtime.start(spec("j.0.1"))
    await runtime.stop("j.0.1", 0.0)
    await next_end(ends)
    with pytest.raises(CheckpointFailed):
        await runtime.checkpoint("j.0.1")


async def test_images_go_with_the_log(runtime: Runtime, tmp_path: Path) -> None:
    ends = runtime.watch()
    await runtime.start(spec("j.0.1"))
    await runtime.checkpoint("j.0.1")
    await next_end(ends)
    await runtime.forget("j.0.1", keep_log=True)
    await runtime.forget("j.0.1", keep_log=False)
    assert list(tmp_path.glob("checkpoints/*")) == []


async def test_where_it_is_not_switched_on() -> None:
    with supervised() as supervisor:
        runtime = await ProcessRuntime.connect(supervisor.socket, None, worker_settings())
        note = "not switched on: neither worker.checkpoint_dir nor worker.checkpoint_transfer is"
        assert await runtime.can_checkpoint() == (False, note)
        await runtime.start(spec("j.0.1"))
        with pytest.raises(CheckpointFailed, match="not switched on"):
            await runtime.checkpoint("j.0.1")
        with pytest.raises(StartFailed, match="not switched on"):
            await runtime.start(spec("j.0.2", restore=NOWHERE))
        assert [record.key for record in await runtime.list()] == ["j.0.1"]
        await runtime.close()
        missing = worker_settings(checkpoint_dir=f"{supervisor.state}/none")
        runtime = await ProcessRuntime.connect(supervisor.socket, None, missing)
        able, note = await runtime.can_checkpoint()
        assert (able, "is no directory" in note) == (False, True)
        await runtime.close()
