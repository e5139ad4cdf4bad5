"""BE task attempts on this node: each runs at most once, and its end is told until acknowledged."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from tango.algorithms.quota.sides import attempt_group
from tango.controllers.worker.attempt import Attempt, failure_of
from tango.controllers.worker.counters import Counters
from tango.controllers.worker.groups import GroupTree
from tango.controllers.worker.outbox import Outbox
from tango.controllers.worker.phase import Phase
from tango.controllers.worker.reasons import NODE_SHUT_DOWN, deadline_exceeded
from tango.controllers.worker.records import AttemptRecord, attempt_meta
from tango.controllers.worker.timers import Timers
from tango.model.commands import CheckpointProcess, ForgetProcess, StartProcess, StopProcess
from tango.model.decision import ATTEMPT_DECLINE, ATTEMPT_END, ATTEMPT_START, ATTEMPT_STOP
from tango.model.errors import InvalidField
from tango.model.events import CheckpointFailed, GroupUsed, ProcessStarted, ProcessStartFailed
from tango.model.job import AttemptStatus, TaskSpec
from tango.model.messages import (
    AckEnds,
    AttemptChanged,
    ForgetLogs,
    StartAttempt,
    StopAttempt,
)
from tango.model.process import ProcessRecord, ProcessSpec

# An end that is not acknowledged is told again; a new session tells all of them anyway.
REPEAT_S = 10.0
# Longest wait for the last counters of an attempt's group; its end is told without them then.
LAST_COUNTERS_S = 1.0
STOP_AGAIN_S = 10.0
# Attempts that run or wait to be acknowledged; a runtime has its own limit, of what runs.
MAX_ATTEMPTS = 4096
# Acknowledged attempts that are remembered, so that a late repeat of their start runs nothing.
MAX_PAST = 4096

_REPEAT = "all"


class Attempts:
    """Starts, stops, watches and reports attempts. Their process key is the attempt id."""

    def __init__(
        self,
        node: str,
        groups: GroupTree,
        counters: Counters,
        timers: Timers,
        out: Outbox,
    ) -> None:
        self._node = node
        self._groups = groups
        self._counters = counters
        self._timers = timers
        self._out = out
        self._attempts: dict[str, Attempt] = {}
        self._past: OrderedDict[str, None] = OrderedDict()
        # Ended, and waiting for the last counters of their group.
        self._ending: dict[str, Attempt] = {}
        self._unacked = 0
        # Adopted ones whose deadline cannot be told before the wall clock is known.
        self._undated: list[Attempt] = []

    def __contains__(self, attempt_id: str) -> bool:
        return attempt_id in self._attempts

    @property
    def running(self) -> int:
        """Attempts that have not ended."""
        return len(self._attempts) - self._unacked

    @property
    def asked_millis(self) -> int:
        """CPU that attempts declare which have not ended."""
        return sum(one.spec.cpu_millis for one in self._attempts.values() if not one.ended)

    def statuses(self) -> tuple[AttemptStatus, ...]:
        """All that are not acknowledged, by id."""
        return tuple(self._attempts[name].status(self._node) for name in sorted(self._attempts))

    # ---- what central says

    def start(self, message: StartAttempt, now: float) -> None:
        """Run it, unless it is known: then only say how it is."""
        attempt_id = message.attempt_id
        known = self._attempts.get(attempt_id)
        if known is not None:
            self._tell(known)
            return
        attempt = Attempt(attempt_id, message.spec, priority=message.priority, cores=message.cores)
        if attempt_id in self._past:
            self._refuse(attempt, "ran here before, and its end was acknowledged")
            return
        if len(self._attempts) >= MAX_ATTEMPTS:
            self._refuse(attempt, f"{MAX_ATTEMPTS} attempts on this node are not acknowledged yet")
            return
        self._attempts[attempt_id] = attempt
        try:
            attempt_group(attempt_id)
        except InvalidField as error:
            self._fail(attempt, str(error), now)
            return
        spec = message.spec
        if message.cores and not self._groups.pins:
            self._fail(attempt, "this node cannot give a task cores of its own", now)
            return
        attempt.group = self._groups.add_attempt(attempt_id, spec, message.cores)
        attempt.phase = Phase.ASKED
        attempt.restoring = message.restore is not None
        process = ProcessSpec(
            key=attempt_id,
            argv=spec.argv,
            env=spec.env,
            group=attempt.group,
            port=None,
            best_effort=True,
            meta=attempt_meta(attempt_id, spec, message.priority, message.cores),
            restore=message.restore,
            ports=spec.ports,
        )
        self._out.record(ATTEMPT_START, attempt_id, spec.cpu_millis, spec.memory_bytes)
        self._out.add(StartProcess(process))
        self._tell(attempt)

    def stop(self, message: StopAttempt, now: float) -> None:
        """Stop it; one that is not known is remembered as stopped, so that it never begins."""
        reason = message.reason or "cancelled"
        attempt = self._attempts.get(message.attempt_id)
        if attempt is None:
            attempt = Attempt(message.attempt_id, TaskSpec(name="", argv=()))
            attempt.evicted = reason if message.evict else ""
            if len(self._attempts) >= MAX_ATTEMPTS:
                self._refuse(attempt, reason)
            else:
                self._attempts[message.attempt_id] = attempt
                self._fail(attempt, reason, now)
        elif attempt.ended:
            self._tell(attempt)
        elif message.checkpoint:
            self._checkpoint(attempt, message)
        else:
            attempt.grace_s = message.grace_s
            # One that is being stopped anyway ends for the first reason.
            if message.evict and not attempt.failure:
                attempt.evicted = reason
            self._stop(attempt, reason, now)

    def acknowledge(self, message: AckEnds, now: float) -> None:
        """These ends are stored where it matters: their groups and records may go."""
        del now
        for attempt_id in message.attempt_ids:
            attempt = self._attempts.get(attempt_id)
            if attempt is None or not attempt.ended:
                continue
            del self._attempts[attempt_id]
            self._unacked -= 1
            self._past[attempt_id] = None
            if len(self._past) > MAX_PAST:
                self._past.popitem(last=False)
            # The record last: a worker that dies in between finds it, and cleans up again.
            if attempt.group:
                self._groups.remove_attempt(attempt.group)
            if attempt.record is not None:
                self._out.add(ForgetProcess(attempt_id, keep_log=True))
        if not self._unacked:
            self._timers.clear("repeat", _REPEAT)

    def forget_logs(self, message: ForgetLogs, now: float) -> None:
        """Their jobs are gone: the logs of these attempts go, but of those still in the books."""
        del now
        for attempt_id in message.attempt_ids:
            # No other process's key has two dots: nothing but an attempt is ever forgotten here.
            if attempt_id not in self._attempts and attempt_id.count(".") == 2:
                self._out.add(ForgetProcess(attempt_id, keep_log=False))

    # ---- what its process does

    def adopt(self, found: Iterable[AttemptRecord], now: float) -> None:
        """Take over attempts of an earlier life of this worker; those that ended are told."""
        for one in sorted(found, key=lambda one: one.attempt_id):
            attempt = Attempt(one.attempt_id, one.spec, phase=Phase.ALIVE, record=one.record)
            attempt.priority, attempt.cores = one.priority, one.cores
            self._attempts[one.attempt_id] = attempt
            attempt.group = self._groups.add_attempt(one.attempt_id, one.spec, one.cores)
            if one.record.ended:
                self.process_ended(one.record, now)
            elif one.spec.deadline_s > 0:
                self._undated.append(attempt)

    def started(self, event: ProcessStarted, now: float) -> None:
        """It runs, or did."""
        attempt = self._attempts[event.key]
        if attempt.phase is not Phase.ASKED:
            return
        attempt.phase = Phase.ALIVE
        attempt.record = event.record
        if event.record.ended:
            self.process_ended(event.record, now)
            return
        if attempt.spec.deadline_s > 0:
            self._timers.set("deadline", event.key, now + attempt.spec.deadline_s)
        self._tell(attempt)
        if attempt.failure:
            self._halt(attempt, now)

    def start_failed(self, event: ProcessStartFailed, now: float) -> None:
        """It never ran; central decides whether another attempt makes sense."""
        attempt = self._attempts[event.key]
        if attempt.phase is Phase.ASKED:
            attempt.phase = Phase.NONE
            self._fail(attempt, attempt.failure or event.error, now)

    def checkpoint_failed(self, event: CheckpointFailed, now: float) -> None:
        """It runs on, as central is to hear; unless it has ended meanwhile."""
        del now
        attempt = self._attempts.get(event.key)
        if attempt is None or not attempt.checkpointing:
            return
        attempt.checkpointing = False
        attempt.checkpoint_error = event.error
        self._out.note("warning", "checkpoint_failed", attempt=event.key, error=event.error)
        if not attempt.ended:
            self._tell(attempt)

    def process_ended(self, record: ProcessRecord, now: float) -> None:
        """It ended: told once the last counters of its group are in, for CPU time and OOM kills."""
        attempt = self._attempts[record.key]
        if attempt.phase is Phase.NONE:
            return
        attempt.record = record
        attempt.phase = Phase.NONE
        if record.lost:
            self._groups.end_orphans(attempt.group)
        self._timers.clear("deadline", record.key)
        self._timers.clear("stop", record.key)
        if attempt.group:
            self._ending[attempt.group] = attempt
            self._timers.set("counters", record.key, now + LAST_COUNTERS_S)
            self._counters.ask((attempt.group,))
        else:
            self._conclude(attempt, None, now)

    def sampled(self, used: GroupUsed, now: float) -> None:
        """Counters of a group that an ended attempt may wait for."""
        attempt = self._ending.get(used.group)
        if attempt is not None:
            self._timers.clear("counters", attempt.attempt_id)
            self._conclude(attempt, used, now)

    def wall_clock(self, wall: float, now: float) -> None:
        """It is `wall` now: adopted attempts have the rest of their deadline."""
        for attempt in self._undated:
            record = attempt.record
            if record is not None and attempt.phase is Phase.ALIVE:
                left_s = attempt.spec.deadline_s - (wall - record.started_at)
                self._timers.set("deadline", attempt.attempt_id, now + max(0.0, left_s))
        self._undated.clear()

    def fire(self, kind: str, attempt_id: str, now: float) -> None:
        """One of the times has come."""
        if kind == "repeat":
            self._timers.set("repeat", _REPEAT, now + REPEAT_S)
            for name in sorted(self._attempts):
                if self._attempts[name].ended:
                    self._tell(self._attempts[name])
            return
        attempt = self._attempts[attempt_id]
        if kind == "deadline":
            self._stop(attempt, deadline_exceeded(attempt.spec.deadline_s), now)
        elif kind == "stop":
            self._out.add(StopProcess(attempt_id, 0.0))
            self._timers.set("stop", attempt_id, now + STOP_AGAIN_S)
        elif kind == "counters":
            self._conclude(attempt, None, now)

    def stop_again(self, now: float) -> None:
        """Another supervisor has taken over: it does not know what was being stopped."""
        for name in sorted(self._attempts):
            attempt = self._attempts[name]
            if attempt.phase is Phase.HALTING:
                self._halt(attempt, now)

    # ---- steps

    def _checkpoint(self, attempt: Attempt, message: StopAttempt) -> None:
        """Once for each number; a repeat, as after a reconnect, only says how it stands."""
        if message.checkpoint == attempt.checkpoint_try and (
            attempt.checkpointing or attempt.checkpoint_error
        ):
            self._tell(attempt)
            return
        attempt.checkpoint_try = message.checkpoint
        attempt.checkpoint_error = ""
        if attempt.phase is not Phase.ALIVE or attempt.failure:
            stands = "is being stopped" if attempt.failure else "has not begun"
            attempt.checkpoint_error = f"it {stands}"
            self._tell(attempt)
        elif not attempt.checkpointing:
            attempt.checkpointing = True
            self._out.record(ATTEMPT_STOP, attempt.attempt_id, message.reason, 0.0)
            self._out.add(CheckpointProcess(attempt.attempt_id))

    def _stop(self, attempt: Attempt, reason: str, now: float) -> None:
        if not attempt.failure:
            self._out.record(ATTEMPT_STOP, attempt.attempt_id, reason, self._grace_s(attempt))
        attempt.failure = attempt.failure or reason
        if attempt.phase is Phase.ALIVE:
            self._halt(attempt, now)
        elif attempt.phase is Phase.ASKED and attempt.restoring:
            # Its checkpoint may be a long way off: it need not come any more.
            self._out.add(StopProcess(attempt.attempt_id, 0.0))

    def _halt(self, attempt: Attempt, now: float) -> None:
        attempt.phase = Phase.HALTING
        grace_s = self._grace_s(attempt)
        self._timers.clear("deadline", attempt.attempt_id)
        self._out.add(StopProcess(attempt.attempt_id, grace_s))
        self._timers.set("stop", attempt.attempt_id, now + grace_s + STOP_AGAIN_S)

    def _grace_s(self, attempt: Attempt) -> float:
        return attempt.spec.stop_grace_s if attempt.grace_s is None else attempt.grace_s

    def _refuse(self, attempt: Attempt, failure: str) -> None:
        """Say that it ended, and keep nothing of it."""
        self._out.record(ATTEMPT_DECLINE, attempt.attempt_id, failure)
        attempt.failure = failure
        attempt.ended = True
        self._tell(attempt)

    def _fail(self, attempt: Attempt, failure: str, now: float) -> None:
        attempt.failure = failure
        self._end(attempt, now)

    def _conclude(self, attempt: Attempt, used: GroupUsed | None, now: float) -> None:
        """Its process is gone, and what its group counted is known, or will not be."""
        self._ending.pop(attempt.group, None)
        record = attempt.record
        assert record is not None
        attempt.cpu_s = max(record.cpu_s, used.cpu_s if used is not None else 0.0)
        if not attempt.failure and record.shut_down and record.exit_code != 0:
            attempt.failure = attempt.evicted = NODE_SHUT_DOWN
        if not attempt.failure:
            attempt.failure = failure_of(attempt.spec, record, used)
        self._end(attempt, now)

    def _end(self, attempt: Attempt, now: float) -> None:
        attempt.ended = True
        self._unacked += 1
        if not self._timers.is_set("repeat", _REPEAT):
            self._timers.set("repeat", _REPEAT, now + REPEAT_S)
        self._out.note("info", "attempt_ended", attempt=attempt.attempt_id, failure=attempt.failure)
        self._record_end(attempt)
        self._tell(attempt)

    def _record_end(self, attempt: Attempt) -> None:
        ran = attempt.record
        exit_code = ran.exit_code if ran is not None else None
        signal = ran.signal if ran is not None else 0
        self._out.record(
            ATTEMPT_END, attempt.attempt_id, exit_code, signal, attempt.failure, attempt.cpu_s
        )

    def _tell(self, attempt: Attempt) -> None:
        self._out.send(AttemptChanged(attempt.status(self._node)))

    def validate(self) -> None:
        """AssertionError where the books do not agree with themselves."""
        assert self._unacked == sum(one.ended for one in self._attempts.values())
        for name, attempt in self._attempts.items():
            assert name == attempt.attempt_id
            live = attempt.phase is not Phase.NONE
            waiting = self._ending.get(attempt.group) is attempt if attempt.group else False
            assert live + attempt.ended + waiting == 1, f"{name}: live, ended or ending"
            assert not (attempt.ended and self._timers.is_set("deadline", name))
            assert not waiting or self._timers.is_set("counters", name), f"{name}: waits for ever"
            assert attempt.phase is not Phase.HALTING or attempt.failure, f"{name}: no reason"
        assert not self._unacked or self._timers.is_set("repeat", _REPEAT), "ends are not repeated"
