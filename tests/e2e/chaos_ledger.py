"""What the tasks themselves say of their runs: a ledger that no daemon of Tango can falsify.

Each task holds a lock on a file of its job's while any process of it lives, so that a second run of
the job beside the first finds the lock taken; and it adds a line, in one O_APPEND write, when it
begins and when it ends.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from tango.model.job import JobRecord, JobState

# $0 the ledger, $1 the directory of locks, $2 the job, $3 how long, $4 the exit code.
SCRIPT = """
exec 9>"$1/$2"
flock -n 9 || echo "double $2 $TANGO_ATTEMPT $$" >>"$0"
echo "start $2 $TANGO_ATTEMPT $$" >>"$0"
sleep "$3"
echo "end $2 $TANGO_ATTEMPT $$" >>"$0"
exit "$4"
"""
FAILS = 7
# Reasons for which Tango itself may end an attempt whose supervisor died.
LOST = ("nobody", "lost", "supervisor", "killed by signal 9")


@dataclass
class Ledger:
    """Lines (word, job, attempt, pid) in the order in which they were written."""

    path: Path
    locks: Path
    lines: list[tuple[str, str, str, str]] = field(default_factory=list)

    def argv(self, job: str, seconds: float, exit_code: int) -> tuple[str, ...]:
        """The program of one task."""
        words = (str(self.path), str(self.locks), job, f"{seconds:.3f}", str(exit_code))
        return ("/bin/sh", "-c", SCRIPT, *words)

    def read(self) -> None:
        """Take in what is there."""
        text = self.path.read_text() if self.path.exists() else ""
        self.lines = [tuple(line.split()) for line in text.splitlines()]  # type: ignore[misc]

    def of(self, job: str) -> list[str]:
        """The lines of one job."""
        return [" ".join(line) for line in self.lines if line[1] == job]

    def ran_twice(self) -> dict[str, str]:
        """job -> what is wrong: two runs at once, or an attempt that began or ended twice."""
        wrong: dict[str, str] = {}
        for word, job, attempt, pid in self.lines:
            if word == "double":
                wrong[job] = f"{attempt} (pid {pid}) ran beside another run of the job"
        counts = Counter((word, job, attempt) for word, job, attempt, _ in self.lines)
        for (word, job, attempt), count in counts.items():
            if count > 1:
                wrong[job] = f"attempt {attempt} has {count} lines {word!r}"
        return wrong

    def untrue(self, jobs: dict[str, JobRecord], fails: set[str]) -> dict[str, str]:
        """job -> what its record says that the ledger does not bear out. Keys: submission ids."""
        ends: defaultdict[str, list[str]] = defaultdict(list)
        starts: defaultdict[str, list[str]] = defaultdict(list)
        for word, job, attempt, _ in self.lines:
            if word in ("start", "end"):
                (starts if word == "start" else ends)[job].append(attempt)
        wrong = {}
        for name, record in jobs.items():
            task = record.tasks[0]
            if record.state is JobState.SUCCEEDED:
                if name in fails:
                    wrong[name] = f"it exits with {FAILS}, and is said to have succeeded"
                elif task.attempt_id not in ends[name]:
                    wrong[name] = f"said to have succeeded, but {task.attempt_id} has no end"
            elif record.state is JobState.FAILED:
                expected = f"exit code {FAILS}"
                if expected in record.reason and name not in fails:
                    wrong[name] = f"said to have failed with {record.reason!r}: it never does"
                elif expected not in record.reason and not any(w in record.reason for w in LOST):
                    wrong[name] = f"failed: {record.reason!r}"
            elif record.state.ended:
                wrong[name] = f"is {record.state.value}: nobody asked for that"
            if len(starts[name]) > task.attempt:
                wrong[name] = f"{len(starts[name])} runs, and {task.attempt} attempts are recorded"
        return wrong
