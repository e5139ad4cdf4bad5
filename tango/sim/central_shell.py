"""The central master on virtual time: users' jobs, its edges' streams, its store and its solves."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import cast

from tango.controllers.central.controller import CentralController
from tango.model import commands as cmd
from tango.model import events as ev
from tango.model import messages as msg
from tango.model.job import JobRecord, JobSpec
from tango.model.plan import BatchPolicy, BatchSnapshot, is_elastic
from tango.model.settings import CentralSettings
from tango.sim.engine import Engine
from tango.sim.network import End
from tango.sim.payload import EPOCH
from tango.sim.scenario import Costs
from tango.sim.shell import Shell
from tango.sim.store import Store


class Central:
    """One life of the central master's process. changed: told of each job as it is on disk."""

    def __init__(
        self,
        engine: Engine,
        settings: CentralSettings,
        policy: BatchPolicy,
        store: Store,
        costs: Costs,
        changed: Callable[[JobRecord], None],
        *,
        incarnation: int,
        seed: int,
        check: bool,
    ) -> None:
        self._engine = engine
        self._costs = costs
        self._policy = policy
        self._store = store
        self._changed = changed
        self.controller = CentralController(
            settings, incarnation=incarnation, seed=seed, elastic=is_elastic(policy)
        )
        self.shell = Shell(
            engine,
            self.controller,
            {
                cmd.Persist: self._persist,
                cmd.Answer: self._answer,
                cmd.SendEdge: self._send_edge,
                cmd.JobChanged: self._job_changed,
                cmd.Solve: self._solve,
                cmd.CloseEdge: self._close_edge,
                cmd.Note: _ignore,
            },
            check=check,
        )
        self._ids = itertools.count(1)
        self._edges: dict[int, End] = {}
        self._answers: dict[int, Callable[[Exception | None], None]] = {}

    def load(self) -> None:
        """What the store holds."""
        self.controller.load(self._store.load("job", JobRecord))

    def die(self, *, silent: bool) -> list[Callable[[Exception | None], None]]:
        """kill -9: its streams break. Who waited for answers."""
        self.shell.close()
        for end in list(self._edges.values()):
            end.stream.vanish(end, silent=silent)
        return list(self._answers.values())

    def submit(self, job_id: str, spec: JobSpec, done: Callable[[Exception | None], None]) -> None:
        """A user submits; done is told of the error, or None once the job is durable."""
        op_id = next(self._ids)
        self._answers[op_id] = done
        self.shell.post(ev.SubmitJob(op_id, job_id, job_id, spec, EPOCH + self._engine.now))

    # ---- commands

    def _persist(self, command: cmd.Persist) -> None:
        self._store.commit(command, self._persisted)

    def _persisted(self, number: int) -> None:
        self.shell.post(ev.Persisted(number))

    def _answer(self, command: cmd.Answer) -> None:
        done = self._answers.pop(command.op_id, None)
        if done is not None:
            done(command.error)

    def _job_changed(self, command: cmd.JobChanged) -> None:
        self._changed(command.job)

    def _solve(self, command: cmd.Solve) -> None:
        snapshot = cast("BatchSnapshot", command.snapshot)
        cost = self._costs.batch_solve
        cost_s = cost.base_s + cost.per_unit_s * len(snapshot.gangs) * len(snapshot.offers)
        begins_at = self.shell.leaves_at()
        self.shell.work(cost_s)
        plan = self._policy.place(snapshot)
        at = begins_at + cost_s
        self.shell.later(at, ev.BatchSolved(command.solve_id, plan, cost_s, EPOCH + at))

    # ---- edges

    def accept_edge(self, end: End) -> bool:
        """An edge has dialled."""
        EdgeSession(self, end)
        return True

    def edge_up(self, end: End, hello: msg.EdgeHello, state: msg.EdgeState) -> int:
        """It has said hello and its state; the session's number."""
        session = next(self._ids)
        self._edges[session] = end
        self.shell.post(ev.EdgeUp(session, hello, state, EPOCH + self._engine.now))
        return session

    def edge_said(self, session: int, message: object) -> None:
        """A later message of an edge."""
        wall = EPOCH + self._engine.now
        self.shell.post(ev.EdgeSaid(session, cast("msg.FromEdge", message), wall))

    def edge_down(self, session: int, reason: str) -> None:
        """Its stream ended."""
        self._edges.pop(session, None)
        self.shell.later(self._engine.now, ev.EdgeDown(session, reason))

    def _send_edge(self, command: cmd.SendEdge) -> None:
        end = self._edges.get(command.session)
        if end is not None:
            end.send(command.message, self.shell.leaves_at())

    def _close_edge(self, command: cmd.CloseEdge) -> None:
        end = self._edges.get(command.session)
        if end is not None:
            end.close(command.reason)


class EdgeSession:
    """An edge's stream at the central master: hello and state first, then messages."""

    __slots__ = ("_central", "_end", "_hello", "_session")

    def __init__(self, central: Central, end: End) -> None:
        self._central = central
        self._end = end
        self._hello: msg.EdgeHello | None = None
        self._session = 0
        end.receive, end.ended = self._greet, self._ended

    def _greet(self, message: object) -> None:
        if isinstance(message, msg.EdgeHello):
            self._hello = message
        elif isinstance(message, msg.EdgeState) and self._hello is not None:
            self._session = self._central.edge_up(self._end, self._hello, message)
            self._end.receive = self._said
        else:
            self._end.close("an edge must say hello and its state first")

    def _said(self, message: object) -> None:
        self._central.edge_said(self._session, message)

    def _ended(self, reason: str) -> None:
        if self._session:
            self._central.edge_down(self._session, reason)


def _ignore(_: object) -> None:
    """A log line: nobody reads it here."""
