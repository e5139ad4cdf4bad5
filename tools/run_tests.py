"""Runs the test files over several pytest processes at once; for tools/test.

One that dies or hangs costs its own files only: they are run once more, and it is told what ended
it. (pytest-xdist 3.8 waits for ever when a worker dies near the end of `--dist loadfile`.)
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from dataclasses import dataclass
from pathlib import Path

# Files to a process, by folder, in the order in which they are begun: what takes longest first.
# A process takes a second to start, so that small files share one.
FOLDERS = {"e2e": 2, "sim": 2, "contract": 5, "rpc": 5, "property": 10, "unit": 40}
LIMIT_S = 600.0
TRIES = 2
_NOTHING_SELECTED = 5
_COUNT = re.compile(r"(\d+) (passed|failed|skipped|errors?|rerun|deselected|xfailed|xpassed)")


@dataclass
class Batch:
    """Files for one pytest process, and how often it was tried."""

    number: int
    files: list[str]
    tries: int = 0


class Run:
    """All batches, what is left of them, and what was counted."""

    def __init__(self, batches: list[Batch], base: Path, pytest_arguments: list[str]) -> None:
        self._waiting = deque(batches)
        self._total = len(batches)
        self._base = base
        self._arguments = pytest_arguments
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._ended = 0
        self.stopped = False
        self.counts: Counter[str] = Counter()
        self.failed: list[str] = []
        self.again: list[str] = []

    def work(self) -> None:
        """Take batches until none is left; the body of each thread."""
        while True:
            with self._lock:
                if not self._waiting or self.stopped:
                    return
                batch = self._waiting.popleft()
            self._try(batch)

    def left(self) -> int:
        """Batches that no process has brought to its end."""
        return self._total - self._ended

    def stop(self) -> None:
        """End what runs, begin nothing more."""
        with self._lock:
            self.stopped = True
            for process in self._running:
                _end(process)

    def _try(self, batch: Batch) -> None:
        batch.tries += 1
        log = self._base / f"{batch.number}-{batch.tries}.log"
        begun = time.monotonic()
        command = [sys.executable, "-m", "pytest", *batch.files, *self._arguments]
        command += ["--basetemp", str(self._base / f"{batch.number}-{batch.tries}")]
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )
            with self._lock:
                self._running.add(process)
            how = ""
            try:
                status = process.wait(LIMIT_S)
            except subprocess.TimeoutExpired:
                how = f"did not end within {LIMIT_S:g} s"
                _end(process)
                status = process.wait()
        with self._lock:
            self._running.discard(process)
            if not self.stopped:
                if status < 0 and not how:
                    how = f"was ended by {signal.Signals(-status).name}"
                text = log.read_text("utf-8", "replace")
                self._tell(batch, text, status, how, time.monotonic() - begun)

    def _tell(self, batch: Batch, text: str, status: int, how: str, took_s: float) -> None:
        if how:
            print(f"=== pytest {how}:\n{text}\n{_kernel_says()}", flush=True)
            if batch.tries < TRIES:
                self.again.append(f"{' '.join(batch.files)}: pytest {how}")
                self._waiting.append(batch)
                return
        self._ended += 1
        last = text.rstrip().rpartition("\n")[2]
        for number, kind in _COUNT.findall(last):
            self.counts[kind] += int(number)
        names = ", ".join(Path(file).name for file in batch.files[:2])
        more = f" and {len(batch.files) - 2} more" if len(batch.files) > 2 else ""
        print(
            f"[{self._ended:3}/{self._total}] {took_s:5.1f} s  {names}{more}: {last.strip('= ')}",
            flush=True,
        )
        again = [line[6:] for line in text.splitlines() if line.startswith("RERUN ")]
        self.again += again
        failed = status not in (0, _NOTHING_SELECTED)
        if failed:
            named = [line[7:] for line in text.splitlines() if line.startswith("FAILED ")]
            self.failed += named or batch.files
        if failed or again:
            print(text, flush=True)


def batches_of(root: Path, folders: list[str]) -> list[Batch]:
    """Test files of these folders (all, if none is named), in the order in which they begin."""
    found: list[Batch] = []
    for folder, size in FOLDERS.items():
        if folders and folder not in folders:
            continue
        files = [str(path) for path in sorted((root / folder).rglob("test_*.py"))]
        for start in range(0, len(files), size):
            found.append(Batch(len(found), files[start : start + size]))
    listed = sum(len(batch.files) for batch in found)
    if not folders and listed != len(list(root.rglob("test_*.py"))):
        raise SystemExit(f"{root} has test files outside {', '.join(FOLDERS)}")
    return found


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _kernel_says() -> str:
    """The last lines of the kernel's log: whether it was the one that killed."""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(["dmesg"], capture_output=True, text=True, timeout=10, check=False)
        return "the kernel's last lines:\n" + "\n".join(done.stdout.splitlines()[-15:])
    return ""


def main() -> int:
    """0 if all passed, 1 if not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=3, help="pytest processes at once")
    parser.add_argument("--base", type=Path, required=True, help="where their files go")
    parser.add_argument("--folder", action="append", default=[], choices=FOLDERS, help="only these")
    parser.add_argument("pytest", nargs="*", help="after --: arguments of each pytest")
    arguments = parser.parse_args()
    arguments.base.mkdir(parents=True, exist_ok=True)
    run = Run(batches_of(Path("tests"), arguments.folder), arguments.base, arguments.pytest)
    threads = [threading.Thread(target=run.work) for _ in range(arguments.jobs)]
    begun = time.monotonic()
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    except KeyboardInterrupt:
        run.stop()
        return 130
    for line in run.again:
        print(f"RUN AGAIN {line}")
    for name in run.failed:
        print(f"FAILED {name}")
    counted = ", ".join(f"{number} {kind}" for kind, number in sorted(run.counts.items()))
    print(f"{counted} in {time.monotonic() - begun:.0f} s")
    if run.left():
        print(f"{run.left()} batches of files were not run")
    return 1 if run.failed or run.left() else 0


if __name__ == "__main__":
    sys.exit(main())
