"""One attempt of a BE task on this node, and what its end says."""

from __future__ import annotations

from dataclasses import dataclass

from tango.controllers.worker.phase import Phase
from tango.controllers.worker.reasons import deadline_exceeded, describe_end
from tango.model.events import GroupUsed
from tango.model.job import AttemptState, AttemptStatus, TaskSpec
from tango.model.process import ProcessRecord


@dataclass(slots=True, eq=False)
class Attempt:
    """One attempt. record: its process, None until that began. ended: its end has been told.

    failure: why it was stopped or never ran, "" if neither. past: its end is acknowledged.
    grace_s: of the stop that was asked for, None for the task's own. evicted: why it was stopped
    for no fault of its own (to make room for LC, or with its node), "" if it was not. cores: ids
    that it was given. checkpointing: its state is being written. checkpoint_try, checkpoint_error:
    the number of the latest try, and why it failed.
    restoring: it was asked to begin from a checkpoint.
    """

    attempt_id: str
    spec: TaskSpec
    group: str = ""
    phase: Phase = Phase.NONE
    record: ProcessRecord | None = None
    ended: bool = False
    failure: str = ""
    cpu_s: float = 0.0
    grace_s: float | None = None
    priority: int = 0
    evicted: str = ""
    cores: tuple[int, ...] = ()
    checkpointing: bool = False
    checkpoint_try: int = 0
    checkpoint_error: str = ""
    restoring: bool = False

    def status(self, node: str) -> AttemptStatus:
        """As the edge is told."""
        record = self.record
        if self.ended:
            state = AttemptState.ENDED
        else:
            state = AttemptState.STARTING if record is None else AttemptState.RUNNING
        ended = record if self.ended else None
        return AttemptStatus(
            attempt_id=self.attempt_id,
            state=state,
            node=node,
            cpu_millis=self.spec.cpu_millis,
            memory_bytes=self.spec.memory_bytes,
            exit_code=ended.exit_code if ended is not None else None,
            signal=ended.signal if ended is not None else 0,
            failure=self.failure if self.ended else "",
            cpu_s=self.cpu_s,
            started_at=record.started_at if record is not None else 0.0,
            ended_at=ended.ended_at if ended is not None else 0.0,
            priority=self.priority,
            evicted=self.evicted,
            cores=self.cores,
            checkpoint=ended.checkpoint if ended is not None else None,
            checkpoint_try=self.checkpoint_try,
            checkpoint_error=self.checkpoint_error,
            ports=self.spec.ports,
        )


def failure_of(spec: TaskSpec, record: ProcessRecord, used: GroupUsed | None) -> str:
    """What an end says that exit code and signal do not."""
    if record.checkpoint is not None:
        return "checkpointed"
    if used is not None and used.n_oom_kills and (record.signal or record.exit_code):
        return describe_end(record, out_of_memory=True)
    if record.lost or (record.exit_code is None and not record.signal):
        return describe_end(record)
    lived_s = record.ended_at - record.started_at
    if record.signal and 0 < spec.deadline_s <= lived_s:
        # Stopped by an earlier life of this worker.
        return deadline_exceeded(spec.deadline_s)
    return ""
