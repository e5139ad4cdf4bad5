"""The life of replicas: start, restart with backoff, drain and stop; one process at a time."""

from __future__ import annotations

import random

from tango.algorithms.quota.rule import implied_stretch
from tango.controllers.worker.counters import Counters
from tango.controllers.worker.groups import GroupTree
from tango.controllers.worker.outbox import Outbox
from tango.controllers.worker.phase import Phase
from tango.controllers.worker.reasons import describe_end, stretch_warning
from tango.controllers.worker.records import replica_meta
from tango.controllers.worker.replica import Replica, ReplicaBooks
from tango.controllers.worker.replica_health import HealthWatch
from tango.controllers.worker.replica_oom import OomWatch
from tango.controllers.worker.timers import Timers
from tango.model.commands import ForgetProcess, StartProcess, StopProcess
from tango.model.decision import REPLICA_BACKOFF, REPLICA_STOP
from tango.model.events import ProcessStarted, ProcessStartFailed
from tango.model.messages import ReplicaGone, ReplicaTarget
from tango.model.process import ProcessRecord, ProcessSpec
from tango.model.service import LISTEN, QuotaMode, ReplicaState

BACKOFF_FIRST_S = 0.5
BACKOFF_MAX_S = 30.0
BACKOFF_RESET_S = 60.0
# Where a start cannot succeed until someone changes something on the node.
LASTING_RETRY_S = 60.0
# A process that outlives its stop's grace by this much is stopped again: the supervisor may have
# been restarted, and does not remember.
STOP_AGAIN_S = 10.0

WAITS_FOR_EDGE = "; waits for the edge's targets"


class ReplicaLife:
    """Moves replicas through their states. Each has at most one process that is not ended."""

    def __init__(
        self,
        books: ReplicaBooks,
        groups: GroupTree,
        counters: Counters,
        timers: Timers,
        out: Outbox,
        *,
        incarnation: int,
        rng: random.Random,
    ) -> None:
        self._books = books
        self._groups = groups
        self._timers = timers
        self._out = out
        self._incarnation = incarnation
        self._rng = rng
        self._starts = 0
        self.health = HealthWatch(books, timers, out, self.fail)
        self.oom = OomWatch(books, counters)

    # ---- starting

    def create(self, target: ReplicaTarget, now: float) -> None:
        """Take in a new replica and start it."""
        spec = target.spec
        replica = Replica(target.replica_id, spec.name, "", spec, target.generation, target)
        self._books.add(replica)
        self._renew(replica, now)
        self._launch(replica, now)

    def _renew(self, replica: Replica, now: float) -> None:
        """Take over a new generation's spec; only where the replica has no process."""
        target = replica.target
        assert target is not None
        spec = replica.spec = target.spec
        replica.generation = target.generation
        replica.exits = replica.restarts = 0
        replica.reason = ""
        made = self._groups.add_replicas([(replica.replica_id, spec, replica.busy)], now)
        replica.group = made[replica.replica_id]
        self._groups.retune(replica.group, spec, target.cpu_per_request_millis, now)
        factor = implied_stretch(spec.cpu_per_request_millis)
        if spec.quota is QuotaMode.FOLLOW and factor > 1:
            text = stretch_warning(spec.cpu_per_request_millis, factor)
            self._out.note("warning", "quota_stretches_requests", service=spec.name, text=text)

    def _launch(self, replica: Replica, now: float) -> None:
        assert replica.phase is Phase.NONE
        self._timers.clear("backoff", replica.replica_id)
        spec = replica.spec
        self._starts += 1
        key = f"{replica.replica_id}.{self._incarnation}-{self._starts}"
        if replica.older_key:
            # Of a replica that fails again and again the logs of two processes say enough.
            self._out.add(ForgetProcess(replica.older_key, keep_log=False))
        replica.older_key = replica.last_key
        replica.key = replica.last_key = key
        replica.phase = Phase.ASKED
        replica.failures = 0
        replica.health_error = ""
        replica.ready_at = None
        self.oom.begin(replica)
        self._books.by_key[key] = replica
        process = ProcessSpec(
            key=key,
            argv=spec.argv,
            env=spec.env,
            group=replica.group,
            port=spec.port,
            best_effort=False,
            host=LISTEN[spec.expose],
            meta=replica_meta(replica.replica_id, replica.generation, spec, replica.restarts),
        )
        self._out.add(StartProcess(process))
        self._books.set_state(replica, ReplicaState.STARTING)

    def started(self, event: ProcessStarted, now: float) -> None:
        """The process runs, or did: it may have ended already."""
        replica = self._books.by_key.get(event.key)
        if replica is None or replica.phase is not Phase.ASKED:
            return
        replica.phase = Phase.ALIVE
        replica.pid = event.record.pid
        replica.port = event.port
        if event.record.ended:
            self.ended(event.record, now)
        elif replica.state is ReplicaState.STOPPING:
            self._books.tell(replica)
            self._halt(replica, now)
        elif not event.port:
            self.fail(replica, "was given no port", now)
        else:
            self._books.tell(replica)
            self.health.begin(replica, now)

    def start_failed(self, event: ProcessStartFailed, now: float) -> None:
        """Nothing runs; whether to try again soon or seldom depends on why."""
        replica = self._books.by_key.get(event.key)
        if replica is None or replica.phase is not Phase.ASKED:
            return
        self._vacate(replica)
        if replica.state is ReplicaState.STOPPING:
            self.rest(replica, now)
        elif event.lasting:
            reason = f"{event.error}; tried again every {LASTING_RETRY_S:g} s"
            self._back_off(replica, LASTING_RETRY_S, reason, now)
        else:
            self._back_off(replica, self._delay(replica), event.error, now)

    # ---- stopping

    def fail(self, replica: Replica, reason: str, now: float) -> None:
        """Stop a process that does not serve; another one follows its end."""
        self._books.set_state(replica, ReplicaState.UNHEALTHY, reason)
        self._books.note("warning", "replica_unhealthy", replica)
        self._halt(replica, now)

    def retire(self, replica: Replica, reason: str, now: float) -> None:
        """The edge wants it gone, or another in its place: finish what is in flight, then stop."""
        if replica.phase is Phase.NONE:
            self.rest(replica, now)
            return
        if replica.state is ReplicaState.STOPPING:
            return
        self._out.record(REPLICA_STOP, replica.service, replica.replica_id, reason)
        self.health.end(replica)
        self._books.set_state(replica, ReplicaState.STOPPING, reason)
        if replica.phase is Phase.ALIVE:
            if replica.busy:
                drain_until = now + max(replica.spec.timeout_s, replica.spec.stop_grace_s)
                self._timers.set("drain", replica.replica_id, drain_until)
            else:
                self._halt(replica, now)

    def recall(self, replica: Replica, now: float) -> None:
        """The edge wants it after all: if its process was not told to stop yet, it goes on."""
        if replica.phase is Phase.ASKED:
            self._books.set_state(replica, ReplicaState.STARTING, "")
        elif replica.phase is Phase.ALIVE:
            self._timers.clear("drain", replica.replica_id)
            if replica.ready_at is None:
                self._books.set_state(replica, ReplicaState.STARTING, "")
                self.health.begin(replica, now)
            else:
                self._books.set_state(replica, ReplicaState.READY, "")
                self.health.check(replica, now)

    def drained(self, replica: Replica, now: float) -> None:
        """The last request in flight of a replica that shall go has ended."""
        if replica.phase is Phase.ALIVE:
            self._halt(replica, now)
        elif replica.phase is Phase.NONE:
            self.rest(replica, now)

    def _halt(self, replica: Replica, now: float) -> None:
        self.health.end(replica)
        self._timers.clear("drain", replica.replica_id)
        replica.phase = Phase.HALTING
        grace_s = replica.spec.stop_grace_s
        self._out.add(StopProcess(replica.key, grace_s))
        self._timers.set("halt", replica.replica_id, now + grace_s + STOP_AGAIN_S)

    def stop_again(self, now: float) -> None:
        """Another supervisor has taken over: it does not know what was being stopped."""
        for key in sorted(self._books.by_key):
            replica = self._books.by_key[key]
            if replica.phase is Phase.HALTING:
                self._halt(replica, now)

    # ---- ended

    def ended(self, record: ProcessRecord, now: float) -> None:
        """A replica's process ended: ours to know by its key."""
        replica = self._books.by_key[record.key]
        self._out.add(ForgetProcess(record.key, keep_log=True))
        if record.lost:
            self._groups.end_orphans(replica.group)
        self._vacate(replica)
        if replica.ready_at is not None and now - replica.ready_at >= BACKOFF_RESET_S:
            replica.exits = 0
        if replica.state is ReplicaState.STOPPING:
            self.rest(replica, now)
            return
        reason = replica.reason
        if replica.state is not ReplicaState.UNHEALTHY:
            reason = describe_end(record)
            self.oom.look(replica, record)
        if replica.adopted:
            self._books.set_state(replica, ReplicaState.BACKOFF, reason + WAITS_FOR_EDGE)
        else:
            self._back_off(replica, self._delay(replica), reason, now)

    def rest(self, replica: Replica, now: float) -> None:
        """There is no process: remove the replica, or go on with what the edge wants."""
        target = replica.target
        stays = target is not None and target.spec.name == replica.service
        same = stays and target is not None and target.generation == replica.generation
        if not same and replica.in_flight:
            # Their connections are closed; the answers are on their way.
            self._timers.clear("backoff", replica.replica_id)
            self._books.set_state(replica, ReplicaState.STOPPING)
        elif not stays:
            self._remove(replica, now)
        elif not same:
            self._renew(replica, now)
            self._launch(replica, now)
        elif replica.state is ReplicaState.STOPPING:
            replica.restarts += 1
            self._launch(replica, now)
        else:
            self._back_off(replica, self._delay(replica), replica.reason, now)

    def _remove(self, replica: Replica, now: float) -> None:
        self._books.set_state(replica, ReplicaState.STOPPING)
        self._timers.clear("backoff", replica.replica_id)
        self.oom.forget(replica)
        self._books.drop(replica)
        self._groups.remove_replica(replica.group)
        self._out.send(ReplicaGone(replica.replica_id))
        self._books.note("info", "replica_removed", replica)
        if replica.target is not None:
            self.create(replica.target, now)

    def _vacate(self, replica: Replica) -> None:
        self.health.end(replica)
        self._timers.clear("drain", replica.replica_id)
        self._timers.clear("halt", replica.replica_id)
        del self._books.by_key[replica.key]
        replica.key = ""
        replica.phase = Phase.NONE
        replica.pid = replica.port = 0

    def _back_off(self, replica: Replica, delay_s: float, reason: str, now: float) -> None:
        self._out.record(
            REPLICA_BACKOFF,
            replica.service,
            replica.replica_id,
            reason,
            delay_s,
            replica.restarts,
        )
        self._timers.set("backoff", replica.replica_id, now + delay_s)
        self._books.set_state(replica, ReplicaState.BACKOFF, reason)
        self._books.note("warning", "replica_backs_off", replica)

    def _delay(self, replica: Replica) -> float:
        delay_s = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2.0 ** min(replica.exits, 16))
        replica.exits += 1
        # Replicas that fail together do not come back together.
        return delay_s * self._rng.uniform(1.0, 1.1)

    def fire(self, kind: str, replica_id: str, now: float) -> None:
        """One of a replica's times has come."""
        replica = self._books.by_id[replica_id]
        if kind == "health":
            self.health.due(replica, now)
        elif kind == "start":
            self.health.start_overdue(replica, now)
        elif kind == "drain":
            self._halt(replica, now)
        elif kind == "halt":
            self._out.add(StopProcess(replica.key, 0.0))
            self._timers.set("halt", replica_id, now + STOP_AGAIN_S)
        elif kind == "backoff":
            replica.restarts += 1
            self._launch(replica, now)
