"""The central master on virtual time: users' jobs, its edges' streams, its store and its solves."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from tango.adapters.bound_rules import bound_rule
from tango.controllers.central.bound_store import BOUND, RESERVATION
from tango.controllers.central.controller import CentralController
from tango.model import commands as cmd
from tango.model import events as ev
from tango.model import messages as msg
from tango.model.bounds import BoundSnapshot
from tango.model.job import JobRecord, JobSpec
from tango.model.placements import BoundRecord, ReservationRecord
from tango.model.plan import BatchPolicy, BatchSnapshot, marks_of
from tango.model.settings import CentralSettings
from tango.sim.engine import Engine
from tango.sim.master import Done, Master, ignore
from tango.sim.network import End
from tango.sim.payload import EPOCH
from tango.sim.scenario import Costs
from tango.sim.sessions import Sessions, greet
from tango.sim.shell import Shell
from tango.sim.store import Store


class Central(Master):
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
        super().__init__(engine, store, costs)
        self._policy = policy
        self._changed = changed
        self._edges = Sessions(self)
        self._bound_rule = bound_rule(settings.placement)
        self.controller = CentralController(
            settings,
            incarnation=incarnation,
            seed=seed,
            bound_rule=self._bound_rule,
            **marks_of(policy),
        )
        self.shell = Shell(
            engine,
            self.controller,
            {
                cmd.Persist: self._persist,
                cmd.Answer: self._answer,
                cmd.SendEdge: self._edges.send,
                cmd.JobChanged: self._job_changed,
                cmd.Solve: self._solve,
                cmd.CloseEdge: self._edges.close,
                cmd.Note: ignore,
            },
            check=check,
        )

    def load(self) -> None:
        """What the store holds."""
        self.controller.load(
            self._store.load("job", JobRecord),
            self._store.load(BOUND, BoundRecord),
            self._store.load(RESERVATION, ReservationRecord),
        )

    def die(self, *, silent: bool) -> list[Done]:
        """kill -9: its streams break. Who waited for answers."""
        self.shell.close()
        self._edges.vanish(silent=silent)
        return list(self._asked.values())

    def submit(self, job_id: str, spec: JobSpec, done: Done) -> None:
        """A user submits; done is told of the error, or None once the job is durable."""
        wall = EPOCH + self._engine.now
        self.ask(lambda op_id: ev.SubmitJob(op_id, job_id, job_id, spec, wall), done)

    # ---- commands

    def _job_changed(self, command: cmd.JobChanged) -> None:
        self._changed(command.job)

    def _solve(self, command: cmd.Solve) -> None:
        if isinstance(command.snapshot, BoundSnapshot):
            self._plan(command.solve_id, command.snapshot)
            return
        snapshot = cast("BatchSnapshot", command.snapshot)
        cost = self._costs.batch_solve
        cost_s = cost.base_s + cost.per_unit_s * len(snapshot.gangs) * len(snapshot.offers)
        begins_at = self.shell.leaves_at()
        self.shell.work(cost_s)
        plan = self._policy.place(snapshot)
        at = begins_at + cost_s
        solved = ev.BatchSolved(command.solve_id, plan, cost_s, EPOCH + at, self._policy.name)
        self.shell.later(at, solved)

    def _plan(self, solve_id: int, snapshot: BoundSnapshot) -> None:
        """In a helper process, as the daemon would where it takes long: the loop goes on."""
        assert self._bound_rule is not None, "nobody asks for what no rule makes"
        cost = self._costs.batch_solve
        gangs = sum(len(pods) for _, pods in snapshot.gangs)
        units = (len(snapshot.tasks) + gangs) * len(snapshot.nodes)
        cost_s = cost.base_s + cost.per_unit_s * units
        at = self.shell.leaves_at() + cost_s
        plan = self._bound_rule.plan(snapshot)
        self.shell.later(at, ev.BoundsSolved(solve_id, plan, cost_s, EPOCH + at))

    # ---- edges

    def accept_edge(self, end: End) -> bool:
        """An edge has dialled."""

        def begins(session: int, hello: msg.EdgeHello, state: msg.EdgeState) -> None:
            self._edges.add(session, end)
            self.shell.post(ev.EdgeUp(session, hello, state, EPOCH + self._engine.now))

        greet(
            end, msg.EdgeHello, msg.EdgeState, self.number, begins, self._edge_said,
            self._edge_down,
        )  # fmt: skip
        return True

    def _edge_said(self, session: int, message: object) -> None:
        wall = EPOCH + self._engine.now
        self.shell.post(ev.EdgeSaid(session, cast("msg.FromEdge", message), wall))

    def _edge_down(self, session: int, reason: str) -> None:
        self._edges.drop(session)
        self.shell.later(self._engine.now, ev.EdgeDown(session, reason))
