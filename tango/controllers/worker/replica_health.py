"""Health checks of live replicas: until they are ready, and then for as long as they are."""

from __future__ import annotations

from collections.abc import Callable

from tango.controllers.worker.outbox import Outbox
from tango.controllers.worker.phase import Phase
from tango.controllers.worker.reasons import not_healthy_in_time, unhealthy
from tango.controllers.worker.replica import Replica, ReplicaBooks
from tango.controllers.worker.timers import Timers
from tango.model.commands import CheckHealth
from tango.model.events import HealthChecked
from tango.model.service import ReplicaState

# A starting replica is looked at more often, so that it takes requests soon after it can.
START_CHECK_S = 0.1
# A check's answer that is later than its timeout by this much will not come.
CHECK_LOST_S = 5.0


class HealthWatch:
    """One check at a time for each replica. fail(replica, reason, now): it must be replaced."""

    def __init__(
        self,
        books: ReplicaBooks,
        timers: Timers,
        out: Outbox,
        fail: Callable[[Replica, str, float], None],
    ) -> None:
        self._books = books
        self._timers = timers
        self._out = out
        self._fail = fail

    def begin(self, replica: Replica, now: float) -> None:
        """Watch a live replica; it is STARTING until it answers."""
        timeout_s = replica.spec.health.start_timeout_s
        self._timers.set("start", replica.replica_id, now + timeout_s)
        self.check(replica, now)

    def end(self, replica: Replica) -> None:
        """Check no more; an answer that is still to come does not count."""
        self._timers.clear("start", replica.replica_id)
        self._timers.clear("health", replica.replica_id)
        replica.checking = False

    def check(self, replica: Replica, now: float) -> None:
        """Ask it now."""
        health = replica.spec.health
        replica.checking = True
        replica.checked_at = now
        self._out.add(CheckHealth(replica.key, replica.port, health.path, health.timeout_s))
        self._timers.set("health", replica.replica_id, now + health.timeout_s + CHECK_LOST_S)

    def answered(self, event: HealthChecked, now: float) -> None:
        """An answer; an earlier process's is of no interest."""
        replica = self._books.by_key.get(event.key)
        if replica is not None and replica.checking:
            self._judge(replica, None if event.healthy else event.error or "unhealthy", now)

    def due(self, replica: Replica, now: float) -> None:
        """Time for a check, or too late for the answer of the last one."""
        if replica.checking:
            self._judge(replica, "no answer", now)
        elif is_watched(replica):
            self.check(replica, now)

    def start_overdue(self, replica: Replica, now: float) -> None:
        """It had long enough to become ready."""
        timeout_s = replica.spec.health.start_timeout_s
        self._fail(replica, not_healthy_in_time(timeout_s, replica.health_error), now)

    def _judge(self, replica: Replica, error: str | None, now: float) -> None:
        """Take the result of a check: None is healthy."""
        replica.checking = False
        if not is_watched(replica):
            return
        interval_s = replica.spec.health.interval_s
        if error is None:
            replica.failures = 0
            if replica.state is ReplicaState.STARTING:
                replica.ready_at = now
                self._timers.clear("start", replica.replica_id)
                self._books.set_state(replica, ReplicaState.READY, "")
                self._books.note("info", "replica_ready", replica)
        elif replica.state is ReplicaState.STARTING:
            replica.health_error = error
            interval_s = min(interval_s, START_CHECK_S)
        else:
            replica.failures += 1
            if replica.failures >= replica.spec.health.failures:
                self._fail(replica, unhealthy(replica.failures, error), now)
                return
        self._timers.set("health", replica.replica_id, max(now, replica.checked_at + interval_s))


def is_watched(replica: Replica) -> bool:
    """Whether its health matters now."""
    return replica.phase is Phase.ALIVE and replica.state in (
        ReplicaState.STARTING,
        ReplicaState.READY,
    )
