"""Records of cluster traces to tasks: when each came, what it asked for, how long it ran, and
whether it is latency-critical (LC) or best-effort (BE).

Rules of what is LC. Thresholds are the trace authors' own tiers and classes:
- Borg 2011: scheduling class 2 or 3 ("latency-sensitive", Reiss et al., format + schema v2.1) and
  priority 9 or more ("production", ClusterData2011_2.md).
- Borg 2019: scheduling class SENSITIVE or MOST_SENSITIVE (clusterdata_trace_format_v3.proto) and
  priority 120 or more (production and monitoring tiers; free is 0 to 99, best-effort batch to 115,
  mid to 119; Tirmazi et al., "Borg: the Next Generation", EuroSys 2020).
- openb: qos LS, Guaranteed and Burstable.
All else is BE: sensitive tasks of the free tiers too, which Borg kills for production at any time.
"""

from __future__ import annotations

import enum
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tango.model.errors import InvalidField
from tango.model.fast_init import fast_init
from tango.workload.bounds import require_number, require_whole
from tango.workload.cluster_events import AFTER_TRACE_US, MICROS, Step, TaskEvent
from tango.workload.openb import QOS, OpenbPod

_ENDS = frozenset({Step.EVICT, Step.FAIL, Step.FINISH, Step.KILL, Step.LOST})
# After these Borg brings the task back by itself; its author does not.
_COMES_BACK = frozenset({Step.EVICT, Step.FAIL})


class Fate(enum.Enum):
    """What became of a task within the trace (within the horizon, see BorgRule)."""

    FINISHED = "finished"
    STOPPED = "stopped"  # failed, killed, evicted or lost, and did not come back
    UNFINISHED = "unfinished"  # still running when last seen
    NEVER_RAN = "never_ran"


@fast_init
@dataclass(frozen=True, slots=True)
class TraceTask:
    """One task or pod, in the trace's own units.

    submitted_s: first submission, since the trace's time 0. run_s: length of its last run, 0 where
    it never ran; of an unfinished one only what was seen. cpu, memory: requests, None where not
    told. initial: it was there before the trace began (at time 0), at an unknown time.
    """

    name: str
    job: str
    submitted_s: float
    run_s: float
    fate: Fate
    latency_critical: bool
    cpu: float | None
    memory: float | None
    priority: int = 0
    initial: bool = False


@dataclass(frozen=True, slots=True)
class BorgRule:
    """What is LC, and how far the life of a task is followed.

    lc_class, lc_priority: LC is what has at least both. horizon_s: the fate of a task is told at
    latest so long after its submission. max_held: and where more tasks are held, that of the oldest
    is told at once: memory is bounded by it (about 0.5 KiB each), whatever the trace's length.
    """

    lc_class: int = 2
    lc_priority: int = 9
    horizon_s: float = 6 * 3600.0
    max_held: int = 200_000

    def __post_init__(self) -> None:
        require_whole("lc_class", self.lc_class, 0, 4)
        require_whole("lc_priority", self.lc_priority, 0, 10_000)
        require_number("horizon_s", self.horizon_s, 0, float(2**40), above=True)
        require_whole("max_held", self.max_held, 1, 100_000_000)

    def latency_critical(self, scheduling_class: int | None, priority: int) -> bool:
        """Whether a task is LC; one of unknown class is not."""
        if scheduling_class is None:
            return False
        return scheduling_class >= self.lc_class and priority >= self.lc_priority


BORG_2011 = BorgRule()
BORG_2019 = BorgRule(lc_priority=120)


@dataclass(frozen=True, slots=True)
class OpenbRule:
    """Which qos are LC; the others are BE. Raises InvalidField for one that openb lacks."""

    lc_qos: tuple[str, ...] = ("LS", "Guaranteed", "Burstable")

    def __post_init__(self) -> None:
        for qos in self.lc_qos:
            if qos not in QOS:
                raise InvalidField("lc_qos", f"{qos!r} is unknown", f"choose from {', '.join(QOS)}")


def openb_tasks(pods: Iterable[OpenbPod], rule: OpenbRule | None = None) -> Iterator[TraceTask]:
    """Each pod as a task, in the file's order: of creation. It runs from scheduling to deletion;
    one that was never deleted counts as just started and unfinished."""
    lc_qos = (rule or OpenbRule()).lc_qos
    for pod in pods:
        if pod.scheduled_s is None:
            run_s, fate = 0.0, Fate.NEVER_RAN
        elif pod.deleted_s is None:
            run_s, fate = 0.0, Fate.UNFINISHED
        else:
            run_s = pod.deleted_s - pod.scheduled_s
            fate = Fate.STOPPED if pod.phase == "Failed" else Fate.FINISHED
        yield TraceTask(
            pod.name,
            pod.name,
            pod.created_s,
            run_s,
            fate,
            pod.qos in lc_qos,
            float(pod.cpu_millis),
            float(pod.memory_bytes),
        )


@dataclass(slots=True)
class _Life:
    """A task so far. started_us: of the run under way, None between runs."""

    submitted_us: int
    scheduling_class: int | None = None
    priority: int = 0
    cpu: float | None = None
    memory: float | None = None
    started_us: int | None = None
    run_us: int = 0
    ran: bool = False
    fate: Fate | None = None


class BorgTasks:
    """Events of Borg tasks, in order of time, to tasks in order of their first submission.

    A task is told once its fate is known and that of all earlier ones: at FINISH, KILL or LOST, or
    at the horizon. After EVICT and FAIL it may come back; then its last run counts, as the work of
    the earlier ones was lost. Requests, class and priority are the latest ones told. What is
    submitted again after its fate was told is a new task. Instances of alloc sets run nothing and
    are left out.

    strays: events of tasks that were never submitted, or told already; they are left out.
    cut: tasks told as they stood before the horizon, because too many were held.
    """

    def __init__(self, rule: BorgRule = BORG_2011) -> None:
        self.strays = 0
        self.cut = 0
        self._rule = rule
        self._horizon_us = round(rule.horizon_s * MICROS)
        # In order of submission. The open one of a key is the last that was submitted under it.
        self._lives: OrderedDict[tuple[int, int, int], _Life] = OrderedDict()
        self._open: dict[tuple[int, int], tuple[int, int, int]] = {}
        self._count = 0
        self._now_us = 0

    def event(self, event: TaskEvent) -> Iterator[TraceTask]:
        """Take one event; the tasks that are known by it."""
        if event.reservation or event.at_us == AFTER_TRACE_US:
            return
        self._now_us = event.at_us
        key = (event.job, event.index)
        place = self._open.get(key)
        if place is not None:
            self._step(self._lives[place], event)
            if self._lives[place].fate is not None:
                del self._open[key]
        elif event.step is Step.SUBMIT:
            self._count += 1
            self._open[key] = place = (*key, self._count)
            self._lives[place] = life = _Life(event.at_us)
            self._step(life, event)
        else:
            self.strays += 1
        yield from self._known()

    def end(self) -> Iterator[TraceTask]:
        """The tasks that are left where the trace ends, which are unfinished or never ran."""
        while self._lives:
            yield self._pop()

    def _step(self, life: _Life, event: TaskEvent) -> None:
        life.scheduling_class, life.priority = event.scheduling_class, event.priority
        life.cpu = life.cpu if event.cpu is None else event.cpu
        life.memory = life.memory if event.memory is None else event.memory
        if event.step is Step.SCHEDULE or (
            event.step is Step.UPDATE_RUNNING and life.started_us is None
        ):
            life.started_us, life.ran = event.at_us, True
        elif event.step in _ENDS:
            if life.started_us is not None:
                life.run_us = event.at_us - life.started_us
                life.started_us = None
            if event.step not in _COMES_BACK:
                ended = Fate.FINISHED if event.step is Step.FINISH else Fate.STOPPED
                life.fate = ended if life.ran else Fate.NEVER_RAN

    def _known(self) -> Iterator[TraceTask]:
        while self._lives:
            oldest = next(iter(self._lives.values()))
            crowded = len(self._lives) > self._rule.max_held
            over = self._now_us - oldest.submitted_us >= self._horizon_us
            if oldest.fate is None and not over:
                if not crowded:
                    return
                self.cut += 1
            yield self._pop()

    def _pop(self) -> TraceTask:
        place, life = self._lives.popitem(last=False)
        if life.fate is None:
            del self._open[place[:2]]
        job, index, _ = place
        run_us, fate = life.run_us, life.fate
        if fate is None:
            if life.started_us is not None:
                run_us, fate = self._now_us - life.started_us, Fate.UNFINISHED
            else:
                fate = Fate.STOPPED if life.ran else Fate.NEVER_RAN
        return TraceTask(
            f"{job}.{index}",
            str(job),
            life.submitted_us / MICROS,
            run_us / MICROS,
            fate,
            self._rule.latency_critical(life.scheduling_class, life.priority),
            life.cpu,
            life.memory,
            life.priority,
            life.submitted_us == 0,
        )


def borg_tasks(events: Iterable[TaskEvent], rule: BorgRule = BORG_2011) -> Iterator[TraceTask]:
    """The tasks of a Borg trace in order of submission, in bounded memory; see BorgTasks."""
    tasks = BorgTasks(rule)
    for event in events:
        yield from tasks.event(event)
    yield from tasks.end()
