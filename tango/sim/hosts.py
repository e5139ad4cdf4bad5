"""What outlives a daemon's process: its host, which starts it, again after each failure."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from tango.model.events import ApplyService
from tango.model.job import JobRecord, JobSpec
from tango.model.plan import BatchPolicy, TrafficPolicy
from tango.model.request import CallReply, CallRequest, Code, Outcome
from tango.model.service import ServiceSpec
from tango.model.settings import CentralSettings, EdgeSettings, WorkerSettings
from tango.sim.central_shell import Central
from tango.sim.edge_shell import Edge, Waiter
from tango.sim.engine import Engine
from tango.sim.machine import Machine
from tango.sim.network import Dialler, End, Link
from tango.sim.scenario import Costs
from tango.sim.shell import Controller
from tango.sim.store import Store
from tango.sim.worker_shell import Worker

# The connection that a client waited on was reset.
_RESET = CallReply("", Outcome.FAILED, Code.UNAVAILABLE, error="connection reset")


class Surroundings:
    """What hosts share. forgets: told of a controller whose process is about to die."""

    def __init__(
        self,
        costs: Costs,
        seed: int,
        forgets: Callable[[str, Controller], None],
        *,
        check: bool,
    ) -> None:
        self.costs = costs
        self.check = check
        self.forgets = forgets
        self._seed = seed

    def rng(self, *names: object) -> random.Random:
        """A generator of its own for whatever is so named; the same in every process."""
        return random.Random(" ".join(map(str, (self._seed, *names))))

    def seed(self, *names: object) -> int:
        """A seed of its own."""
        return self.rng(*names).getrandbits(31)


class CentralHost:
    """The central master. changed: told of jobs as they are on disk."""

    name = "central"

    def __init__(
        self,
        around: Surroundings,
        engine: Engine,
        settings: CentralSettings,
        policy: BatchPolicy,
        changed: Callable[[JobRecord], None],
    ) -> None:
        self._around = around
        self.engine = engine
        self._settings = settings
        self._policy = policy
        self._changed = changed
        self._store = Store(engine, around.costs.store_commit_s)
        self._incarnation = 0
        self._downs = 0
        self.life: Central | None = None

    def start(self) -> None:
        """Its process starts with what its store holds."""
        around = self._around
        self._incarnation += 1
        self.life = Central(
            self.engine,
            self._settings,
            self._policy,
            self._store,
            around.costs,
            self._changed,
            incarnation=self._incarnation,
            seed=around.seed("central", self._incarnation),
            check=around.check,
        )
        self.life.load()

    def accept(self, end: End) -> bool:
        """An edge dials."""
        return self.life is not None and self.life.accept_edge(end)

    def submit(self, job_id: str, spec: JobSpec, done: Callable[[Exception | None], None]) -> bool:
        """A user submits; False where nobody listens."""
        if self.life is None:
            return False
        self.life.submit(job_id, spec, done)
        return True

    def fail(self) -> None:
        """kill -9."""
        self._downs += 1
        if self.life is not None:
            self._around.forgets(self.name, self.life.controller)
            life, self.life = self.life, None
            self._store.crash()
            for done in life.die(silent=False):
                done(ConnectionResetError("the central master was lost"))

    def repair(self) -> None:
        """It starts again."""
        self._downs -= 1
        if not self._downs:
            self.start()


class EdgeHost:
    """One site's master. upward: the link to the central master. peers: (name, link, its host)."""

    def __init__(
        self,
        around: Surroundings,
        engine: Engine,
        settings: EdgeSettings,
        policy: TrafficPolicy,
        central: CentralHost,
        upward: Link,
    ) -> None:
        self._around = around
        self.engine = engine
        self._settings = settings
        self._policy = policy
        self._central = central
        self._upward = upward
        self._store = Store(engine, around.costs.store_commit_s)
        self._incarnation = 0
        self._downs = 0
        self.name = settings.name
        self.peers: list[tuple[str, Link, EdgeHost]] = []
        self.life: Edge | None = None

    def start(self) -> None:
        """Its process starts with what its store holds, and dials."""
        around = self._around
        self._incarnation += 1
        life = self.life = Edge(
            self.engine,
            self._settings,
            self._policy,
            self._store,
            around.costs,
            incarnation=self._incarnation,
            seed=around.seed("edge", self.name, self._incarnation),
            check=around.check,
        )
        life.load()
        diallers = [
            self._dialler(self._upward, self._central, self._central.accept, life.central_opened)
        ]
        for peer, link, host in self.peers:
            diallers.append(self._peer_dialler(life, peer, link, host))
        life.begin(diallers)

    def _peer_dialler(self, life: Edge, peer: str, link: Link, host: EdgeHost) -> Dialler:
        return self._dialler(link, host, host.accept_guest, lambda end: life.peer_opened(peer, end))

    def _dialler(
        self,
        link: Link,
        host: CentralHost | EdgeHost,
        accept: Callable[[End], bool],
        opened: Callable[[End], None],
    ) -> Dialler:
        around = self._around
        rng = around.rng("dial", self.name, host.name, self._incarnation)
        return Dialler(self.engine, host.engine, link, around.costs, rng, accept, opened)

    def apply(self, specs: Sequence[ServiceSpec], failed: Callable[[str], None]) -> None:
        """An operator declares services."""
        if self.life is None:
            failed(f"edge {self.name} is down: its services are not declared")
            return
        for spec in specs:

            def done(error: Exception | None, name: str = spec.name) -> None:
                if error is not None:
                    failed(f"{name} at {self.name}: {error}")

            def event(op_id: int, spec: ServiceSpec = spec) -> ApplyService:
                return ApplyService(op_id, spec)

            self.life.ask(event, done)

    def accept_worker(self, end: End) -> bool:
        """A worker dials."""
        return self.life is not None and self.life.accept_worker(end)

    def accept_guest(self, end: End) -> bool:
        """Another site dials."""
        return self.life is not None and self.life.accept_guest(end)

    def call(self, request: CallRequest, waiter: Waiter) -> bool:
        """A user's call is here; False where nobody listens."""
        if self.life is None:
            return False
        self.life.call(request, waiter)
        return True

    def fail(self, *, silent: bool = False) -> None:
        """kill -9; silent: with its machine."""
        self._downs += 1
        if self.life is not None:
            self._around.forgets(f"edge {self.name}", self.life.controller)
            life, self.life = self.life, None
            self._store.crash()
            for waiter in life.die(silent=silent):
                waiter(_RESET, self.engine.now)

    def repair(self) -> None:
        """It starts again."""
        self._downs -= 1
        if not self._downs:
            self.start()


class NodeHost:
    """One node: a machine, and the worker on it, which dials its edge."""

    def __init__(
        self,
        around: Surroundings,
        engine: Engine,
        settings: WorkerSettings,
        machine: Machine,
        edge: EdgeHost,
        link: Link,
    ) -> None:
        self._around = around
        self.engine = engine
        self._settings = settings
        self._edge = edge
        self._link = link
        self._incarnation = 0
        self._worker_downs = 0
        self._machine_downs = 0
        self.name = settings.node
        self.machine = machine
        self.life: Worker | None = None

    def start(self, _: object = None) -> None:
        """The worker starts, unless it or its machine has failed meanwhile."""
        if self._worker_downs or self._machine_downs or self.life is not None:
            return
        around = self._around
        self._incarnation += 1
        life = self.life = Worker(
            self.engine,
            self._settings,
            self.machine,
            around.costs,
            incarnation=self._incarnation,
            seed=around.seed("worker", self.name, self._incarnation),
            check=around.check,
        )
        rng = around.rng("dial", self.name, self._incarnation)
        dialler = Dialler(
            self.engine,
            self._edge.engine,
            self._link,
            around.costs,
            rng,
            self._edge.accept_worker,
            life.opened,
        )
        life.begin(dialler)

    def fail_worker(self) -> None:
        """kill -9 of the worker; payload runs on."""
        self._worker_downs += 1
        self._die(silent=False)

    def repair_worker(self) -> None:
        """It starts again."""
        self._worker_downs -= 1
        self.start()

    def fail(self) -> None:
        """The machine is off."""
        self._machine_downs += 1
        self._die(silent=True)
        if self.machine.on:
            self.machine.power_off()

    def repair(self) -> None:
        """It boots."""
        self._machine_downs -= 1
        if not self._machine_downs:
            self.machine.power_on()
            self.start()

    def _die(self, *, silent: bool) -> None:
        if self.life is not None:
            self._around.forgets(f"worker {self.name}", self.life.controller)
            life, self.life = self.life, None
            life.die(silent=silent)
