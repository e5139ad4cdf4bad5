"""The runtime on a supervisor: user, environment, groups, priority, restarts, and its start."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pwd
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from cgroup_places import clean, real_root
from runtime_node import RealNode, process_state, worker_settings

from tango.adapters.cgroup_detect import detect
from tango.adapters.priority_check import PRIORITY_SHARE, best_effort_share
from tango.adapters.process_runtime import ProcessRuntime
from tango.adapters.supervisor_client import SupervisorClient, SupervisorRefused
from tango.adapters.supervisor_start import ensure_supervisor
from tango.model.errors import InvalidField
from tango.model.process import ProcessRecord, ProcessSpec
from tango.ports import RuntimeLost, StartFailed

PATIENCE_S = 15.0
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def node() -> Iterator[RealNode]:
    with RealNode() as node:
        yield node


@pytest.fixture
async def runtime(node: RealNode) -> AsyncIterator[ProcessRuntime]:
    runtime = await ProcessRuntime.connect(node.socket, None, worker_settings())
    yield runtime
    await runtime.close()


def spec(key: str, *argv: str, **fields: Any) -> ProcessSpec:
    usual: dict[str, Any] = {"env": (), "group": "", "port": None, "best_effort": False}
    return ProcessSpec(key, argv or ("sleep", "60"), **usual | fields)


def python(code: str) -> tuple[str, str, str]:
    return sys.executable, "-c", code


async def next_end(ends: AsyncIterator[ProcessRecord]) -> ProcessRecord:
    async with asyncio.timeout(PATIENCE_S):
        return await anext(ends)


async def output(runtime: ProcessRuntime, wanted: ProcessSpec) -> str:
    ends = runtime.watch()
    await runtime.start(wanted)
    await next_end(ends)
    return Path(runtime.log_path(wanted.key)).read_text()


async def test_the_environment_is_small_and_never_the_workers_own(
    runtime: ProcessRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TANGO_SECRET", "x")
    code = "import os,json;print(json.dumps(dict(os.environ)))"
    found = json.loads(
        await output(runtime, spec("a", *python(code), env=(("A", "b"), ("LANG", "C"))))
    )
    found.pop("LC_CTYPE", None)  # Python's own doing
    assert found == {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": pwd.getpwuid(os.geteuid()).pw_dir,
        "LANG": "C",
        "TMPDIR": "/tmp",
        "A": "b",
        "TANGO_ATTEMPT": "a",
    }


async def test_port_and_host_are_told_in_every_way(runtime: ProcessRuntime) -> None:
    code = "import os,sys;e=os.environ;print(*sys.argv[1:],e['PORT'],e['HOST'],e['URL'])"
    env = (("URL", "http://{host}:{port}/{port}"), ("PORT", "1"), ("HOST", "::"))
    wanted = spec("a", *python(code), "{host}:{port}", env=env, port=0, host="0.0.0.0")
    shown = (await output(runtime, wanted)).split()
    (record,) = await runtime.list()
    port = dict(record.meta)["port"]
    url = f"http://0.0.0.0:{port}/{port}"
    assert shown == [f"0.0.0.0:{port}", port, "0.0.0.0", url]


async def test_a_server_on_its_port(runtime: ProcessRuntime) -> None:
    argv = python(
        "import http.server as h,sys;h.HTTPServer(('127.0.0.1',int(sys.argv[1])),"
        "h.BaseHTTPRequestHandler).serve_forever()"
    )
    _, port = await runtime.start(spec("a", *argv, "{port}", port=0))
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                break
            except ConnectionRefusedError:
                await asyncio.sleep(0.02)
    writer.close()
    # A repeat of the start does not stumble over the port that it has itself.
    assert (await runtime.start(spec("a", *argv, "{port}", port=port)))[1] == port


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (("no-such-program",), "argv[0]: 'no-such-program' not found in PATH"),
        (("/no/such/program",), "argv[0]: '/no/such/program' does not exist"),
        (("/etc/passwd",), "'/etc/passwd' is not executable"),
        (("/tmp",), "'/tmp' is a directory"),
        (("sleep", "x" * 140_000), "argv: is longer than"),
    ],
)
async def test_what_can_never_start(
    runtime: ProcessRuntime, argv: tuple[str, ...], expected: str
) -> None:
    with pytest.raises(StartFailed) as caught:
        await runtime.start(spec("a", *argv))
    assert expected in str(caught.value)
    assert caught.value.lasting
    assert await runtime.list() == ()


async def test_a_request_above_the_supervisors_limit(runtime: ProcessRuntime) -> None:
    with pytest.raises(StartFailed, match="at most 1048576") as caught:
        await runtime.start(spec("a", env=(("A", "x" * (1 << 20)),)))
    assert caught.value.lasting
    await runtime.start(spec("a"))


async def test_a_group_that_does_not_exist_is_not_lasting(node: RealNode, tmp_path: Path) -> None:
    class Nowhere:
        def procs_files(self, group: str) -> tuple[str, ...]:
            return (f"{tmp_path}/{group}/cgroup.procs",)

    runtime = await ProcessRuntime.connect(node.socket, Nowhere(), worker_settings())  # type: ignore[arg-type]
    with pytest.raises(StartFailed, match="the group does not exist") as caught:
        await runtime.start(spec("a", group="x"))
    assert not caught.value.lasting
    await runtime.close()


@AS_ROOT
async def test_best_effort_without_groups_is_lowered(runtime: ProcessRuntime) -> None:
    async def standing(key: str, *, best_effort: bool) -> tuple[str, int, int]:
        """oom_score_adj, nice and policy, by a program small enough for SCHED_IDLE."""
        argv = ("cat", "/proc/self/oom_score_adj", "/proc/self/stat")
        shown = await output(runtime, spec(key, *argv, best_effort=best_effort))
        adjustment, stat = shown.splitlines()
        after_name = stat.rpartition(")")[2].split()  # from field 3 on, see proc_pid_stat(5)
        return adjustment, int(after_name[19 - 3]), int(after_name[41 - 3])

    assert await standing("be", best_effort=True) == ("1000", 19, os.SCHED_IDLE)
    assert await standing("lc", best_effort=False) == ("0", 0, os.SCHED_OTHER)
    if Path("/proc/self/autogroup").exists():
        shown = await output(runtime, spec("a", "cat", "/proc/self/autogroup", best_effort=True))
        assert shown.split()[-1] == "19"


async def test_priority_is_measured_as_it_is(node: RealNode) -> None:
    runtime = await ProcessRuntime.connect(node.socket, None, worker_settings())
    assert await best_effort_share(runtime) <= PRIORITY_SHARE
    assert await runtime.list() == ()
    await runtime.close()
    # Without the priorities both get about half: the check would see it.
    plain = await ProcessRuntime.connect(node.socket, None, worker_settings(enforce=False))
    assert await best_effort_share(plain) > PRIORITY_SHARE
    await plain.close()


@AS_ROOT
async def test_another_user(node: RealNode) -> None:
    nobody = pwd.getpwnam("nobody")
    runtime = await ProcessRuntime.connect(node.socket, None, worker_settings(run_as="nobody"))
    code = "import os;print(os.getuid(),os.getgid(),os.getgroups(),os.environ['HOME'])"
    # Not this Python, which may lie where nobody else can read.
    shown = await output(runtime, spec("a", "python3", "-c", code))
    assert shown.split() == [str(nobody.pw_uid), str(nobody.pw_gid), "[]", nobody.pw_dir]
    await runtime.close()


async def test_an_unknown_user(node: RealNode) -> None:
    with pytest.raises(InvalidField, match=r"worker\.run_as: there is no user"):
        await ProcessRuntime.connect(node.socket, None, worker_settings(run_as="no-such-user-x"))


@AS_ROOT
async def test_a_process_is_in_its_group_from_its_first_instruction(node: RealNode) -> None:
    found = detect(real_root("runtime"))
    if found.cgroups is None:
        pytest.skip(found.reason)
    cgroups = found.cgroups
    try:
        cgroups.create("be/a")
        runtime = await ProcessRuntime.connect(node.socket, cgroups, worker_settings())
        code = "import os;print(open('/proc/self/cgroup').read(), os.nice(0))"
        shown = await output(runtime, spec("a", *python(code), group="be/a", best_effort=True))
        assert "/be/a" in shown
        assert shown.split()[-1] == "0"  # the group holds it down, nice is not needed
        ends = runtime.watch()
        cgroups.create("be/b")
        record, _ = await runtime.start(spec("b", group="be/b", best_effort=True))
        assert cgroups.procs("be/b") == (record.pid,)
        await runtime.stop("b", 0)
        await next_end(ends)
        cgroups.remove("be/b")
        await runtime.close()
    finally:
        clean(cgroups)
        cgroups.close()


async def test_logs_are_bounded_as_the_settings_say(node: RealNode) -> None:
    settings = worker_settings(log_max_bytes=8192, log_files=2)
    runtime = await ProcessRuntime.connect(node.socket, None, settings)
    await output(runtime, spec("a", *python("print('x'*99999);print('end')")))
    path = Path(runtime.log_path("a"))
    assert path.read_text().endswith("end\n")
    assert sum(file.stat().st_size for file in path.parent.glob("a.log*")) <= 2 * 8192
    await runtime.close()


async def test_processes_that_end_at_once_are_not_thought_to_run(runtime: ProcessRuntime) -> None:
    """Their end may come in the same bytes as the answer to the start."""
    ends = runtime.watch()
    keys = [f"t-{index}" for index in range(20)]
    ports = [port for _, port in await asyncio.gather(*(
        runtime.start(spec(key, "true", port=0)) for key in keys
    ))]  # fmt: skip
    assert len(set(ports)) == 20
    assert sorted([(await next_end(ends)).key for _ in keys]) == sorted(keys)
    assert runtime._running == {}
    assert runtime._ports._ports == {}
    for key in keys:
        await runtime.forget(key, keep_log=False)
    assert runtime._ended == set()


async def test_a_cancelled_start_is_known_all_the_same(runtime: ProcessRuntime) -> None:
    starting = asyncio.ensure_future(runtime.start(spec("a", port=0)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    async with asyncio.timeout(PATIENCE_S):
        while not await runtime.list():
            await asyncio.sleep(0.01)
    (record,) = await runtime.list()
    assert await runtime.start(spec("a", port=0)) == (record, int(dict(record.meta)["port"]))


# ---- restarts of the supervisor


async def test_a_supervisor_that_is_killed_and_started_again(
    node: RealNode, runtime: ProcessRuntime
) -> None:
    ends = runtime.watch()
    waiting = asyncio.ensure_future(next_end(ends))
    kept, _ = await runtime.start(spec("kept", meta=(("k", "v"),)))
    gone, _ = await runtime.start(spec("gone"))
    node.kill()
    os.kill(gone.pid, 9)
    node.start()
    ended = await waiting
    assert (ended.key, ended.lost, ended.exit_code) == ("gone", True, None)
    assert [record.key for record in await runtime.list()] == ["gone", "kept"]
    again = next(record for record in await runtime.list() if record.key == "kept")
    assert (again.pid, again.meta, again.ended) == (kept.pid, (("k", "v"),), False)
    assert await runtime.start(spec("kept")) == (again, 0)
    await runtime.stop("kept", 5)
    ended = await next_end(ends)
    assert ended.key == "kept"
    assert ended.meta == (("k", "v"),)


async def test_a_killed_supervisor_is_said_and_started_again(node: RealNode) -> None:
    """Also: none of our own files, above all no listening socket, goes along with it."""
    said: list[tuple[Any, ...]] = []

    async def revive() -> None:
        await asyncio.to_thread(node.start)

    runtime = await ProcessRuntime.connect(
        node.socket,
        None,
        worker_settings(),
        on_down=lambda reason: said.append((reason,)),
        on_up=lambda *what: said.append(what),
        revive=revive,
    )
    ends = runtime.watch()
    waiting = asyncio.ensure_future(next_end(ends))
    kept, _ = await runtime.start(spec("kept"))
    gone, _ = await runtime.start(spec("gone"))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.set_inheritable(True)
        first = node.pid
        node.kill()
        os.kill(gone.pid, 9)
        ended = await waiting
        assert (ended.key, ended.lost) == ("gone", True)
        assert node.pid != first
        inode = os.fstat(listening.fileno()).st_ino
        held = [str(fd.readlink()) for fd in Path(f"/proc/{node.pid}/fd").iterdir()]
        assert f"socket:[{inode}]" not in held
    assert said == [("the supervisor closed the connection",), (True, 1, 1)]
    (again, _) = await runtime.list()
    assert (await runtime.start(spec("kept")))[0].pid == kept.pid
    assert again.key == "gone"
    await runtime.close()
    assert len(said) == 2, "to let go of it is not to lose it"


async def test_a_stopped_supervisor_is_said_and_waited_for(
    node: RealNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGSTOP: nothing is closed, and a request outlives its time until SIGCONT."""
    monkeypatch.setattr("tango.adapters.supervisor_client.ALIVE_EVERY_S", 0.02)
    monkeypatch.setattr("tango.adapters.supervisor_client.ALIVE_WITHIN_S", 0.4)
    said: asyncio.Queue[tuple[Any, ...]] = asyncio.Queue()
    runtime = await ProcessRuntime.connect(
        node.socket,
        None,
        worker_settings(),
        on_down=lambda reason: said.put_nowait((reason,)),
        on_up=lambda *what: said.put_nowait(what),
    )
    kept, _ = await runtime.start(spec("kept"))
    pid = node.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        async with asyncio.timeout(20):
            (reason,) = await said.get()
        assert "not answered" in reason
        # What is left to it after SIGCONT, where a start takes two fsyncs.
        monkeypatch.setattr("tango.adapters.process_runtime._START_S", 0.5)
        starting = asyncio.ensure_future(runtime.start(spec("late")))
        await asyncio.sleep(1.0)
        assert not starting.done()
        assert said.empty(), "said once"
    finally:
        os.kill(pid, signal.SIGCONT)
    async with asyncio.timeout(20):
        assert await said.get() == (False, 1, 0)
        await starting
        assert {one.key for one in await runtime.list() if not one.ended} == {"kept", "late"}
    assert node.pid == pid
    assert process_state(kept.pid) != ""
    await runtime.close()


async def test_calls_while_the_supervisor_is_away_wait_for_it(
    node: RealNode, runtime: ProcessRuntime
) -> None:
    node.kill()
    starting = asyncio.ensure_future(runtime.start(spec("a")))
    await asyncio.sleep(0.05)
    await asyncio.to_thread(node.start)
    record, _ = await starting
    assert process_state(record.pid) in ("S", "R", "D")


async def test_a_supervisor_that_stays_away(
    node: RealNode, runtime: ProcessRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tango.adapters.supervisor_client._PAUSES_S", (0.0, 0.01))
    waiting = asyncio.ensure_future(next_end(runtime.watch()))
    await asyncio.sleep(0.01)
    node.kill()
    with pytest.raises(RuntimeLost, match="cannot be reached"):
        await waiting
    with pytest.raises(RuntimeLost):
        await runtime.list()
    with pytest.raises(RuntimeLost):
        await runtime.start(spec("a", port=0))
    assert runtime._ports._ports == {}
    node.start()
    await runtime.start(spec("a"))


async def test_what_a_supervisor_forgot_is_reported_as_lost(
    node: RealNode, runtime: ProcessRuntime
) -> None:
    ends = runtime.watch()
    record, _ = await runtime.start(spec("a"))
    node.kill()
    for name in ("runs", "ends"):
        for path in (node.state / name).iterdir():
            path.unlink()
    node.start()
    try:
        ended = await next_end(ends)
        assert (ended.key, ended.pid, ended.lost) == ("a", record.pid, True)
    finally:
        os.kill(record.pid, 9)
    await runtime.forget("a", keep_log=False)


# ---- the client, against a supervisor of the test's own


@contextlib.asynccontextmanager
async def served(tmp_path: Path, *lines: bytes) -> AsyncIterator[Path]:
    """Answers each request of a connection with the next line, whatever was asked."""
    path = tmp_path / "s.sock"
    open_connections: set[asyncio.StreamWriter] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_connections.add(writer)
        with contextlib.suppress(ConnectionError):
            for line in lines:
                if not await reader.readline():
                    break
                writer.write(line)
            else:
                await reader.read()
        writer.close()
        open_connections.discard(writer)

    server = await asyncio.start_unix_server(handle, path)
    try:
        yield path
    finally:
        server.close()
        async with asyncio.timeout(PATIENCE_S):
            while open_connections:
                await asyncio.sleep(0.001)


HELLO = b'{"id":1,"ok":true,"version":1,"state_dir":"/x"}\n'
REST = (HELLO, b'{"id":2,"ok":true}\n', b'{"id":3,"ok":true,"records":[],"next":null}\n')


def client_of(path: Path) -> SupervisorClient:
    return SupervisorClient(
        path, on_event=lambda _: None, on_connected=lambda _: None, on_lost=lambda _: None
    )


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ((b'{"id":1,"ok":true,"version":2}\n',), "speaks version 2, not 1"),
        ((b"HTTP/1.1 400 Bad Request\r\n\r\n",), "sent no JSON object"),
        ((b"[1]\n",), "sent no JSON object"),
        ((b"x" * (5 << 20),), "sent a line above"),
        ((b'{"id":null,"ok":false,"code":"LIMIT","error":"too many connections"}\n',), "too many"),
    ],
)
async def test_a_supervisor_that_speaks_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: tuple[bytes, ...], expected: str
) -> None:
    monkeypatch.setattr("tango.adapters.supervisor_client._PAUSES_S", (0.0,))
    monkeypatch.setattr("tango.adapters.supervisor_client._ANSWER_S", 1.0)
    async with served(tmp_path, *lines) as path:
        with pytest.raises(RuntimeLost, match=expected):
            await client_of(path).connect()


async def test_a_supervisor_that_hangs(tmp_path: Path) -> None:
    async with served(tmp_path, *REST, b"") as path, client_of(path) as client:
        with pytest.raises(RuntimeLost, match=r"did not answer 'stop' in 0\.05 s"):
            await client.call("stop", 0.05, key="a")


async def test_a_refusal(tmp_path: Path) -> None:
    refusal = b'{"id":4,"ok":false,"code":"NOT_FOUND","error":"no record of a"}\n'
    async with served(tmp_path, *REST, refusal) as path, client_of(path) as client:
        with pytest.raises(SupervisorRefused, match="no record of a") as caught:
            await client.call("stop", key="a")
        assert caught.value.code == "NOT_FOUND"


async def test_a_connection_that_closes_at_every_request(tmp_path: Path) -> None:
    once = served(tmp_path, *REST[:2], REST[2] + b'{"id":null,"error":"closing"}\n')
    async with once as path, client_of(path) as client:
        with pytest.raises(RuntimeLost, match="closed the connection 3 times at 'stop'"):
            await client.call("stop", key="a")


async def test_a_closed_client(tmp_path: Path) -> None:
    async with served(tmp_path, *REST) as path:
        async with client_of(path) as client:
            pass
        with pytest.raises(RuntimeLost, match="is closed"):
            await client.call("stop", key="a")


# ---- starting it


def test_it_is_started_once_and_detached(node: RealNode) -> None:
    first = node.pid
    assert ensure_supervisor(node.state) == node.socket
    assert node.pid == first
    stat = Path(f"/proc/{first}/stat").read_text().rpartition(")")[2].split()
    assert int(stat[3]) == first  # a session of its own
    assert str(Path(f"/proc/{first}/fd/0").readlink()) == "/dev/null"
    assert str(Path(f"/proc/{first}/cwd").readlink()) == "/"
    assert (node.state / "supervisor.log").stat().st_mode & 0o777 == 0o600


async def test_its_own_log_is_bounded(node: RealNode, runtime: ProcessRuntime) -> None:
    log = node.state / "supervisor.log"
    with log.open("ab") as file:
        file.write(b"x" * (1 << 20))
    await output(runtime, spec("a", "true"))
    assert log.stat().st_size < 10_000
    assert '"exited"' in log.read_text()


def test_it_knows_nothing_of_the_workers_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "@x")
    monkeypatch.setenv("TANGO_SECRET", "x")
    with RealNode() as node:
        environment = Path(f"/proc/{node.pid}/environ").read_bytes()
    assert b"NOTIFY_SOCKET" not in environment
    assert b"TANGO_SECRET" not in environment


def test_two_workers_start_it_at_once() -> None:
    node = RealNode()
    code = (
        "import sys;from tango.adapters.supervisor_start import ensure_supervisor;"
        f"print(ensure_supervisor({str(node.state)!r}))"
    )
    both = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    try:
        for each in both:
            assert each.communicate(timeout=20)[0].strip() == str(node.socket)
            assert each.returncode == 0
    finally:
        node.__exit__(None, None, None)


def test_it_can_not_be_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tango.adapters.supervisor_start._OTHERS_START_S", 0.1)
    (tmp_path / "file").write_text("")
    with pytest.raises(RuntimeLost, match="cannot start the supervisor"):
        ensure_supervisor(tmp_path / "file" / "state")
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    (blocked / "lock").mkdir()
    began = time.monotonic()
    with pytest.raises(RuntimeLost, match=r"ended with status 1: tango\.supervisor: .*lock"):
        ensure_supervisor(blocked)
    assert time.monotonic() - began < 10
    with pytest.raises(InvalidField, match=r"server\.state_dir: is too long"):
        ensure_supervisor(tmp_path / ("x" * 120))
