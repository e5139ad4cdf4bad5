"""What the edge wants to run here against what does; and what is found running after a restart."""

from __future__ import annotations

from collections.abc import Iterable

from tango.algorithms.quota.sides import replica_group
from tango.controllers.worker.groups import GroupTree
from tango.controllers.worker.outbox import Outbox
from tango.controllers.worker.phase import Phase
from tango.controllers.worker.reasons import describe_end
from tango.controllers.worker.records import ReplicaRecord
from tango.controllers.worker.replica import Replica, ReplicaBooks
from tango.controllers.worker.replica_life import WAITS_FOR_EDGE, ReplicaLife
from tango.controllers.worker.timers import Timers
from tango.model.commands import ForgetProcess, StopProcess
from tango.model.errors import InvalidField
from tango.model.messages import NodeTargets, ReplicaTarget
from tango.model.process import ProcessRecord
from tango.model.service import ReplicaState


class ReplicaTargets:
    """Keeps replicas as the edge's last word says; it stands while the edge is away."""

    def __init__(
        self,
        books: ReplicaBooks,
        life: ReplicaLife,
        groups: GroupTree,
        timers: Timers,
        out: Outbox,
    ) -> None:
        self._books = books
        self._life = life
        self._groups = groups
        self._timers = timers
        self._out = out
        # Keys of processes of replicas that another process stands for.
        self._strays: set[str] = set()

    # ---- after a restart of the worker

    def adopt(self, found: Iterable[ReplicaRecord], now: float) -> None:
        """Take over the replicas that run, and say of those that ended how they did.

        A replica has one process; where there are two, the newest one stays.
        """
        newest: dict[str, ReplicaRecord] = {}
        rest: list[ReplicaRecord] = []
        for one in found:
            other = newest.get(one.replica_id)
            if other is None or _age(one) > _age(other):
                newest[one.replica_id] = one
                if other is not None:
                    rest.append(other)
            else:
                rest.append(one)
        adopted = [self._take(newest[name]) for name in sorted(newest)]
        groups = self._groups.add_replicas([(r.replica_id, r.spec, 0) for r in adopted], now)
        for replica in adopted:
            replica.group = groups[replica.replica_id]
            self._life.oom.adopt(replica)
            if replica.phase is Phase.ALIVE and replica.port:
                self._life.health.begin(replica, now)
            elif replica.phase is Phase.ALIVE:
                self._life.fail(replica, "its port is not known", now)
        for one in rest:
            self._drop_stray(one.record)
        for replica in adopted:
            record = newest[replica.replica_id].record
            if record.ended:
                self._out.add(ForgetProcess(record.key, keep_log=True))

    def _take(self, found: ReplicaRecord) -> Replica:
        record = found.record
        replica = Replica(
            replica_id=found.replica_id,
            service=found.spec.name,
            group="",
            spec=found.spec,
            generation=found.generation,
            target=None,
            adopted=True,
            last_key=record.key,
            restarts=found.restarts,
        )
        self._books.add(replica)
        if record.ended:
            reason = describe_end(record) + WAITS_FOR_EDGE
            self._books.set_state(replica, ReplicaState.BACKOFF, reason)
        else:
            replica.key = record.key
            replica.pid = record.pid
            replica.port = found.port
            replica.phase = Phase.ALIVE
            self._books.by_key[record.key] = replica
            self._books.note("info", "replica_adopted", replica)
        return replica

    def _drop_stray(self, record: ProcessRecord) -> None:
        if record.ended:
            self._out.add(ForgetProcess(record.key, keep_log=True))
            return
        self._strays.add(record.key)
        self._out.add(StopProcess(record.key, 0.0))
        self._out.note("warning", "second_process_of_replica_stopped", key=record.key)

    def stray_ended(self, record: ProcessRecord) -> bool:
        """A process ended; whether it was one that nobody stands for."""
        if record.key not in self._strays:
            return False
        self._strays.remove(record.key)
        self._out.add(ForgetProcess(record.key, keep_log=True))
        return True

    def remember(self, message: NodeTargets, now: float) -> None:
        """The edge's last word before this worker started: go on by it, until the edge is back.

        It may be old, so it only adds: nothing that runs is stopped because of it.
        """
        for target in message.replicas:
            known = self._books.by_id.get(target.replica_id)
            if known is None:
                self._life.create(target, now)
            elif known.generation == target.generation and known.service == target.spec.name:
                self._aim_known(known, target, now)

    # ---- what the edge says

    def aim(self, message: NodeTargets, now: float) -> None:
        """Start what is missing, stop what is not wanted, replace what has changed."""
        wanted: dict[str, ReplicaTarget] = {}
        for target in message.replicas:
            try:
                replica_group(target.spec.name, target.replica_id)
            except InvalidField as error:
                self._out.note("error", "replica_target_refused", error=str(error))
            else:
                wanted[target.replica_id] = target
        books = self._books
        # First those that go: a fixed port or memory may be needed by those that come.
        for name in sorted(books.by_id.keys() - wanted.keys()):
            replica = books.by_id[name]
            replica.adopted = False
            replica.target = None
            self._life.retire(replica, "not wanted here any more", now)
        for name in sorted(wanted):
            known = books.by_id.get(name)
            if known is None:
                self._life.create(wanted[name], now)
            else:
                self._aim_known(known, wanted[name], now)

    def _aim_known(self, replica: Replica, target: ReplicaTarget, now: float) -> None:
        replica.target = target
        replica.adopted = False
        if target.generation != replica.generation or target.spec.name != replica.service:
            self._life.retire(replica, f"replaced by generation {target.generation}", now)
            return
        # Same generation, same spec; an adopted replica learns its argv and env.
        replica.spec = target.spec
        self._groups.retune(replica.group, target.spec, target.cpu_per_request_millis, now)
        if replica.state is ReplicaState.STOPPING:
            self._life.recall(replica, now)
        elif replica.state is ReplicaState.BACKOFF and not self._timers.is_set(
            "backoff", replica.replica_id
        ):
            replica.reason = replica.reason.removesuffix(WAITS_FOR_EDGE)
            self._life.rest(replica, now)


def _age(found: ReplicaRecord) -> tuple[bool, int, float, str]:
    record = found.record
    return (not record.ended, found.generation, record.started_at, record.key)
