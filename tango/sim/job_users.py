"""Users of BE jobs: they submit when a job is due, and again until it is taken."""

from __future__ import annotations

import random
from collections.abc import Iterator

from tango.model.job import JobRecord, JobSpec, JobState
from tango.model.views import JobCounts as ClusterJobCounts
from tango.sim.hosts import CentralHost
from tango.sim.loads import Distribution, JobArrival, JobLoad, JobShape
from tango.sim.payload import job_spec
from tango.workload.job_patterns import JobPatternSpec, job_arrivals
from tango.workload.report import JobCounts

# A submission that was not answered, or refused, is sent again after so long.
RETRY_S = 1.0


class JobTally:
    """Jobs by how they ended; those that were open when the counting began are counted too."""

    def __init__(self) -> None:
        self._evictions: dict[str, int] = {}
        self._cpu_before = 0.0
        self.submitted = self.succeeded = self.failed = self.cancelled = self.evictions = 0

    def changed(self, job: JobRecord) -> None:
        """A job is now this."""
        evictions = sum(task.evictions for task in job.tasks)
        self.evictions += evictions - self._evictions.get(job.job_id, 0)
        if not job.state.ended:
            if evictions:
                self._evictions[job.job_id] = evictions
            return
        self._evictions.pop(job.job_id, None)
        if job.state is JobState.SUCCEEDED:
            self.succeeded += 1
        elif job.state is JobState.FAILED:
            self.failed += 1
        else:
            self.cancelled += 1

    def begin(self, now: ClusterJobCounts) -> None:
        """Count from now on."""
        self._cpu_before = now.cpu_s
        self.submitted -= self.succeeded + self.failed + self.cancelled
        self.succeeded = self.failed = self.cancelled = self.evictions = 0

    def counts(self, now: ClusterJobCounts) -> JobCounts:
        """For the report."""
        cpu_s = max(0.0, now.cpu_s - self._cpu_before)
        return JobCounts(self.submitted, self.succeeded, self.failed, self.evictions, cpu_s)


class Submitter:
    """One stream of jobs. stopped: it submits nothing more."""

    def __init__(
        self,
        central: CentralHost,
        tally: JobTally,
        load: JobLoad,
        starts_at: float,
        prefix: str,
        rng: random.Random,
    ) -> None:
        self._engine = central.engine
        self._central = central
        self._tally = tally
        self._starts_at = starts_at
        self._prefix = prefix
        self._numbers = 0
        self._work = random.Random(rng.random())
        self._arrivals = _arrivals(load, rng)
        self.stopped = False

    def begin(self) -> None:
        """Plan the first."""
        arrival = next(self._arrivals, None)
        if arrival is not None:
            self._engine.at(self._starts_at + arrival.at_s, self._due, arrival.shape)

    def _due(self, shape: JobShape) -> None:
        if self.stopped:
            return
        self._numbers += 1
        self._tally.submitted += 1
        work = [shape.work_cpu_s] * shape.tasks
        if shape.distribution is Distribution.EXPONENTIAL:
            work = [cpu_s * self._work.expovariate(1.0) for cpu_s in work]
        name = f"{shape.name}-{self._prefix}{self._numbers:x}"
        self._submit((name, job_spec(shape, tuple(work))))
        self.begin()

    def _submit(self, job: tuple[str, JobSpec]) -> None:
        def done(error: Exception | None) -> None:
            if error is not None:
                self._engine.at(self._engine.now + RETRY_S, self._submit, job)

        if not self._central.submit(*job, done):
            self._engine.at(self._engine.now + RETRY_S, self._submit, job)


def _arrivals(load: JobLoad, rng: random.Random) -> Iterator[JobArrival]:
    if not isinstance(load.source, JobPatternSpec):
        return load.source(rng)
    shape = load.shape
    assert shape is not None
    return (JobArrival(arrival.at_s, shape) for arrival in job_arrivals(load.source, rng))
