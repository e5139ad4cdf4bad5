"""The whole tree of one attempt: finds its processes and signals them, daemons included.

With groups of its own, membership of the group is the truth: nothing leaves it by fork, setsid or
daemonising. Without, a process counts as the attempt's if it is in its session, descends from it,
or was orphaned to the supervisor (a child subreaper, prctl(2)) and carries the attempt's marker in
the environment of its exec.
"""

from __future__ import annotations

import contextlib
import os
import signal

from . import proc
from .spec import MARKER


class Tree:
    """The processes of one attempt.

    pid, start_time: its first process. cgroup_dirs: groups that are its alone.
    reapers: who adopts its orphans.
    """

    __slots__ = ("_marker", "cgroup_dirs", "pid", "reapers", "start_time")

    def __init__(self, key: str, pid: int, start_time: int, cgroup_dirs: list[str]) -> None:
        self.pid = pid
        self.start_time = start_time
        self.cgroup_dirs = cgroup_dirs
        self.reapers = {os.getpid()}
        self._marker = f"{MARKER}={key}".encode("ascii")

    def members(self, *, thorough: bool = False) -> set[int]:
        """Ids of its live processes. thorough: look beyond the groups even if there are any."""
        found = group_members(self.cgroup_dirs) - {0, 1, os.getpid()}
        if thorough or not self.cgroup_dirs:
            found |= self._scan()
        elif proc.same(self.pid, self.start_time):
            found.add(self.pid)
        return found

    def signal(self, number: int) -> None:
        """Send once to every member, then SIGCONT, as a stopped process heeds no other signal.

        The process group gets it in one go, so that none forks away.
        """
        in_group = self._signal_group(number)
        for pid in self.members():
            found = proc.stat(pid) if in_group else None
            if found is None or found.pgrp != self.pid:
                send(pid, number)
            send(pid, signal.SIGCONT)

    def kill(self, *, thorough: bool = True) -> None:
        """SIGKILL to all of it; call again until members() is empty."""
        self._signal_group(signal.SIGKILL)
        for path in self.cgroup_dirs:
            kill_group(path)
        for pid in self.members(thorough=thorough):
            send(pid, signal.SIGKILL)

    def overlaps(self, path: str) -> bool:
        """True if the group is one of its groups, or lies in one, or one lies in it."""
        mine = [each.rstrip("/") + "/" for each in self.cgroup_dirs]
        path = path.rstrip("/") + "/"
        return any(path.startswith(each) or each.startswith(path) for each in mine)

    def _leader_is_ours(self) -> bool:
        """False once the pid is somebody else's: then session and group of that number are too."""
        leader = proc.stat(self.pid)
        return leader is None or leader.start_time == self.start_time

    def _signal_group(self, number: int) -> bool:
        if not self._leader_is_ours():
            return False
        try:
            os.killpg(self.pid, number)
        except (ProcessLookupError, PermissionError):
            return False
        return True

    def _scan(self) -> set[int]:
        everyone = list(proc.scan())
        leader = next((each for each in everyone if each.pid == self.pid), None)
        ours = leader is None or leader.start_time == self.start_time
        found = set()
        for each in everyone:
            if (ours and (each.pid == self.pid or each.session == self.pid)) or (
                each.ppid in self.reapers
                and each.alive
                and proc.started_with(each.pid, self._marker)
            ):
                found.add(each.pid)
        grown = True
        while grown:
            more = {each.pid for each in everyone if each.ppid in found} - found
            found |= more
            grown = bool(more)
        dead = {each.pid for each in everyone if not each.alive}
        return found - dead - {os.getpid()}


def group_members(dirs: list[str]) -> set[int]:
    """Ids of the live processes in the groups and in groups below them; none for a missing group.

    A process of another pid namespace has id 0 here (cgroups(7)).
    """
    found: set[int] = set()
    for top in dirs:
        for path, _, _ in os.walk(top):
            try:
                with open(f"{path}/cgroup.procs", "rb") as file:
                    found.update(map(int, file.read().split()))
            except OSError:  # removed meanwhile, or a threaded group, whose parent lists it
                continue
    return found


def kill_group(path: str) -> None:
    """cgroup.kill of cgroup v2: all of a group and below at once; nothing where there is none."""
    try:
        fd = os.open(f"{path}/cgroup.kill", os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        os.write(fd, b"1")
    except OSError:  # a threaded group refuses; its members are signalled one by one
        pass
    finally:
        os.close(fd)


def send(pid: int, number: int) -> None:
    """Signal one process; fine if it is gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)
