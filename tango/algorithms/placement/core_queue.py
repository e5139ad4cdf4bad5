"""A queue of jobs for whole cores: RESTfulSwarm's scheduling, as a pure state machine.

A re-implementation that avoids the original's known faults: cores and memory are booked by one
`Room`, a gang is whole or not there at all, tasks of nodes that left are placed again, overtaking
is bounded. What a task names (node, core ids) counts under every strategy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from tango.algorithms.placement.cluster import Cluster
from tango.algorithms.placement.core_jobs import CoreJob, JobRecord, JobState, profile_of
from tango.algorithms.placement.decision import Chosen
from tango.algorithms.placement.nearest_miss import nearest_miss
from tango.algorithms.placement.placer import Placer, as_given
from tango.algorithms.placement.plugin import Plugin
from tango.algorithms.placement.pod import Pod
from tango.algorithms.placement.room import Room
from tango.model.errors import AlreadyExists, InvalidField, NotFound, Refused

MAX_OVERTAKEN = 64
NO_NODE_NAMED = "strategy `node`, and it names no node"


@dataclass(frozen=True, slots=True)
class Started:
    """Tasks of a job that go to their nodes now."""

    job: str
    tasks: tuple[Chosen, ...]


class CoreQueue:
    """Jobs in order of arrival (of priority, under `priority`); one that does not fit is overtaken.

    max_overtaken: after so many later jobs went first, none does any more until it has started;
    jobs that could never fit here are exempt, and those that wait for a pod of another job.
    """

    def __init__(
        self,
        cluster: Cluster,
        plugins: Mapping[str, Plugin],
        strategy: str = "best-fit",
        max_overtaken: int = MAX_OVERTAKEN,
    ) -> None:
        self._plugins = plugins
        self._max_overtaken = max_overtaken
        self.strategy = strategy
        self.jobs: dict[str, JobRecord] = {}
        self._job_of: dict[str, str] = {}
        self._submitted = 0
        self._placer = Placer(Room(cluster), profile_of(strategy), plugins)

    @property
    def room(self) -> Room:
        """Who holds what."""
        return self._placer.room

    # ---- events

    def submit(self, job: CoreJob, now: float, *, require_fit: bool = False) -> str:
        """Queue it. Answers why it can never fit here ("NeverFits: nearest w1, ..."), "" if it may.

        Raises AlreadyExists, and Refused under require_fit where it can never fit.
        """
        if job.name in self.jobs:
            raise AlreadyExists(f"there is a job {job.name} already")
        for task in job.tasks:
            if task.name in self._job_of:
                owner = self._job_of[task.name]
                raise InvalidField(f"jobs.{job.name}.tasks", f"{task.name} is in {owner}", "rename")
        why = self._never_fits(job.tasks)
        if why and require_fit:
            raise Refused(f"{job.name} can never run here: {why}")
        record = JobRecord(job, self._submitted, now, never_fits=why)
        record.waiting = {task.name for task in job.tasks}
        self._submitted += 1
        self.jobs[job.name] = record
        self._job_of.update((task.name, job.name) for task in job.tasks)
        return why

    def round(self, now: float) -> tuple[Started, ...]:
        """Start what fits. Call it every so often, and after anything that frees room."""
        started = []
        passed: list[JobRecord] = []
        for record in self._queue():
            tasks = [task for task in record.job.tasks if task.name in record.waiting]
            placed = self._placed(tasks)
            if isinstance(placed, Chosen):
                if not record.never_fits and not self._waits_for_others(tasks):
                    if record.overtaken >= self._max_overtaken:
                        break
                    passed.append(record)
                continue
            record.waiting.clear()
            record.state = JobState.RUNNING
            record.overtaken = 0
            record.started_at = now if record.started_at is None else record.started_at
            started.append(Started(record.job.name, placed))
            for one in passed:
                one.overtaken += 1
            if any(one.overtaken >= self._max_overtaken for one in passed):
                break
        return tuple(started)

    def ended(self, task: str, now: float, *, well: bool = True) -> None:
        """A task exited; with the last one its job is down. Unknown or not running: ignored."""
        if task not in self.room.held:
            return
        self._placer.end(task)
        record = self.jobs[self._job_of[task]]
        record.ended[task] = well
        if len(record.ended) == len(record.job.tasks):
            record.state = JobState.SUCCEEDED if all(record.ended.values()) else JobState.FAILED
            record.ended_at = now

    def cancel(self, name: str, now: float) -> tuple[str, ...]:
        """End a job; answers with its tasks to stop. Down already: none. Raises NotFound."""
        record = self._record(name)
        if record.down:
            return ()
        running = tuple(task.name for task in record.job.tasks if task.name in self.room.held)
        for task in running:
            self._placer.end(task)
        record.waiting.clear()
        record.state, record.ended_at = JobState.CANCELLED, now
        return running

    def forget(self, name: str) -> None:
        """Its name is free again. Raises NotFound, and Refused while it is not down."""
        record = self._record(name)
        if not record.down:
            raise Refused(f"{name} is {record.state.value}; cancel it first")
        del self.jobs[name]
        for task in record.job.tasks:
            del self._job_of[task.name]

    def switch(self, strategy: str) -> None:
        """Another strategy from the next round on; the queue and what runs stay. InvalidField."""
        self._placer = Placer(self.room, profile_of(strategy), self._plugins)
        self.strategy = strategy
        self._judge()

    def nodes_changed(self, cluster: Cluster) -> tuple[str, ...]:
        """Nodes joined, left, drained or changed. Answers with tasks that lost theirs: they wait.

        Those keep their job's place in the queue. A node that takes nothing new and keeps what it
        has is `cordoned`; one to drain is left out.
        """
        before, room = self.room, Room(cluster)
        lost = []
        for name, held in before.held.items():
            node = cluster.index.get(before.cluster.names[held.node])
            try:
                if node is None:
                    raise Refused("its node has left")
                room.restore(replace(held, node=node))
            except Refused:
                lost.append(name)
                self.jobs[self._job_of[name]].waiting.add(name)
        self._placer = Placer(room, profile_of(self.strategy), self._plugins)
        self._judge()
        return tuple(sorted(lost))

    # ---- inside

    def _queue(self) -> list[JobRecord]:
        waiting = [record for record in self.jobs.values() if record.waiting]
        by_priority = self.strategy == "priority"
        return sorted(
            waiting, key=lambda one: (-one.job.priority if by_priority else 0, one.number)
        )

    def _placed(self, tasks: Sequence[Pod]) -> tuple[Chosen, ...] | Chosen:
        for task in tasks if self.strategy == "node" else ():
            if not task.node:
                return Chosen(task.name, "")
        return self._placer.place_gang(tasks, self._order())

    def _order(self) -> Callable[[Sequence[Pod]], list[Pod]]:
        return most_cores_first if self.strategy.endswith("-decreasing") else as_given

    def _judge(self) -> None:
        for record in self._queue():
            tasks = [task for task in record.job.tasks if task.name in record.waiting]
            record.never_fits = self._never_fits(tasks)

    def _never_fits(self, tasks: Sequence[Pod]) -> str:
        """Why this strategy could not place them even if nothing else ran; "" if it could.

        Where one wants to be near a pod of another job there is no telling.
        """
        if self._waits_for_others(tasks):
            return ""
        if self.strategy == "node" and any(not task.node for task in tasks):
            return f"NeverFits: {NO_NODE_NAMED}"
        empty = Room(self.room.cluster)
        alone = Placer(empty, self._placer.profile, self._plugins)
        for task in self._order()(tasks):
            if not alone.place(task).node:
                return f"NeverFits: {nearest_miss(alone, task)}"
        return ""

    def _waits_for_others(self, tasks: Sequence[Pod]) -> bool:
        """Whether one wants to be near a pod of another job, which may never come."""
        known = {task.name for task in tasks} | self.room.cluster.index.keys()
        return any(task.near and task.near not in known for task in tasks)

    def _record(self, name: str) -> JobRecord:
        record = self.jobs.get(name)
        if record is None:
            raise NotFound(f"no job is named {name}")
        return record


def most_cores_first(tasks: Sequence[Pod]) -> list[Pod]:
    """The decreasing variants' order; equals as given."""
    return sorted(tasks, key=lambda task: -task.cores)
