"""Programs that a benchmark needs beside it: started, waited for, ended with it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import IO

from tango.cli.benches.figures import BenchFailed
from tango.sdk.embedded import EmbeddedCluster

STOP_S = 10.0


@contextlib.contextmanager
def program(
    module: str, arguments: Sequence[str], *, stderr: IO[bytes] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """`python -m module arguments`, its stdout a pipe; ended by SIGTERM, killed if it stays."""
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        # A Ctrl-C is for the benchmark, which then ends its programs in order.
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.communicate(timeout=STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def next_line(process: subprocess.Popen[str]) -> str:
    """The next line that it prints. Raises BenchFailed where it ends instead."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise BenchFailed(f"{process.args!r} ended with {process.wait()}")
    return line.strip()


@contextlib.contextmanager
def scratch_dir() -> Iterator[Path]:
    """A directory for sockets, stores and logs; gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="tango-bench-") as name:
        yield Path(name)


@contextlib.contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """SIGTERM ends the benchmark as Ctrl-C does: what it started is stopped first."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def cluster_of_one() -> Iterator[EmbeddedCluster]:
    """An embedded cluster of one site and one worker, with a state directory of its own."""
    with ended_by_sigterm(), scratch_dir() as directory:
        cluster = EmbeddedCluster(directory)
        cluster.start(sites=1, workers_per_site=1)
        try:
            yield cluster
        finally:
            cluster.stop()


def stop_and_wait(pid: int, within_s: float = 60.0) -> None:
    """SIGTERM to a process that is not ours to reap, until it is gone; BenchFailed if it stays."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    limit = time.monotonic() + within_s
    while Path(f"/proc/{pid}/exe").exists():
        if time.monotonic() > limit:
            raise BenchFailed(f"process {pid} does not stop")
        time.sleep(0.02)


def free_port() -> int:
    """A port of loopback that nobody has now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port
