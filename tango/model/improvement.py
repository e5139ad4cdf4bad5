"""A better place for tasks with bounds and backups: what is wished of each, and what it brings."""

from __future__ import annotations

import enum
from dataclasses import dataclass

# Tasks that are stopped at most, where nobody says how many.
DEFAULT_MAX_MOVES = 10


@dataclass(frozen=True, slots=True)
class Wish:
    """Where a task that runs shall be, and where its backup, "" for none; nodes are "edge/node".

    A task that is there already only gets another backup. warning: as in BoundRecord.
    """

    task: str
    node: str
    backup: str
    warning: str = ""


@dataclass(frozen=True, slots=True)
class BoundTotals:
    """How good a state is, over all tasks with a bound or a backup that are not queued.

    placed: that have a node. unprotected: of these, that want a backup and have none. outside: that
    are outside their bound. reserved: room kept for backups.
    """

    tasks: int = 0
    placed: int = 0
    unprotected: int = 0
    outside: int = 0
    reserved_millis: int = 0
    reserved_bytes: int = 0

    def better_than(self, other: BoundTotals) -> bool:
        """More that run, then fewer outside, then fewer unprotected, then less room reserved."""
        return self.rank() > other.rank()

    def rank(self) -> tuple[int, int, int, int, int]:
        """The greater, the better."""
        return (
            self.placed,
            -self.outside,
            -self.unprotected,
            -self.reserved_bytes,
            -self.reserved_millis,
        )


@dataclass(frozen=True, slots=True)
class Improvement:
    """What may be done. Each wave is a state in which tasks may stay for as long as they want: it
    may begin when all that the one before it moves has begun anew at its target.

    why_not: why there are no waves, "" where there are.
    """

    before: BoundTotals
    after: BoundTotals
    waves: tuple[tuple[Wish, ...], ...] = ()
    why_not: str = ""


class MoveState(enum.Enum):
    """What became of a move."""

    PLANNED = "planned"
    MOVING = "moving"
    MOVED = "moved"
    # It went elsewhere, ended, or could not go there any more: `detail` says.
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class TaskMove:
    """One task that is stopped and begins anew. Nodes are "edge/node".

    backup: its node's afterwards, "" for none. ran_s: how long the attempt has run that is lost.
    """

    job_id: str
    task: str
    source: str
    target: str
    backup: str
    ran_s: float
    state: MoveState = MoveState.PLANNED
    detail: str = ""


@dataclass(frozen=True, slots=True)
class ImproveView:
    """A plan for tasks that run, or how it stands.

    before, after: as when it was made, and as planned; now: as things stand. rebacked: tasks that
    stay and get another backup. why_not: why there is no plan. applied: it is, or was, carried out;
    done: nothing more will happen. stopped: why it was ended before all of it was done.
    """

    before: BoundTotals
    after: BoundTotals
    now: BoundTotals
    moves: tuple[TaskMove, ...] = ()
    rebacked: int = 0
    why_not: str = ""
    applied: bool = False
    done: bool = False
    stopped: str = ""


@dataclass(frozen=True, slots=True)
class TriedTask:
    """Where a task would be, and its backup, "" for none; nodes are "edge/node"."""

    task: str
    node: str
    backup: str = ""
    warning: str = ""


@dataclass(frozen=True, slots=True)
class TriedJob:
    """Where the tasks of a job would be; none, and the reason, where it would wait."""

    tasks: tuple[TriedTask, ...] = ()
    reason: str = ""
