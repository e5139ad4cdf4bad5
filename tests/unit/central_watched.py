"""What must hold of a central master and its edges at every step, whatever happens to them."""

from __future__ import annotations

from collections import Counter

from central_bench import Bench
from central_edges import CORES, CPU, MEMORY, Edge, Node

from tango.controllers.central.jobs import ACTIVE, LOST
from tango.model.bounds import NOTHING, BoundRule
from tango.model.job import AttemptState, AttemptStatus, JobRecord, TaskSpec
from tango.model.messages import AckEnds, StartAttempt, ToEdge

# Ended jobs that central keeps: few, so that some go.
KEEP = 3


class WatchedWorld:
    """The bench, its edges, and what is known of both; `observe` checks it at each step."""

    def __init__(self, bound_rule: BoundRule | None = None) -> None:
        self.bound_rule = bound_rule
        self.bench = self._boot({})
        self.edges = [
            Edge("e1", [Node("n1"), Node("n2")]),
            Edge("e2", [Node("n1")]),
        ]
        self.sessions = 0
        self.jobs = 0
        self.acknowledged: set[str] = set()
        # Jobs that were told to have ended: only these may be removed for their number.
        self.ended: set[str] = set()
        self.meaning: dict[str, tuple[str, str, TaskSpec]] = {}
        self.crashes = 1
        self.held_at_boot: dict[tuple[str, str], tuple[int, int]] = {}
        # Attempts that return to the source of a migration.
        self.back: set[str] = set()
        self.held: set[str] = set()

    def _boot(self, disk: dict[str, JobRecord]) -> Bench:
        bench = Bench(disk, incarnation=1, keep_jobs=KEEP, bound_rule=self.bound_rule)
        bench.hold_disk = bench.hold_solves = True
        return bench

    def places(self) -> list[tuple[Edge, Node]]:
        return [(edge, node) for edge in self.edges for node in edge.nodes.values()]

    def live(self) -> list[tuple[Edge, Node, AttemptStatus]]:
        return [
            (edge, node, status)
            for edge, node in self.places()
            for status in node.attempts.values()
            if status.state is not AttemptState.ENDED
        ]

    # ---- what must hold

    def observe(self) -> None:
        bench = self.bench
        by_session = {edge.session: edge for edge in self.edges if edge.session is not None}
        for session, message in bench.sent:
            edge = by_session.get(session)
            self._check(edge, message)
            if edge is not None:
                edge.inbox.append(message)
        bench.sent.clear()
        for answer in bench.answers.values():
            if isinstance(answer.result, JobRecord):
                self.acknowledged.add(answer.result.job_id)
        # On disk, too: a crash may come between the write of an end and its being told.
        known = (*bench.changes, *bench.disk.values())
        self.ended.update(job.job_id for job in known if job.state.ended)
        bench.changes.clear()
        missing = self.acknowledged - bench.disk.keys() - self.ended
        assert not missing, f"acknowledged but not on disk: {missing}"
        self._check_live()
        self._check_backups()
        erased = {attempt_id for _, node in self.places() for attempt_id in node.erased}
        for job in bench.disk.values():
            for task in job.tasks:
                assert LOST not in task.reason or task.attempt_id in erased, "not lost at all"
        # An end that was not on disk at a crash counts as active until the resync tells of it.
        for place, (cpu_millis, memory) in self._held().items():
            cpu_at_boot, memory_at_boot = self.held_at_boot.get(place, (0, 0))
            assert cpu_millis <= max(CPU, cpu_at_boot), "assigned more than the node has"
            assert memory <= max(MEMORY, memory_at_boot), "assigned more than the node has"

    def _check_live(self) -> None:
        """What lives beside the attempt that counts was out of reach when it was given up; and no
        core is that of two attempts on one node.

        The latest attempt of a task is given up only with its node, and its task says so: while it
        lives, no other word may end it, nor say that it has not begun.
        """
        taken = Counter(
            (edge.name, node.name, core) for edge, node, one in self.live() for core in one.cores
        )
        assert set(taken.values()) <= {1}, f"cores of two attempts: {taken}"
        for _, node, status in self.live():
            job_id, index, number = status.attempt_id.rsplit(".", 2)
            job = self.bench.disk.get(job_id)
            task = job.tasks[int(index)] if job is not None else None
            if task is None or task.attempt_id != status.attempt_id:
                assert status.attempt_id in node.abandoned, f"{status.attempt_id} runs beside"
            if task is not None and task.attempt == int(number) and task.state not in ACTIVE:
                given_up = status.attempt_id in node.abandoned and task.moved.endswith(" lost")
                told = f"{task.state.value}: {task.reason}"
                assert given_up, f"{status.attempt_id} runs, its task is {told}"

    def _check_backups(self) -> None:
        """Any one node may fail: what a host keeps takes all that it covers of that node; and what
        it keeps is reserved there."""
        store = self.bench.central._bounds.store
        needs: dict[tuple[str, str], list[int]] = {}
        for record in store.bound.values():
            if record.node and record.backup:
                assert record.node != record.backup, f"its own backup: {record}"
                sums = needs.setdefault((record.backup, record.node), [0, 0, 0])
                sums[0] += record.pod.cpu_millis
                sums[1] += record.pod.memory_bytes
                sums[2] += record.pod.cores
        for (host, node), (cpu, memory, cores) in needs.items():
            kept = store.reservations.get(host)
            assert kept is not None, f"{host} covers {node}, and keeps nothing"
            assert kept.cpu_millis >= cpu, f"{host} keeps too little CPU for {node}"
            assert kept.memory_bytes >= memory, f"{host} keeps too little memory for {node}"
            assert len(kept.cores) >= cores, f"{host} keeps too few cores for {node}"

    def _held(self) -> dict[tuple[str, str], tuple[int, int]]:
        """What attempts hold, what is reserved and what is kept for migrations, of each node.

        Without what returns to the source of its migration: no room is kept there meanwhile, and
        its edge refuses what does not fit.
        """
        core = self.bench.central._core
        self.back.update(
            task.attempt_id
            for job in core.ledger.jobs.values()
            for task in job.record.tasks
            if task.migration is not None and task.migration.back
        )
        found = {}
        for site in core.sites.by_name.values():
            for name in site.held.keys() | site.reserved.keys() | site.kept.keys():
                held = site.held.get(name)
                ours = held.attempts.values() if held else ()
                counted = [one for one in ours if one.attempt_id not in self.back]
                cpu = sum(one.cpu_millis for one in counted)
                memory = sum(one.memory_bytes for one in counted)
                kept = site.kept.get(name, {}).values()
                for more_cpu, more_memory, *_ in (site.reserved.get(name, NOTHING), *kept):
                    cpu, memory = cpu + more_cpu, memory + more_memory
                if self.crashes == 1 and name in site.reserved:
                    cores = sum(len(one.cores) for one in ours)
                    cores += sum(mask.bit_count() for _, _, mask, _ in kept)
                    most = f"{site.edge}/{name}: more cores than it has"
                    assert cores + site.reserved[name].cores <= len(CORES), most
                found[site.edge, name] = cpu, memory
        return found

    def _check(self, edge: Edge | None, message: ToEdge) -> None:
        if isinstance(message, StartAttempt):
            job_id, index, attempt = message.attempt_id.rsplit(".", 2)
            task = self.bench.disk[job_id].tasks[int(index)]
            assert task.attempt >= int(attempt), "started before it is on disk"
            if edge is not None:
                meaning = (edge.name, message.node, message.spec)
                assert self.meaning.setdefault(message.attempt_id, meaning) == meaning
        elif isinstance(message, AckEnds):
            for attempt_id in message.attempt_ids:
                job_id, index, _ = attempt_id.rsplit(".", 2)
                job = self.bench.disk.get(job_id)
                if job is None:
                    assert job_id in self.ended
                    continue
                task = job.tasks[int(index)]
                active = task.attempt_id == attempt_id and task.state in ACTIVE
                assert not active, "an end is acknowledged before it is on disk"
