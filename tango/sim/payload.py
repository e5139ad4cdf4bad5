"""What pretended processes do: replicas by their service, tasks by their arguments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tango.model.job import JobSpec, TaskSpec
from tango.model.process import ProcessSpec
from tango.sim.loads import JobShape, SimService

# Unix time at virtual second 0: a round number, for nobody may think that it is real.
EPOCH = 1_700_000_000.0
TASK = "sim-task"


@dataclass(frozen=True, slots=True)
class TaskProgram:
    """A task: it takes memory, uses CPU on so many threads, and exits with code 0."""

    cpu_s: float
    threads: float
    memory_bytes: int


def job_spec(shape: JobShape, work_cpu_s: tuple[float, ...]) -> JobSpec:
    """The job as it is submitted; what its tasks do is in their arguments."""
    used = round(shape.memory_bytes * shape.used_share)
    tasks = tuple(
        TaskSpec(
            f"t{index}",
            (TASK, repr(cpu_s), repr(shape.threads), str(used)),
            cpu_millis=shape.cpu_millis,
            memory_bytes=shape.memory_bytes,
        )
        for index, cpu_s in enumerate(work_cpu_s)
    )
    return JobSpec(shape.name, tasks, retries=shape.retries, priority=shape.priority)


def program_of(spec: ProcessSpec, services: Mapping[str, SimService]) -> SimService | TaskProgram:
    """What the process does."""
    if spec.argv[0] == TASK:
        _, cpu_s, threads, memory_bytes = spec.argv
        return TaskProgram(float(cpu_s), float(threads), int(memory_bytes))
    return services[dict(spec.meta)["service"]]
