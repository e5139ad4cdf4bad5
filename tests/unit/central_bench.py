"""A central controller on a bench: time, disk and policy are in the test's hand.

Every event goes through `feed`, which calls validate() after each handle().
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import replace

from tango.algorithms.batch.most_free import MostFree
from tango.controllers.central import CentralController
from tango.model.bounds import BoundRule, BoundSnapshot, ImproveSnapshot
from tango.model.cluster import NodeCapacity, NodeView
from tango.model.commands import (
    Answer,
    CentralCommand,
    CloseEdge,
    Delete,
    JobChanged,
    Note,
    Persist,
    Put,
    SendEdge,
    Solve,
    Stored,
)
from tango.model.events import (
    BatchSolved,
    BoundsSolved,
    CancelJob,
    CentralEvent,
    EdgeDown,
    EdgeSaid,
    EdgeUp,
    ImproveBounds,
    ImproveSolved,
    MigrateJob,
    Persisted,
    PersistFailed,
    SubmitJob,
    Tick,
)
from tango.model.job import AttemptState, AttemptStatus, JobRecord, JobSpec, JobState, TaskSpec
from tango.model.messages import (
    AckEnds,
    AttemptChanged,
    AttemptRefused,
    EdgeHello,
    EdgeState,
    FromEdge,
    NodeResynced,
    NodesChanged,
    StartAttempt,
    StopAttempt,
    ToEdge,
)
from tango.model.placements import BoundRecord, ReservationRecord
from tango.model.plan import BatchPolicy, BatchSnapshot, marks_of
from tango.model.round_trips import EdgeTrip
from tango.model.settings import CentralSettings, DelaySettings, ServerSettings

MIB = 2**20
EPOCH = 1_700_000_000.0
SERVER = ServerSettings(listen="127.0.0.1:0", token_file="token", state_dir="state")


def spec(
    name: str = "job",
    n_tasks: int = 1,
    *,
    cpu: int = 500,
    memory: int = 64 * MIB,
    retries: int = 0,
    backoff_s: float = 1.0,
    priority: int = 0,
    deadline_s: float = 0.0,
) -> JobSpec:
    tasks = tuple(
        TaskSpec(f"t{i}", ("true",), cpu_millis=cpu, memory_bytes=memory, deadline_s=deadline_s)
        for i in range(n_tasks)
    )
    return JobSpec(name, tasks, retries=retries, backoff_s=backoff_s, priority=priority)


def node(name: str = "n1", cpu: int = 2000, memory: int = 1024 * MIB, **more: object) -> NodeView:
    view = NodeView(name, "e1", ready=True, capacity=NodeCapacity(cpu, memory))
    return replace(view, **more)


def running(attempt_id: str, at: float = 0.0) -> AttemptStatus:
    return AttemptStatus(attempt_id, AttemptState.RUNNING, started_at=at)


def ended(
    attempt_id: str,
    exit_code: int | None = 0,
    *,
    signal: int = 0,
    failure: str = "",
    cpu_s: float = 0.0,
) -> AttemptStatus:
    return AttemptStatus(
        attempt_id,
        AttemptState.ENDED,
        exit_code=exit_code,
        signal=signal,
        failure=failure,
        cpu_s=cpu_s,
    )


class Bench:
    """disk: what is stored. With `hold_disk` or `hold_solves` set, writes or solves wait for
    `write()`, `fail_write()`, `solve()`."""

    def __init__(
        self,
        disk: Mapping[str, JobRecord] | None = None,
        *,
        policy: BatchPolicy | None = None,
        max_jobs_waiting: int = 1000,
        max_overtaken: int = 64,
        keep_jobs: int = 10_000,
        keep_jobs_s: float = 7 * 86_400.0,
        incarnation: int = 1,
        now: float = 100.0,
        epoch: float = EPOCH,
        bound_rule: BoundRule | None = None,
        delays: DelaySettings | None = None,
        kept: Mapping[tuple[str, str], Stored] | None = None,
    ) -> None:
        self.settings = CentralSettings(
            SERVER,
            max_jobs_waiting=max_jobs_waiting,
            max_overtaken=max_overtaken,
            keep_jobs=keep_jobs,
            keep_jobs_s=keep_jobs_s,
            delays=delays or DelaySettings(),
        )
        self.policy = policy or MostFree()
        self.bound_rule = bound_rule
        self.central = CentralController(
            self.settings,
            incarnation=incarnation,
            seed=7,
            bound_rule=bound_rule,
            **marks_of(self.policy),
        )
        self.disk: dict[str, JobRecord] = dict(disk or {})
        # Bounds and reservations on disk, by kind and key.
        self.kept: dict[tuple[str, str], Stored] = dict(kept or {})
        self.now = now
        self.epoch = epoch
        self.hold_disk = False
        self.hold_solves = False
        self.writes: deque[Persist] = deque()
        self.solves: deque[Solve] = deque()
        self.snapshots: list[BatchSnapshot] = []
        self.answers: dict[int, Answer] = {}
        self.changes: list[JobRecord] = []
        self.notes: list[Note] = []
        self.sent: list[tuple[int, ToEdge]] = []
        self.closed: list[CloseEdge] = []
        self.order: list[CentralCommand] = []
        self._ops = 0
        self.central.load(
            self.disk,
            {key: one for (_, key), one in self.kept.items() if isinstance(one, BoundRecord)},
            {key: one for (_, key), one in self.kept.items() if isinstance(one, ReservationRecord)},
        )
        self.central.validate()

    @property
    def wall(self) -> float:
        return self.epoch + self.now

    # ---- events

    def feed(self, event: CentralEvent) -> None:
        self.take(self.central.handle(event, self.now))

    def take(self, commands: list[CentralCommand]) -> None:
        self.central.validate()
        self.order.extend(commands)
        for command in commands:
            match command:
                case Persist():
                    self.writes.append(command)
                case Solve():
                    self.solves.append(command)
                    if isinstance(command.snapshot, BatchSnapshot):
                        self.snapshots.append(command.snapshot)
                case Answer(op_id):
                    assert op_id not in self.answers, "answered twice"
                    self.answers[op_id] = command
                case JobChanged(job):
                    known = self.disk.get(job.job_id)
                    assert known is None or known.version >= job.version, "told before durable"
                    self.changes.append(job)
                case SendEdge(session, message):
                    self.sent.append((session, message))
                case CloseEdge():
                    self.closed.append(command)
                case Note():
                    self.notes.append(command)
        while self.writes and not self.hold_disk:
            self.write()
        while self.solves and not self.hold_solves:
            self.solve()

    def write(self) -> None:
        persist = self.writes.popleft()
        for put in persist.writes:
            if put.kind in ("bound", "reservation"):
                self.keep(put)
                continue
            if isinstance(put, Delete):
                assert self.disk.pop(put.key).state.ended, "removed before its end"
                continue
            assert isinstance(put.value, JobRecord)
            old = self.disk.get(put.key)
            assert old is None or old.version < put.value.version, "written out of order"
            self.disk[put.key] = put.value
        self.feed(Persisted(persist.persist_id))

    def keep(self, write: Put | Delete) -> None:
        if isinstance(write, Delete):
            self.kept.pop((write.kind, write.key), None)
        else:
            self.kept[write.kind, write.key] = write.value

    def fail_write(self, error: str = "disk full") -> None:
        self.feed(PersistFailed(self.writes.popleft().persist_id, error))

    def solve(self) -> None:
        solve = self.solves.popleft()
        if isinstance(solve.snapshot, ImproveSnapshot):
            assert self.bound_rule is not None
            plan = self.bound_rule.improve(solve.snapshot)
            self.feed(ImproveSolved(solve.solve_id, plan, 0.001, self.wall))
            return
        if isinstance(solve.snapshot, BoundSnapshot):
            assert self.bound_rule is not None
            bounds = self.bound_rule.plan(solve.snapshot)
            self.feed(BoundsSolved(solve.solve_id, bounds, 0.001, self.wall))
            return
        assert isinstance(solve.snapshot, BatchSnapshot)
        plan = self.policy.place(solve.snapshot)
        self.feed(BatchSolved(solve.solve_id, plan, 0.001, self.wall))

    def release_disk(self) -> None:
        self.hold_disk = False
        while self.writes:
            self.write()

    def advance(self, seconds: float) -> None:
        """Let time pass, with a Tick wherever the controller asked for one."""
        end = self.now + seconds
        for _ in range(10_000):
            at = self.central.wake_at
            if at is None or at > end:
                break
            self.now = max(self.now, at)
            self.feed(Tick())
        else:
            raise AssertionError("wake_at does not move on")
        self.now = end

    # ---- users

    def op(self) -> int:
        self._ops += 1
        return self._ops

    def submit(self, job_id: str = "j1", job: JobSpec | None = None, submission: str = "") -> int:
        op = self.op()
        self.feed(SubmitJob(op, job_id, submission or f"s-{job_id}", job or spec(), self.wall))
        return op

    def cancel(self, job_id: str = "j1") -> int:
        op = self.op()
        self.feed(CancelJob(op, job_id, self.wall))
        return op

    def migrate(self, job_id: str, node: str, task: str = "", edge: str = "") -> int:
        op = self.op()
        self.feed(MigrateJob(op, job_id, task, node, edge, self.wall))
        return op

    def improve(self, max_moves: int = 10, *, apply: bool = False) -> int:
        op = self.op()
        self.feed(ImproveBounds(op, max_moves, apply, self.wall))
        return op

    def job(self, job_id: str = "j1") -> JobRecord:
        record = self.central.job(job_id)
        assert record is not None, f"no job {job_id}"
        return record

    def state(self, job_id: str = "j1") -> JobState:
        return self.job(job_id).state

    # ---- edges

    def edge_up(
        self,
        *nodes: NodeView,
        session: int = 1,
        edge: str = "e1",
        incarnation: int = 1,
        attempts: tuple[AttemptStatus, ...] = (),
        complete: tuple[str, ...] | None = None,
        trips: tuple[EdgeTrip, ...] = (),
    ) -> None:
        hello = EdgeHello(edge, incarnation, "127.0.0.1:1", "0.1")
        names = tuple(view.node for view in nodes) if complete is None else complete
        views = tuple(replace(view, edge=edge) for view in nodes)
        self.feed(EdgeUp(session, hello, EdgeState(views, attempts, names, trips), self.wall))

    def say(self, message: FromEdge, session: int = 1) -> None:
        self.feed(EdgeSaid(session, message, self.wall))

    def nodes(self, *nodes: NodeView, session: int = 1, trips: tuple[EdgeTrip, ...] = ()) -> None:
        self.say(NodesChanged(nodes, trips), session)

    def status(self, status: AttemptStatus, session: int = 1) -> None:
        self.say(AttemptChanged(status), session)

    def refuse(self, attempt_id: str, reason: str = "no room", session: int = 1) -> None:
        self.say(AttemptRefused(attempt_id, reason), session)

    def resynced(self, name: str, *attempts: AttemptStatus, session: int = 1) -> None:
        self.say(NodeResynced(name, attempts), session)

    def edge_down(self, session: int = 1) -> None:
        self.feed(EdgeDown(session, "connection lost"))

    # ---- what went out

    def starts(self) -> list[str]:
        return [m.attempt_id for _, m in self.sent if isinstance(m, StartAttempt)]

    def stops(self) -> list[str]:
        return [m.attempt_id for _, m in self.sent if isinstance(m, StopAttempt)]

    def acks(self) -> list[str]:
        return [i for _, m in self.sent if isinstance(m, AckEnds) for i in m.attempt_ids]
