"""Processes of an embedded cluster: known by pid and start time, ended in order, told apart."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from tango.adapters.supervisor_start import ensure_supervisor

LOG_TAIL_BYTES = 2000


# Exit statuses of our own children, by pid and start time: the kernel tells them once.
_STATUSES: dict[tuple[int, int], int] = {}


@dataclass(frozen=True, slots=True)
class Member:
    """One daemon. start_time: field 22 of /proc/PID/stat, so that a recycled pid is not ours."""

    kind: str
    name: str
    pid: int
    start_time: int
    log: str

    @classmethod
    def of(cls, kind: str, name: str, pid: int, log: str) -> Member:
        """The process as it is now."""
        return cls(kind, name, pid, _start_time(pid), log)

    def alive(self) -> bool:
        """Whether it still runs; reaps it if it is our own dead child."""
        with contextlib.suppress(ChildProcessError):
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                _STATUSES[self.pid, self.start_time] = os.waitstatus_to_exitcode(status)
        return self.start_time != 0 and _start_time(self.pid) == self.start_time

    def signal(self, number: int) -> None:
        """Send, unless it is gone."""
        if self.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def cpu_s(self) -> float:
        """CPU seconds that it has used; 0 once it is gone."""
        fields = _stat(self.pid) if self.alive() else []
        # utime and stime, see proc_pid_stat(5).
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") if fields else 0.0

    def to_dict(self) -> dict[str, object]:
        """For processes.json."""
        return asdict(self)


def end_members(members: list[Member], grace_s: float) -> None:
    """TERM to all, KILL to what is left after the grace; returns when none lives."""
    for member in members:
        member.signal(signal.SIGTERM)
    end = time.monotonic() + grace_s
    while any(member.alive() for member in members):
        if time.monotonic() > end:
            for member in members:
                member.signal(signal.SIGKILL)
            end = time.monotonic() + grace_s
        time.sleep(0.02)


def how_ended(member: Member) -> str:
    """How a daemon ended that is not alive: by which signal, or with which words.

    Only its parent learns of a signal; to others its log has to do.
    """
    status = _STATUSES.get((member.pid, member.start_time))
    if status is not None and status < 0:
        return f"was killed by signal {-status}"
    return f"ended: {ended_early(member)}"


def ended_early(member: Member) -> str:
    """What a daemon said last: its plain line for people if there is one, else its log's end."""
    try:
        with Path(member.log).open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - LOG_TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return f"its log {member.log} cannot be read"
    for line in reversed(lines):
        if line.startswith(f"tango {member.kind}: "):
            return line.removeprefix(f"tango {member.kind}: ")
    return lines[-1] if lines else f"it said nothing in {member.log}"


def supervisor_shutdown(node_dir: Path, grace_s: float) -> None:
    """Ask the node's supervisor to stop all payload and itself; fine if there is none.

    One that was killed is started once more: it knows from its records what it ran, and stops it.
    """
    state = node_dir / "supervisor"
    if not any(state.glob("runs/*.json")) and not (state / "supervisor.sock").exists():
        return
    path = ensure_supervisor(state)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(grace_s + 20)
        try:
            sock.connect(str(path))
            request = {"id": 1, "op": "shutdown", "grace_s": grace_s}
            sock.sendall(json.dumps(request).encode() + b"\n")
            # It closes the connection when it is done and gone.
            while sock.recv(65536):
                pass
        except (FileNotFoundError, ConnectionError, TimeoutError):
            return


def daemons_of(configs: Path) -> list[Member]:
    """Daemons that run with a configuration of this directory, whoever started them."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            argv = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if "tango.daemons" in argv and argv[-3:-2] == ["-c"] and argv[-1] == "":
            config = Path(argv[-2])
            if config.parent == configs:
                kind, name = argv[-4], config.stem
                found.append(Member.of(kind, name, int(process.name), ""))
    return found


def _start_time(pid: int) -> int:
    fields = _stat(pid)
    return 0 if not fields or fields[0] == "Z" else int(fields[19])


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the state on, which is the third; [] where there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
