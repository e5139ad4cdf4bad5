"""A process as a Runtime is asked to run it, and as it reports it."""

from __future__ import annotations

from dataclasses import dataclass

from tango.model.job import Checkpoint


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """One process tree. key: unique for ever ([A-Za-z0-9._-], 128 at most); a repeat runs nothing.

    group: cgroup name relative to the node's root, "" where there are no cgroups.
    port: None for no port, 0 for a free one, else that one. Where there is one, "{port}" and
    "{host}" in argv and env values are replaced, and PORT and HOST set.
    ports: fixed ones, beside no `port`: the first is told as that is, all of them in PORTS.
    host: the address to listen on. restore: begin from this checkpoint instead of from argv.
    best_effort: raises oom_score_adj to 1000 and lowers the priority where cgroups cannot.
    meta: small strings kept with the record, so that a restarted worker knows what it adopted.
    """

    key: str
    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...]
    group: str
    port: int | None
    best_effort: bool
    meta: tuple[tuple[str, str], ...] = ()
    host: str = "127.0.0.1"
    restore: Checkpoint | None = None
    ports: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ProcessRecord:
    """What the runtime knows of a process. Times are unix seconds; ended_at is 0 while it runs.

    lost: it ended while nobody could see its exit code. shut_down: it was stopped because what runs
    it was, not because anybody wanted its end. checkpoint: it ended because its state was
    written to disk.
    """

    key: str
    pid: int
    started_at: float
    meta: tuple[tuple[str, str], ...] = ()
    ended_at: float = 0.0
    exit_code: int | None = None
    signal: int = 0
    cpu_s: float = 0.0
    lost: bool = False
    shut_down: bool = False
    checkpoint: Checkpoint | None = None

    @property
    def ended(self) -> bool:
        """Whether it runs no more."""
        return self.ended_at > 0
