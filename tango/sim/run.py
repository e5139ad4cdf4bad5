"""The one way to run a simulation: a scenario in, an outcome out."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tango.adapters.huge_pages import use_huge_pages
from tango.model.request import Outcome as Fate
from tango.model.views import JobCounts as ClusterJobCounts
from tango.sim.log import EVERY_S, DecisionLog, Text
from tango.sim.outcome import Outcome, Progress
from tango.sim.scenario import Scenario
from tango.sim.world import World
from tango.workload.report import JobCounts, NodeReport, Report, merge_tallies

# The load's end does not end requests: they get their timeouts, and this much more.
DRAIN_MARGIN_S = 2.0
SLICE_S = 0.25
GARBAGE_THRESHOLD = 50_000
# From so many on their memory, some 0.1 MiB each, is beyond a processor's caches.
MANY_NODES = 100


def simulate(
    scenario: Scenario,
    *,
    log: Text | None = None,
    progress: Callable[[Progress], object] | None = None,
    check: bool = False,
) -> Outcome:
    """Run a scenario. The same scenario and seed give the same outcome, and the same log.

    log: takes the decision log. progress: is told from time to time, and stops the load by
    returning True: what is under way then ends, and the outcome tells of the run so far.
    check: validate every controller's books after each event (slow, for tests).
    Raises InvalidField for a scenario that is wrong, and what a trace raises that cannot be read.
    """
    scenario.validate()
    with _collector_left_out():
        return _Run(scenario, log, progress, check=check).whole()


class _Run:
    """One run, phase by phase."""

    def __init__(
        self,
        scenario: Scenario,
        log: Text | None,
        progress: Callable[[Progress], object] | None,
        *,
        check: bool,
    ) -> None:
        self._scenario = scenario
        self._progress = progress
        self._log = DecisionLog(log) if log is not None else None
        self._slice_s = EVERY_S if log is not None else SLICE_S
        self._world = World(scenario, self._log, check=check)
        self._stopped = False
        self._jobs = ClusterJobCounts()
        self._cpu_before: dict[str, tuple[float, float]] = {}
        self._cpu_total = (0.0, 0.0)
        self._begun_at = 0.0
        self._events = 0

    def whole(self) -> Outcome:
        """All phases."""
        self._world.begin()
        self._advance(self._world.starts_at)
        gc.freeze()
        if len(self._world.nodes) >= MANY_NODES:
            use_huge_pages()
        return self._loaded()

    def _loaded(self) -> Outcome:
        """From the start of the load on."""
        world, scenario = self._world, self._scenario
        starts_at = world.starts_at
        world.note_unready()
        self._cpu_total = self._total_cpu()
        self._close_interval_later(starts_at + world.tally.interval_s)
        self._advance(starts_at + scenario.warmup_s)
        self._begun_at = world.engine.now
        self._cpu_before = self._cpu()
        self._see_jobs()
        world.job_tally.begin(self._jobs)
        self._advance(starts_at + scenario.duration_s)
        world.stop_loads()
        ended_at = world.engine.now
        self._close_interval(None)
        jobs = world.job_tally.counts(self._jobs)
        nodes = self._node_reports(ended_at)
        self._drain(ended_at)
        if self._log is not None:
            self._log.flush()
        return self._outcome(ended_at, jobs, nodes)

    def _advance(self, until: float) -> None:
        """Up to that time, in slices; at once where the run was stopped."""
        engine = self._world.engine
        while engine.now < until and not self._stopped:
            self._events += engine.run(min(until, engine.now + self._slice_s))
            if self._log is not None:
                self._log.flush()
            if self._progress is not None:
                at_s = engine.now - self._world.starts_at
                told = Progress(at_s, self._scenario.duration_s, self._world.tally.sent)
                self._stopped = self._progress(told) is True

    def _drain(self, ended_at: float) -> None:
        """Requests under way get their answers; who has none by then gives up."""
        world, engine = self._world, self._world.engine
        longest_s = max((one.spec.timeout_s for one in world.services.values()), default=0.0)
        until = ended_at + longest_s + DRAIN_MARGIN_S
        while world.tally.in_flight and engine.now < until:
            self._events += engine.run(engine.now + EVERY_S)
            if self._log is not None:
                self._log.flush()
        for name, tally in world.tally.services.items():
            while tally.in_flight:
                tally.end(Fate.FAILED)
                world.tally.reasons[name].note("no answer at all")

    # ---- what is seen on the way

    def _cpu(self) -> dict[str, tuple[float, float]]:
        return {name: node.machine.cpu_s() for name, node in self._world.nodes.items()}

    def _total_cpu(self) -> tuple[float, float]:
        used = self._cpu().values()
        return sum(lc for lc, _ in used), sum(be for _, be in used)

    def _see_jobs(self) -> None:
        central = self._world.central.life
        if central is not None:
            self._jobs = central.controller.counts()

    def _close_interval_later(self, at: float) -> None:
        self._world.engine.common.at(at, self._close_interval, at)

    def _close_interval(self, planned: float | None) -> None:
        """planned: None for the last one."""
        world = self._world
        if planned is not None and world.users.stopped:
            return
        lc_s, be_s = self._total_cpu()
        before = self._cpu_total
        self._cpu_total = lc_s, be_s
        self._see_jobs()
        world.tally.close_interval(
            world.engine.now,
            lc_s - before[0],
            be_s - before[1],
            self._jobs.pending + self._jobs.scheduled,
            self._jobs.running,
        )
        if planned is not None:
            self._close_interval_later(planned + 1.0)

    def _node_reports(self, ended_at: float) -> dict[str, NodeReport]:
        duration_s = ended_at - self._begun_at
        reports = {}
        shapes = self._shapes()
        for name, (lc_s, be_s) in self._cpu().items():
            before = self._cpu_before.get(name, (0.0, 0.0))
            reports[name] = NodeReport.of(
                max(0.0, lc_s - before[0]), max(0.0, be_s - before[1]), shapes[name], duration_s
            )
        return reports

    def _shapes(self) -> dict[str, int]:
        return {node.name: node.cpu_millis for _, node in self._scenario.topology.nodes()}

    def _outcome(self, ended_at: float, jobs: JobCounts, nodes: dict[str, NodeReport]) -> Outcome:
        world, scenario = self._world, self._scenario
        tallies = world.tally.services
        report = Report.of(
            tallies,
            seed=scenario.seed,
            duration_s=max(0.0, ended_at - self._begun_at),
            jobs=jobs,
            nodes=nodes,
            policies={
                "traffic": scenario.policies.traffic,
                "batch": scenario.policies.batch,
            },
        )
        cores = sum(self._shapes().values()) / 1000
        return Outcome(
            report,
            world.tally.timeline(cores),
            merge_tallies(tallies.values()).latency,
            self._stopped,
            tuple(world.problems),
            self._events,
            self._log.lines if self._log is not None else 0,
            world.tally.reasons,
        )


@contextmanager
def _collector_left_out() -> Iterator[None]:
    """Reference counts free what a simulation makes; cycles are only left where streams end.

    So the collector, which would walk through a whole city again and again, looks seldom; and not
    at what was frozen meanwhile, which it takes as permanent.
    """
    was = gc.get_threshold()
    gc.set_threshold(GARBAGE_THRESHOLD, was[1], was[2])
    try:
        yield
    finally:
        gc.set_threshold(*was)
        gc.unfreeze()
