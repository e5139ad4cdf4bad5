"""One replica of a service on this node, and the books of all of them."""

from __future__ import annotations

from dataclasses import dataclass, field

from tango.controllers.worker.outbox import Outbox
from tango.controllers.worker.phase import Phase
from tango.model.messages import ReplicaChanged, ReplicaTarget
from tango.model.process import ProcessRecord
from tango.model.service import ReplicaState, ReplicaStatus, ServiceSpec


@dataclass(slots=True, eq=False)
class Replica:
    """A replica that runs, ran, or shall run here.

    spec, generation: of the process that runs or ran last. target: what the edge wants; None where
    it shall go, or, while `adopted`, where the edge has not spoken since this worker started.
    key: of its process, "" in Phase.NONE; last_key: of the latest one, for its log;
    older_key: of the one before that.
    exits: in a row, for the backoff. ready_at: since when it is ready without a break.
    oom_kills: of its group when its process began; None if that is not known yet.
    autopsy: the end of the process whose group is being looked at for OOM kills.
    published: requests that clients or the edge may have under way here directly: they count like
    those in flight, for quotas, for what else the replica takes, and before it stops.
    sent: the status that the edge was told last.
    """

    replica_id: str
    service: str
    group: str
    spec: ServiceSpec
    generation: int
    target: ReplicaTarget | None
    adopted: bool = False
    state: ReplicaState = ReplicaState.STARTING
    phase: Phase = Phase.NONE
    key: str = ""
    last_key: str = ""
    older_key: str = ""
    pid: int = 0
    port: int = 0
    restarts: int = 0
    exits: int = 0
    in_flight: int = 0
    published: int = 0
    reason: str = ""
    failures: int = 0
    health_error: str = ""
    checking: bool = False
    checked_at: float = 0.0
    ready_at: float | None = None
    oom_kills: int | None = 0
    autopsy: ProcessRecord | None = None
    sent: ReplicaStatus | None = field(default=None, repr=False)

    @property
    def busy(self) -> int:
        """Requests that it serves or may have to, carried and direct."""
        return self.in_flight + self.published

    def status(self) -> ReplicaStatus:
        """As the edge is told."""
        return ReplicaStatus(
            replica_id=self.replica_id,
            service=self.service,
            generation=self.generation,
            state=self.state,
            port=self.port,
            pid=self.pid,
            restarts=self.restarts,
            in_flight=self.in_flight,
            reason=self.reason,
        )


class ReplicaBooks:
    """Replicas by id, by process key, and those that take requests, by service."""

    def __init__(self, out: Outbox) -> None:
        self._out = out
        self.by_id: dict[str, Replica] = {}
        self.by_key: dict[str, Replica] = {}
        # Of each service, by id: so that ties go to the smallest.
        self._ready: dict[str, tuple[Replica, ...]] = {}

    def add(self, replica: Replica) -> None:
        """A new replica."""
        self.by_id[replica.replica_id] = replica

    def drop(self, replica: Replica) -> None:
        """A replica that is gone for good."""
        del self.by_id[replica.replica_id]

    def set_state(self, replica: Replica, state: ReplicaState, reason: str | None = None) -> None:
        """Move a replica to a state and tell the edge; reason None keeps the one it has."""
        was_ready = replica.state is ReplicaState.READY
        replica.state = state
        if reason is not None:
            replica.reason = reason
        if was_ready != (state is ReplicaState.READY):
            self._recount(replica.service)
        self.tell(replica)

    def tell(self, replica: Replica) -> None:
        """Tell the edge if anything but the requests in flight is new."""
        sent = replica.sent
        if (
            sent is not None
            and sent.state is replica.state
            and sent.generation == replica.generation
            and sent.port == replica.port
            and sent.pid == replica.pid
            and sent.restarts == replica.restarts
            and sent.reason == replica.reason
        ):
            return
        replica.sent = replica.status()
        self._out.send(ReplicaChanged(replica.sent))

    def note(self, level: str, event: str, replica: Replica) -> None:
        """One log line on a replica."""
        self._out.note(
            level,
            event,
            service=replica.service,
            replica=replica.replica_id,
            reason=replica.reason,
        )

    def statuses(self) -> tuple[ReplicaStatus, ...]:
        """All of them, by id."""
        return tuple(self.by_id[name].status() for name in sorted(self.by_id))

    def pick(self, service: str) -> Replica | None:
        """The ready replica with the fewest requests below its concurrency; ties by id."""
        best: Replica | None = None
        for replica in self._ready.get(service, ()):
            if replica.busy < replica.spec.concurrency and (
                best is None or replica.busy < best.busy
            ):
                best = replica
        return best

    def has_ready(self, service: str) -> bool:
        """Whether any replica of the service takes requests, though all may be busy."""
        return service in self._ready

    def _recount(self, service: str) -> None:
        ready = tuple(
            self.by_id[name]
            for name in sorted(self.by_id)
            if self.by_id[name].service == service and self.by_id[name].state is ReplicaState.READY
        )
        if ready:
            self._ready[service] = ready
        else:
            self._ready.pop(service, None)

    def validate(self) -> None:
        """AssertionError where the books do not agree with themselves."""
        for name, replica in self.by_id.items():
            assert name == replica.replica_id
            alive = replica.phase is not Phase.NONE
            assert alive == bool(replica.key), f"{name}: key and phase differ"
            assert (self.by_key.get(replica.key) is replica) == alive, f"{name}: key not in books"
            assert 0 <= replica.in_flight <= max(1, replica.spec.concurrency), (
                f"{name}: {replica.in_flight} in flight, serves {replica.spec.concurrency}"
            )
            ready = replica.state is ReplicaState.READY
            assert (replica in self._ready.get(replica.service, ())) == ready, f"{name}: readiness"
            assert not ready or (replica.phase is Phase.ALIVE and replica.port), f"{name}: no port"
            if replica.state in (ReplicaState.UNHEALTHY, ReplicaState.STARTING):
                assert alive, f"{name}: {replica.state.value} without a process"
            assert replica.state is not ReplicaState.BACKOFF or not alive, (
                f"{name}: backs off alive"
            )
        assert all(self.by_id.get(r.replica_id) is r for r in self.by_key.values())
        assert len({r.key for r in self.by_key.values()}) == len(self.by_key)
