"""A real cluster for the end-to-end tests: its daemons, its groups, its CLI, what stays of it."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import os
import signal
import subprocess
import sys
import time
import tomllib
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from tango.model.job import JobSpec, TaskSpec
from tango.model.service import HealthCheck, ServiceSpec
from tango.model.views import ServiceView
from tango.sdk.client import Client
from tango.sdk.embedded import EmbeddedCluster

PATIENCE_S = 30.0
POLL_S = 0.02
CGROUPS = Path("/sys/fs/cgroup")
SITE = "site-a"
REPLICA = str(Path(__file__).with_name("replica.py"))


@dataclass(frozen=True)
class Daemon:
    """One daemon as its configuration says. name: central, site-a, node-a1."""

    kind: str
    name: str
    config: Path
    listen: str
    metrics: str


class ClusterAtWork(EmbeddedCluster):
    """An embedded cluster whose daemons can be killed and started again one by one."""

    def daemons(self) -> list[Daemon]:
        found = []
        for member in self._members():
            config = self.state_dir / "configs" / f"{member.name}.toml"
            server = tomllib.loads(config.read_text())["server"]
            found.append(
                Daemon(member.kind, member.name, config, server["listen"], server["metrics"])
            )
        return found

    @property
    def token(self) -> str:
        return (self.state_dir / "token").read_text()

    def pid(self, name: str) -> int:
        return next(member.pid for member in self._members() if member.name == name)

    def kill(self, name: str) -> None:
        """kill -9, and gone when this returns."""
        (member,) = [member for member in self._members() if member.name == name]
        member.signal(signal.SIGKILL)
        wait_for(lambda: not member.alive(), f"{name} to die")

    def dead(self) -> list[str]:
        """Names of daemons that do not run."""
        return [member.name for member in self._members() if not member.alive()]

    def kill_supervisor(self, node: str) -> None:
        """kill -9 of a node's supervisor; what it started runs on."""
        state = str(self.state_dir / f"node-{node}" / "supervisor")
        (process,) = [
            process
            for process in psutil.process_iter(["cmdline"])
            if process.info["cmdline"] and process.info["cmdline"][-2:] == ["--state", state]
        ]
        process.kill()
        wait_for(lambda: not psutil.pid_exists(process.pid), "the supervisor to die")

    def events(self, name: str, event: str) -> list[dict[str, Any]]:
        """Lines of a daemon's log on that event."""
        lines = (self.state_dir / "logs" / f"{name}.log").read_text().splitlines()
        found = [json.loads(line) for line in lines if line.startswith("{")]
        return [line for line in found if line["event"] == event]

    def start_again(self, name: str) -> None:
        """Start a killed daemon with its configuration, as an operator or systemd would."""
        members = self._members()
        (daemon,) = [daemon for daemon in self.daemons() if daemon.name == name]
        log = self.state_dir / "logs" / f"{name}.log"
        index = [member.name for member in members].index(name)
        members[index] = spawn(daemon.kind, name, daemon.config, log)
        self._save(members)

    def groups(self, group: str) -> list[Path]:
        """Directories of "a1/lc/hello" or "a1/be/j.0.1" in every hierarchy that has it.

        Nodes that share cores have their BE side by side: below be/a1.
        """
        node, _, side = group.partition("/")
        if side == "be" or side.startswith("be/"):
            shared = f"be/{node}/{side[3:]}".rstrip("/")
            if found := self._directories(shared):
                return found
        return self._directories(group)

    def _directories(self, group: str) -> list[Path]:
        inside = f"{self.cgroup_root}/{group}".rstrip("/")
        found = [*CGROUPS.glob(f"*/{inside}"), *CGROUPS.glob(inside)]
        return [path for path in found if path.is_dir()]

    def files(self) -> dict[Path, os.stat_result]:
        """All that lies in the state directory, but for files that go while this looks."""
        found: dict[Path, os.stat_result] = {}
        for folder, folders, files in os.walk(self.state_dir):
            for path in (Path(folder, name) for name in (*folders, *files)):
                with contextlib.suppress(FileNotFoundError):
                    found[path] = path.lstat()
        return found

    def left_behind(self) -> list[str]:
        """Processes, control groups, sockets and secrets that should not be there any more."""
        found = [f"process {p.pid}: {p.info['cmdline']}" for p in processes_of(self.state_dir)]
        found += [str(path) for path in self.groups("")]
        found += [str(path) for path in self.state_dir.rglob("*") if path.is_socket()]
        secrets = ("token", "cluster.json", "processes.json")
        return found + [name for name in secrets if (self.state_dir / name).exists()]

    def cli(self, *words: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """`tango WORDS` on this cluster."""
        return tango(*words, stdin=stdin, state=self.state_dir)

    def json(self, *words: str) -> Any:
        """What `tango WORDS -o json` prints."""
        done = self.cli(*words, "-o", "json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


def processes_of(state_dir: Path) -> list[psutil.Process]:
    """Those that name the state directory in their command line or work in it, but for us."""
    return [
        process
        for process in psutil.process_iter(["cmdline", "cwd"])
        if process.pid != os.getpid()
        and str(state_dir)
        in " ".join([*(process.info["cmdline"] or ()), process.info["cwd"] or ""])
    ]


@contextlib.contextmanager
def running(state_dir: Path, **options: Any) -> Iterator[ClusterAtWork]:
    """Start, and stop at the end; nothing of it must be left then."""
    cluster = ClusterAtWork(state_dir)
    cluster.start(**options)
    try:
        yield cluster
    finally:
        cluster.stop()
    assert cluster.left_behind() == []


def tango(
    *words: str, stdin: str | None = None, state: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """The real command line in a process of its own."""
    environment = {key: value for key, value in os.environ.items() if key != "TANGO_STATE"}
    if state is not None:
        environment["TANGO_STATE"] = str(state)
    return subprocess.run(
        [sys.executable, "-m", "tango.cli.main", *words],
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
        env=environment,
    )


def wait_for(ready: Callable[[], object], what: str, patience_s: float = PATIENCE_S) -> None:
    """Look again and again: for what the kernel announces to nobody."""
    end = time.monotonic() + patience_s
    while not ready():
        assert time.monotonic() < end, f"waited {patience_s:g} s in vain for {what}"
        time.sleep(POLL_S)


async def until(
    ready: Callable[[], object | Awaitable[object]], what: str, patience_s: float = PATIENCE_S
) -> None:
    """As wait_for, in an event loop; `ready` may be a coroutine function."""
    loop = asyncio.get_running_loop()
    end = loop.time() + patience_s
    while True:
        found = ready()
        if inspect.isawaitable(found):
            found = await found
        if found:
            return
        assert loop.time() < end, f"waited {patience_s:g} s in vain for {what}"
        await asyncio.sleep(POLL_S)


async def service_when(
    client: Client, site: str, name: str, ready: Callable[[ServiceView], object]
) -> ServiceView:
    """The first view of a service for which that holds; awaited, not polled."""
    async with (
        asyncio.timeout(PATIENCE_S),
        contextlib.aclosing(client.edge(site).watch_service(name)) as views,
    ):
        async for view in views:
            if ready(view):
                return view
    raise AssertionError(f"{name} was deleted")


async def ready(client: Client, spec: ServiceSpec) -> ServiceView:
    """Apply at SITE, and wait until every replica is ready."""
    (view,) = await client.apply(spec, sites=[SITE], wait_s=PATIENCE_S)
    return view


async def idle(client: Client, name: str) -> ServiceView:
    """The service at SITE once nothing of it is queued or in flight."""
    view = await client.edge(SITE).service(name)

    async def is_idle() -> bool:
        nonlocal view
        view = await client.edge(SITE).service(name)
        return not view.queued and not view.in_flight

    await until(is_idle, f"{name} to be idle")
    counts = view.counts
    ended = counts.completed + counts.late + counts.rejected + counts.failed
    assert counts.sent == ended, "every call ends in exactly one way"
    return view


async def queued(client: Client, name: str) -> int:
    """How many calls of a service wait at SITE."""
    return (await client.edge(SITE).service(name)).queued


def pids(view: ServiceView) -> set[int]:
    """Of a service's replicas."""
    return {replica.status.pid for replica in view.replicas}


def port_of(view: ServiceView) -> int:
    """Of a service's first replica."""
    return view.replicas[0].status.port


def get(port: int, path: str) -> str:
    """What a replica answers when it is asked behind Tango's back."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        return answer.read().decode()


def seen(port: int) -> dict[str, int]:
    """The counts of replica.py."""
    return json.loads(get(port, "/seen"))


def service(name: str, *argv: str, **changes: Any) -> ServiceSpec:
    """A service of replica.py, or of argv; patient, for the machine is shared."""
    spec = ServiceSpec(
        name,
        argv or (sys.executable, REPLICA),
        memory_bytes=128 * 2**20,
        cpu_per_request_millis=50,
        concurrency=4,
        deadline_s=10.0,
        timeout_s=20.0,
        health=HealthCheck(interval_s=0.5),
        stop_grace_s=1.0,
    )
    return replace(spec, **changes)


def burner(name: str, *options: str, **changes: Any) -> ServiceSpec:
    """A service of the sample that burns CPU."""
    return service(name, sys.executable, "-m", "tango.cli.samples.burner", *options, **changes)


def job(*argv: str, name: str = "job", **changes: Any) -> JobSpec:
    """A job of one small task; fields of the task and of the job by their names."""
    of_task = {key: changes.pop(key) for key in tuple(changes) if key in TaskSpec.__slots__}
    usual = {"cpu_millis": 50, "memory_bytes": 64 * 2**20, "stop_grace_s": 1.0}
    return JobSpec(name, (TaskSpec("main", argv, **(usual | of_task)),), **changes)


def spawn(kind: str, name: str, config: Path, log: Path) -> Any:
    """A daemon as `tango up` starts it."""
    from tango.sdk.embedded import _spawn

    return _spawn(kind, name, config, log)
