"""Kills daemons at random with SIGKILL and, as systemd would, starts them again a moment later."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import socket
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from cluster_at_work import ClusterAtWork

from tango.sdk.embedded_ready import listens
from tango.sdk.processes import ended_early

# systemd's RestartSec unless a unit says otherwise.
RESTART_S = 0.1
ONLY_SERVING = 0.8


@dataclass(frozen=True)
class Kill:
    """One SIGKILL. at: seconds since the run began; down: what else was down then.

    serving: it was up; else it died while it was still starting.
    """

    number: int
    at: float
    target: str
    pid: int
    serving: bool
    down: tuple[str, ...]


@dataclass
class Keeper:
    """Targets: central, site-X, node-X, supervisor-X. A supervisor is started again by its worker.

    died: daemons that ended though nobody killed them, with their last words: each is a defect.
    """

    cluster: ClusterAtWork
    random: random.Random
    begun: float
    kills: list[Kill] = field(default_factory=list)
    died: list[str] = field(default_factory=list)
    _killed: dict[str, int] = field(default_factory=dict)
    _down_since: dict[str, float] = field(default_factory=dict)
    _addresses: dict[str, str] = field(default_factory=dict)

    def targets(self) -> dict[str, int]:
        """What lives: name -> process id."""
        found = {member.name: member.pid for member in self.cluster._members() if member.alive()}
        for directory in self.cluster.state_dir.glob("node-*"):
            pid = supervisor_pid(directory / "supervisor")
            if pid:
                found[directory.name.replace("node-", "supervisor-")] = pid
        return found

    def strike(self) -> list[Kill]:
        """Kill one to three at once; mostly what is up, now and then what is still starting."""
        targets = self.targets()
        if self.random.random() < ONLY_SERVING:
            targets = {name: pid for name, pid in targets.items() if self._serves(name)}
        kinds: dict[str, list[str]] = {}
        for name in sorted(targets):
            kinds.setdefault(name.partition("-")[0], []).append(name)
        count = self.random.choices((1, 2, 3), (6, 3, 1))[0]
        chosen: list[str] = []
        for _ in range(count):
            if not kinds:
                break
            # Supervisors twice as often: they are what holds the payload.
            weights = [2 if kind == "supervisor" else 1 for kind in sorted(kinds)]
            kind = self.random.choices(sorted(kinds), weights)[0]
            chosen.append(kinds[kind].pop(self.random.randrange(len(kinds[kind]))))
            if not kinds[kind]:
                del kinds[kind]
        struck = []
        for name in chosen:
            pid = targets[name]
            serving = self._serves(name)
            with contextlib.suppress(psutil.NoSuchProcess):
                # Alive a moment ago and, unless it is our own child, not reaped by us since.
                psutil.Process(pid).send_signal(signal.SIGKILL)
            self._killed[name] = pid
            at = time.monotonic() - self.begun
            kill = Kill(len(self.kills) + 1, round(at, 3), name, pid, serving, tuple(self.down()))
            self.kills.append(kill)
            struck.append(kill)
        return struck

    def _serves(self, name: str) -> bool:
        if name.startswith("supervisor-"):
            node = name.replace("supervisor-", "node-")
            path = self.cluster.state_dir / node / "supervisor" / "supervisor.sock"
            with socket.socket(socket.AF_UNIX) as probe:
                return probe.connect_ex(str(path)) == 0
        if not self._addresses:
            self._addresses = {one.name: one.listen for one in self.cluster.daemons()}
        return listens(self._addresses[name])

    def down(self) -> list[str]:
        """Daemons that do not run now."""
        return sorted(self.cluster.dead())

    async def keep(self) -> None:
        """Start again whatever has died, for ever."""
        while True:
            now = time.monotonic()
            dead = set(self.cluster.dead())
            for name in list(self._down_since):
                if name not in dead:
                    del self._down_since[name]
            for name in sorted(dead):
                since = self._down_since.setdefault(name, now)
                if now - since < RESTART_S:
                    continue
                (member,) = [one for one in self.cluster._members() if one.name == name]
                if self._killed.get(name) != member.pid:
                    at = f"{now - self.begun:.3f}"
                    self.died.append(f"{at} s: {name} (pid {member.pid}): {ended_early(member)}")
                self.cluster.start_again(name)
                del self._down_since[name]
            await asyncio.sleep(0.03)


def supervisor_pid(state: Path) -> int:
    """Process id of the supervisor of this state directory, 0 where none lives."""
    try:
        pid = int((state / "lock").read_text())
        process = psutil.Process(pid)
        alive = process.status() != psutil.STATUS_ZOMBIE
        return pid if alive and process.cmdline()[-2:] == ["--state", str(state)] else 0
    except (OSError, ValueError, psutil.Error):
        return 0
