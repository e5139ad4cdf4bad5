"""What every Runtime does, on a real supervisor with real processes and on the fake."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from runtime_node import RealNode, worker_settings

from tango.adapters.fake_runtime import FakeRuntime, Program
from tango.adapters.process_runtime import ProcessRuntime
from tango.model.process import ProcessRecord, ProcessSpec
from tango.ports import Runtime, StartFailed

LONG = ("sleep", "60")
STUBBORN = (
    sys.executable,
    "-c",
    "import signal as s;s.signal(15,s.SIG_IGN);print(1,flush=True);s.pause()",
)
MISSING = ("no-such-program-at-all", "x")
PATIENCE_S = 15.0


def pretended(spec: ProcessSpec) -> Program:
    """The fake's version of the programs that these tests run."""
    if spec.argv == MISSING:
        return Program(missing=True)
    if spec.argv == STUBBORN:
        return Program(stubborn=True)
    if spec.argv[0] == "sh":  # sh -c "exit N"
        return Program(run_s=0.01, exit_code=int(spec.argv[2].split()[1]))
    return Program()


class Place:
    """A runtime under test, and its end and new beginning."""

    def __init__(self, runtime: Runtime, again: Callable[[], Any]) -> None:
        self.runtime = runtime
        self._again = again
        self.opened = [runtime]

    async def reopen(self) -> Runtime:
        await self.runtime.close()
        self.runtime = await self._again()
        self.opened.append(self.runtime)
        return self.runtime


@pytest.fixture(params=["supervisor", "fake"])
async def place(request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    async with contextlib.AsyncExitStack() as stack:
        if request.param == "fake":
            fake = FakeRuntime(pretended)

            async def again() -> Runtime:
                return fake.reopen()

            found = Place(fake, again)
        else:
            node = stack.enter_context(RealNode())

            async def again() -> Runtime:
                return await ProcessRuntime.connect(node.socket, None, worker_settings())

            found = Place(await again(), again)
        yield found
        for runtime in found.opened:
            await runtime.close()


@pytest.fixture
async def runtime(place: Place) -> Runtime:
    return place.runtime


def spec(key: str, *argv: str, port: int | None = None, **fields: Any) -> ProcessSpec:
    return ProcessSpec(key, argv or LONG, (), "", port, False, **fields)


async def next_end(ends: AsyncIterator[ProcessRecord]) -> ProcessRecord:
    async with asyncio.timeout(PATIENCE_S):
        return await anext(ends)


async def failure(runtime: Runtime, wanted: ProcessSpec) -> StartFailed:
    with pytest.raises(StartFailed) as caught:
        await runtime.start(wanted)
    return caught.value


async def test_a_process_runs(runtime: Runtime) -> None:
    before = time.time()
    record, port = await runtime.start(spec("a", meta=(("kind", "x"), ("b", "y z"))))
    assert (record.key, port) == ("a", 0)
    assert record.meta == (("kind", "x"), ("b", "y z"))
    assert record.pid > 1
    assert before - 2 < record.started_at < time.time() + 2
    assert (record.ended, record.exit_code, record.signal, record.lost) == (False, None, 0, False)
    assert await runtime.list() == (record,)


async def test_a_repeat_runs_nothing_and_says_what_runs(runtime: Runtime) -> None:
    first = await runtime.start(spec("a", port=0))
    assert await runtime.start(spec("a", port=0)) == first
    assert await runtime.start(spec("a", *MISSING, port=0)) == first
    assert len(await runtime.list()) == 1


async def test_two_starts_of_one_key_at_once(runtime: Runtime) -> None:
    first, second = await asyncio.gather(
        runtime.start(spec("a", port=0)), runtime.start(spec("a", port=0))
    )
    assert first == second
    assert len(await runtime.list()) == 1


@pytest.mark.parametrize("code", [0, 7])
async def test_an_end_is_told_and_kept_until_it_is_forgotten(runtime: Runtime, code: int) -> None:
    ends = runtime.watch()
    started, _ = await runtime.start(spec("a", "sh", "-c", f"exit {code}"))
    ended = await next_end(ends)
    assert (ended.key, ended.pid) == ("a", started.pid)
    assert (ended.exit_code, ended.signal, ended.lost) == (code, 0, False)
    assert ended.ended
    assert ended.ended_at >= ended.started_at == started.started_at
    assert await runtime.list() == (ended,)
    await runtime.forget("a", keep_log=False)
    assert await runtime.list() == ()
    await runtime.forget("a", keep_log=True)


async def test_a_start_after_the_end_runs_nothing(runtime: Runtime) -> None:
    ends = runtime.watch()
    await runtime.start(spec("a", "sh", "-c", "exit 3"))
    ended = await next_end(ends)
    again, _ = await runtime.start(spec("a", "sh", "-c", "exit 3"))
    assert again == ended
    await runtime.forget("a", keep_log=False)
    assert (await failure(runtime, spec("a", "sh", "-c", "exit 3"))).lasting


async def test_stop(runtime: Runtime) -> None:
    ends = runtime.watch()
    await runtime.start(spec("a"))
    began = time.monotonic()
    await runtime.stop("a", 30)
    ended = await next_end(ends)
    assert (ended.key, ended.exit_code, ended.signal) == ("a", None, 15)
    assert time.monotonic() - began < 10
    await runtime.stop("a", 1)
    await runtime.stop("never-was", 1)


async def test_stop_with_no_grace_kills(runtime: Runtime) -> None:
    ends = runtime.watch()
    await runtime.start(spec("a"))
    await runtime.stop("a", 0)
    assert (await next_end(ends)).signal == 9


async def test_stop_returns_at_once_and_kills_after_the_grace(place: Place) -> None:
    runtime = place.runtime
    ends = runtime.watch()
    await runtime.start(spec("a", *STUBBORN))
    if isinstance(runtime, ProcessRuntime):  # until it ignores SIGTERM
        await printed(Path(runtime.log_path("a")))
    began = time.monotonic()
    await runtime.stop("a", 0.3)
    assert time.monotonic() - began < 0.25
    ended = await next_end(ends)
    assert ended.signal == 9
    assert time.monotonic() - began >= 0.25


async def printed(path: Path) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not path.exists() or not path.read_bytes():
            await asyncio.sleep(0.01)


async def test_what_runs_cannot_be_forgotten(runtime: Runtime) -> None:
    await runtime.start(spec("a"))
    with pytest.raises(ValueError, match="a has not ended"):
        await runtime.forget("a", keep_log=False)
    assert len(await runtime.list()) == 1


async def test_ports(runtime: Runtime) -> None:
    started = await asyncio.gather(
        *(runtime.start(spec(f"r-{i}", port=0, meta=(("k", "v"),))) for i in range(5))
    )
    ports = [port for _, port in started]
    assert len(set(ports)) == 5
    assert all(1024 <= port <= 65535 for port in ports)
    assert [record.meta for record, _ in started] == [
        (("k", "v"), ("port", str(port))) for port in ports
    ]


async def test_a_fixed_port_is_for_one(runtime: Runtime) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ends = runtime.watch()
    record, got = await runtime.start(spec("a", port=port, meta=(("port", str(port)),)))
    assert (got, record.meta) == (port, (("port", str(port)),))
    error = await failure(runtime, spec("b", port=port))
    assert (str(error), error.lasting) == (f"port {port} is in use by a", False)
    await runtime.stop("a", 0)
    await next_end(ends)
    assert (await runtime.start(spec("c", port=port)))[1] == port


async def test_several_fixed_ports_are_had_together_or_not_at_all(runtime: Runtime) -> None:
    with socket.socket() as one, socket.socket() as other:
        one.bind(("", 0))
        other.bind(("", 0))
        first, second = one.getsockname()[1], other.getsockname()[1]
    ends = runtime.watch()
    kept = (("ports", f"{first},{second}"),)
    _, got = await runtime.start(spec("a", ports=(first, second), meta=kept))
    assert got == first
    error = await failure(runtime, spec("b", ports=(second,)))
    assert (str(error), error.lasting) == (f"port {second} is in use by a", False)
    await runtime.stop("a", 0)
    await next_end(ends)
    with socket.socket() as listening:
        listening.bind(("", second))
        listening.listen()
        error = await failure(runtime, spec("c", ports=(first, second)))
        assert str(error).startswith(f"port {second} is in use")
    # The first of them was given back.
    assert (await runtime.start(spec("d", port=first)))[1] == first
    assert (await runtime.start(spec("e", ports=(second,))))[1] == second


async def test_a_port_that_another_program_has(runtime: Runtime) -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]
        error = await failure(runtime, spec("a", port=port))
    assert str(error).startswith(f"port {port} is in use")
    assert not error.lasting
    assert await runtime.list() == ()
    assert (await runtime.start(spec("a", port=port)))[1] == port


async def test_a_missing_program(runtime: Runtime) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    error = await failure(runtime, spec("a", *MISSING, port=port))
    assert error.lasting
    assert "argv[0]: 'no-such-program-at-all' not found" in str(error)
    assert await runtime.list() == ()
    # Nothing is left behind: neither the key nor the port.
    assert (await runtime.start(spec("a", port=port)))[1] == port


async def test_every_watcher_is_told_every_end_once(runtime: Runtime) -> None:
    first, second = runtime.watch(), runtime.watch()
    for index in range(3):
        await runtime.start(spec(f"t-{index}", "sh", "-c", f"exit {index}"))
    for ends in (first, second):
        found = [await next_end(ends) for _ in range(3)]
        assert sorted((end.key, end.exit_code) for end in found) == [
            ("t-0", 0),
            ("t-1", 1),
            ("t-2", 2),
        ]
    late = runtime.watch()
    await runtime.start(spec("last", "sh", "-c", "exit 9"))
    assert (await next_end(late)).key == "last"


async def test_closing_ends_the_watch(runtime: Runtime) -> None:
    ends = runtime.watch()
    waiting = asyncio.ensure_future(anext(ends))
    await asyncio.sleep(0.01)
    await runtime.close()
    with pytest.raises(StopAsyncIteration):
        await waiting


async def test_what_runs_outlives_the_runtime(place: Place) -> None:
    ends = place.runtime.watch()
    long, port = await place.runtime.start(spec("long", port=0, meta=(("kind", "replica"),)))
    await place.runtime.start(spec("short", "sh", "-c", "exit 5"))
    short = await next_end(ends)
    runtime = await place.reopen()
    ends = runtime.watch()
    assert await runtime.list() == (long, short)
    assert await runtime.start(spec("long", port=0)) == (long, port)
    assert str(await failure(runtime, spec("other", port=port))) == f"port {port} is in use by long"
    await runtime.forget("short", keep_log=False)
    await runtime.stop("long", 5)
    ended = await next_end(ends)
    assert (ended.key, ended.signal, ended.lost) == ("long", 15, False)
    assert ended.meta == long.meta


async def test_log_paths(runtime: Runtime) -> None:
    path = runtime.log_path("a.0.1")
    assert Path(path).is_absolute()
    assert "a.0.1" in path
    for bad in ("", "../x", "a/b", "a b", "x" * 129):
        with pytest.raises(ValueError):
            runtime.log_path(bad)
