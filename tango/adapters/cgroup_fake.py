"""Control groups in memory: the real v1 driver on a pretended kernel, without root."""

from __future__ import annotations

from pathlib import Path

from tango.adapters.cgroup_fake_kernel import BASE, FakeKernel
from tango.adapters.cgroup_v1 import CONTROLLERS, CgroupV1


class FakeCgroups(CgroupV1):
    """The v1 driver on a `FakeKernel`, plus what a test or a simulator makes happen.

    cores: cores of the pretended machine.
    """

    def __init__(self, root: str = "tango", *, cores: int = 4) -> None:
        self._kernel = FakeKernel(cores)
        super().__init__({name: Path(BASE, name) for name in CONTROLLERS}, root, self._kernel)

    @property
    def n_writes(self) -> int:
        """Writes that the kernel took so far."""
        return self._kernel.n_writes

    def spend(
        self,
        group: str,
        *,
        cpu_s: float = 0.0,
        memory_bytes: int | None = None,
        n_oom_kills: int = 0,
    ) -> None:
        """Let the group use CPU and be at `memory_bytes`; its parents count CPU and memory too."""
        before = self.usage(group)
        delta = 0 if memory_bytes is None else memory_bytes - before.memory_bytes
        parts = group.split("/") if group else []
        for depth in range(len(parts) + 1):
            name = "/".join(parts[:depth])
            used = self.usage(name)
            self._put("cpuacct", name, "cpuacct.usage", round((used.cpu_s + cpu_s) * 1e9))
            self._put("memory", name, "memory.usage_in_bytes", used.memory_bytes + delta)
        oom = f"oom_kill_disable 0\nunder_oom 0\noom_kill {before.n_oom_kills + n_oom_kills}"
        self._kernel.put(f"{self._dir('memory', group)}/memory.oom_control", oom)

    def throttle(self, group: str, *, n_periods: int, n_throttled: int, throttled_s: float) -> None:
        """Count periods with a quota, those in which it ran out, and the time stood still."""
        used = self.usage(group)
        stat = {
            "nr_periods": used.n_periods + n_periods,
            "nr_throttled": used.n_throttled + n_throttled,
            "throttled_time": round((used.throttled_s + throttled_s) * 1e9),
        }
        text = "\n".join(f"{key} {value}" for key, value in stat.items())
        self._kernel.put(f"{self._dir('cpu', group)}/cpu.stat", text)

    def exit(self, pid: int) -> None:
        """The process ends and leaves its group."""
        self._kernel.leave(pid)

    def kill(self, group: str) -> None:
        """Every process in the group and below ends; no real process is touched."""
        for pid in self._procs_within(group):
            self._kernel.leave(pid)

    def _put(self, controller: str, group: str, file: str, value: int) -> None:
        self._kernel.put(f"{self._dir(controller, group)}/{file}", str(value))
