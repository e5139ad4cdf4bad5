"""Measures what best-effort priority is worth here, before anybody claims that it is worth much.

nice and SCHED_IDLE between two sessions do nothing while the kernel's autogroup is on and theirs
stays at its default (sched(7), "The autogroup feature"), and a container may refuse any of them.
So two processes are started just as payload is, one of each kind, on one core.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from pathlib import Path

from tango.adapters.process_runtime import ProcessRuntime
from tango.model.process import ProcessSpec
from tango.ports import StartFailed

# Equal shares would be 0.5; SCHED_IDLE alone in a neighbouring autogroup of nice 19 gets 0.02.
PRIORITY_SHARE = 0.2
MEASURE_S = 0.4
_SPIN = ("/bin/sh", "-c", "while :; do :; done")


async def best_effort_share(runtime: ProcessRuntime, seconds: float = MEASURE_S) -> float:
    """The part of one core that a busy BE process gets beside a busy LC one, 0 to 1.

    1.0 where it cannot be found out: the processes did not start, or did not run.
    """
    # A key is used once only, also by a worker with the same pid.
    number = secrets.token_hex(6)
    names = {f"priority-check-{number}-{side}": side == "be" for side in ("lc", "be")}
    core = max(os.sched_getaffinity(0))
    pids: dict[bool, int] = {}
    try:
        for key, best_effort in names.items():
            spec = ProcessSpec(key, _SPIN, (), "", None, best_effort)
            record, _ = await runtime.start(spec)
            os.sched_setaffinity(record.pid, {core})
            pids[best_effort] = record.pid
        before = {kind: _cpu_ns(pid) for kind, pid in pids.items()}
        await asyncio.sleep(seconds)
        used = {kind: _cpu_ns(pid) - before[kind] for kind, pid in pids.items()}
    except (StartFailed, OSError):
        return 1.0
    finally:
        for key in names:
            await _end(runtime, key)
    total = sum(used.values())
    return used[True] / total if total else 1.0


def _cpu_ns(pid: int) -> int:
    """Time on a CPU in nanoseconds (kernel doc scheduler/sched-stats, /proc/PID/schedstat)."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])


async def _end(runtime: ProcessRuntime, key: str) -> None:
    await runtime.stop(key, 0.0)
    for _ in range(200):
        found = [record for record in await runtime.list() if record.key == key]
        if all(record.ended for record in found):
            break
        await asyncio.sleep(0.01)
    await runtime.forget(key, keep_log=False)
