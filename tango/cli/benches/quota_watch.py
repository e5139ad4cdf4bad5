"""Watches quota files of the kernel for the moment at which one changes; standard library only.

python -m tango.cli.benches.quota_watch FILE...

Each line "N" on stdin watches the N-th file (from 0): prints "base" once its value is what it was
at the start, then "MOMENT GAP" when it has changed: CLOCK_MONOTONIC in ns after the read that
showed it, and how long before that the last unchanged read had begun. A file of cgroupfs tells
nobody that it changes, so it is read again and again; the pause between leaves a core to others.
A process of its own, since in the benchmark's the interpreter lock would hide milliseconds.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import time

PAUSE_S = 30e-6
TIMEOUT_S = 5.0
PR_SET_TIMERSLACK = 29


def watch(fd: int, base: bytes) -> str:
    """Wait for base, say so, wait for another value."""
    end = time.monotonic() + TIMEOUT_S
    while os.pread(fd, 64, 0) != base:
        if time.monotonic() > end:
            return "the quota does not return to its base"
        time.sleep(0.005)
    print("base", flush=True)
    end = time.monotonic() + TIMEOUT_S
    last = time.monotonic_ns()
    while True:
        begun = time.monotonic_ns()
        value = os.pread(fd, 64, 0)
        if value != base:
            now = time.monotonic_ns()
            return f"{now} {now - last}"
        last = begun
        if begun > end * 1e9:
            return "the quota did not change"
        time.sleep(PAUSE_S)


def main(paths: list[str]) -> None:
    """Until stdin ends."""
    # When this process is late, that is no lateness of what it watches.
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, -15)
    # The kernel may otherwise lengthen each pause by 50 us.
    ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0)
    files = [os.open(path, os.O_RDONLY | os.O_CLOEXEC) for path in paths]
    bases = [os.pread(fd, 64, 0) for fd in files]
    for line in sys.stdin:
        index = int(line)
        print(watch(files[index], bases[index]), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
