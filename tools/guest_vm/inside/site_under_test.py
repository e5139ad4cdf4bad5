"""The site in the guest: its units as systemd sees them, its payload as the kernel does."""

from __future__ import annotations

import json
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tango import CallFailed, SyncClient
from tango.model.errors import TangoError
from tango.model.job import JobRecord

HERE = Path(__file__).parent
PLAN = json.loads((HERE / "plan.json").read_text())
RESULTS = Path("/var/lib/guest/results")
KEPT = Path("/var/lib/guest/kept.json")  # what the tests after the reboot have to know
UNITS = ("tango-central", "tango-edge", "tango-payload", "tango-worker")
PAYLOAD = Path("/sys/fs/cgroup/tango.slice/tango-payload.service")
TREE = PAYLOAD / "tango"
# Emulated, Python alone takes seconds to start.
PATIENCE_S = 400.0
SERVICE = """
kind: Service
name: hello
argv: [/usr/bin/python3, -S, -m, http.server, "{port}", --bind, "{host}"]
replicas: 2
concurrency: 4
cpu_per_request: 50m
memory: 64Mi
deadline_ms: 20000
timeout_ms: 30000
idempotent: true
health: {path: /, interval_ms: 2000, timeout_ms: 5000, failures: 5, start_timeout_ms: 120000}
"""
JOB = """
kind: Job
name: {name}
argv: {argv}
cpu: 100m
memory: {memory}
retries: {retries}
backoff_s: 1
"""


def said(text: str) -> None:
    """A line for who watches."""
    with Path("/dev/console").open("w") as console, suppress(OSError):
        console.write(f"@guest   {text}\n")


def sh(*argv: str, limit_s: float = 900.0, check: bool = True) -> str:
    done = subprocess.run(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=limit_s,
        check=False,
    )
    assert not check or done.returncode == 0, f"{argv}: {done.returncode}\n{done.stdout}"
    return done.stdout


def eventually(true: Callable[[], object], what: str, patience_s: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + patience_s
    while not true():
        assert time.monotonic() < deadline, f"not within {patience_s:.0f} s: {what}"
        time.sleep(0.2)


def shown(unit: str, name: str) -> str:
    """One property of a unit."""
    return sh("systemctl", "show", "--value", "-p", name, unit).strip()


def main_pid(unit: str) -> int:
    return int(shown(unit, "MainPID"))


def active(unit: str) -> bool:
    return sh("systemctl", "is-active", unit, check=False).strip() == "active"


def pids(below: Path) -> dict[str, tuple[int, ...]]:
    """Processes of each group below, by its path from there; empty groups left out."""
    found = {}
    for file in sorted(below.rglob("cgroup.procs")):
        with suppress(OSError):  # a group with controllers for children may not be read so
            inside = tuple(sorted(int(line) for line in file.read_text().split()))
            if inside:
                found[str(file.parent.relative_to(below))] = inside
    return found


def start_time(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]


def identities(below: Path) -> dict[str, tuple[tuple[int, str], ...]]:
    """As pids, with start times: who is the same is the same process."""
    return {
        name: tuple((pid, start_time(pid)) for pid in found) for name, found in pids(below).items()
    }


def client() -> SyncClient:
    return SyncClient("/etc/tango")


def carried() -> float:
    """How many requests the edge has carried to replicas itself."""
    token = Path("/etc/tango/token").read_text().strip()
    request = urllib.request.Request(
        "http://127.0.0.1:7411/metrics", headers={"Authorization": f"Bearer {token}"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("tango_served_total"))


def call() -> str:
    """One call; "" if it came back well, else why not."""
    try:
        with client() as tango:
            reply = tango.call("hello")
    except (TangoError, CallFailed) as error:
        return str(error) or repr(error)
    return "" if reply.http_status == 200 else f"HTTP {reply.http_status}"


def calls_work(patience_s: float = PATIENCE_S) -> float:
    """Seconds until a call comes back well."""
    started = time.monotonic()
    last = ""

    def works() -> bool:
        nonlocal last
        last = call()
        return not last

    deadline = started + patience_s
    while not works():
        assert time.monotonic() < deadline, f"no call came back well: {last}"
        time.sleep(0.2)
    return time.monotonic() - started


def submit(name: str, *argv: str, memory: str = "64Mi", retries: int = 0) -> str:
    text = JOB.format(name=name, argv=json.dumps(argv), memory=memory, retries=retries)
    path = Path(f"/run/{name}.yaml")
    path.write_text(text)
    with client() as tango:
        return tango.submit(path).job_id


def job(job_id: str) -> JobRecord | None:
    """As central has it; None while it cannot be asked."""
    try:
        with client() as tango:
            return tango.job(job_id)
    except TangoError:
        return None


class Caller:
    """Calls all the time from a thread; what came back, and how long the longest silence was."""

    def __init__(self) -> None:
        self.n_well = 0
        self.problems: list[str] = []
        self.longest_s = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Caller:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        last = time.monotonic()
        with client() as tango:
            while not self._stop.is_set():
                try:
                    tango.call("hello")
                    self.n_well += 1
                    last = time.monotonic()
                except (TangoError, CallFailed) as error:
                    self.problems.append(str(error) or repr(error))
                self.longest_s = max(self.longest_s, time.monotonic() - last)
                time.sleep(0.1)

    def summary(self) -> str:
        return (
            f"{self.n_well} calls well, {len(self.problems)} not, "
            f"longest without one {self.longest_s:.1f} s"
        )
