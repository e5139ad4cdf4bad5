"""Edges and nodes as they truly are, around a central master on its bench: for property tests.

Messages travel in order, and are lost with the stream that carries them. A node starts an attempt
id once, and forgets it when its end is acknowledged or when the node is rebooted.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from central_bench import MIB, Bench, spec

from tango.controllers.central.jobs import ACTIVE, LOST
from tango.model.bounds import BoundRule
from tango.model.cluster import NodeCapacity, NodeView
from tango.model.commands import Delete
from tango.model.events import EdgeDown, EdgeSaid, EdgeUp
from tango.model.job import AttemptState, AttemptStatus, Checkpoint, JobRecord, Near, TaskSpec
from tango.model.messages import (
    AckEnds,
    AttemptChanged,
    AttemptRefused,
    EdgeHello,
    EdgeState,
    FromEdge,
    NodeResynced,
    NodesChanged,
    StartAttempt,
    StopAttempt,
    ToEdge,
)
from tango.model.round_trips import EdgeTrip

CPU = 1000
MEMORY = 256 * MIB
# Of each node, for tasks: fewer than such tasks as its CPU takes.
CORES = (1, 3)
# Ended jobs that central keeps: few, so that some go.
KEEP = 3
# Of one flow: more than any history here takes, far less than what never ends.
MOST_TURNS = 5000


@dataclass
class Node:
    """linked: its worker's stream to the edge is open. attempts: the worker's truth.

    dead, draining: as its edge says. abandoned: attempts that lived there when it was dead.
    """

    name: str
    linked: bool = False
    attempts: dict[str, AttemptStatus] = field(default_factory=dict)
    starts: Counter[str] = field(default_factory=Counter)
    forgotten: set[str] = field(default_factory=set)
    erased: set[str] = field(default_factory=set)
    dead: bool = False
    draining: bool = False
    abandoned: set[str] = field(default_factory=set)


class Edge:
    """known: what the edge knows of attempts; complete: nodes that resynced since it started.

    dumps: whether its nodes succeed in writing the state of an attempt.
    """

    def __init__(self, name: str, nodes: list[Node]) -> None:
        self.name = name
        self.incarnation = 1
        self.nodes = {node.name: node for node in nodes}
        self.session: int | None = None
        self.inbox: deque[ToEdge] = deque()
        self.outbox: deque[FromEdge] = deque()
        self.known: dict[str, AttemptStatus] = {}
        self.complete: set[str] = set()
        # For attempts that no linked node has: the number of a checkpoint, or 0 for a stop.
        self.held_stops: dict[str, int] = {}
        self.dumps = True
        # Round trips to its nodes, and to the other site.
        self.rtt_s = dict.fromkeys(self.nodes, 0.001)
        self.site_rtt_s = 0.010

    def trips(self) -> tuple[EdgeTrip, ...]:
        other = "e2" if self.name == "e1" else "e1"
        near = (EdgeTrip(f"{self.name}/{node}", rtt_s) for node, rtt_s in self.rtt_s.items())
        return (*near, EdgeTrip(other, self.site_rtt_s))

    def views(self) -> tuple[NodeView, ...]:
        return tuple(self._view(node) for node in self.nodes.values() if node.name in self.complete)

    def told(self) -> NodesChanged:
        return NodesChanged(self.views(), self.trips())

    def _view(self, node: Node) -> NodeView:
        live = self._live(node)
        return NodeView(
            node.name,
            self.name,
            node.linked,
            NodeCapacity(CPU, MEMORY),
            be_held_millis=sum(status.cpu_millis for status in live),
            be_memory_bytes=sum(status.memory_bytes for status in live),
            be_tasks=len(live),
            dead=node.dead,
            cordoned=node.draining,
            draining=node.draining,
            cores=CORES,
            be_cores=tuple(sorted(core for status in live for core in status.cores)),
            checkpoints=True,
        )

    def _live(self, node: Node) -> list[AttemptStatus]:
        return [
            status
            for status in self.known.values()
            if status.node == node.name and status.state is not AttemptState.ENDED
        ]

    def say(self, message: FromEdge) -> None:
        if self.session is not None:
            self.outbox.append(message)

    def take(self, message: ToEdge) -> None:
        match message:
            case StartAttempt(attempt_id, task, name, cores=cores):
                self._start(attempt_id, task, self.nodes[name], cores)
            case StopAttempt(attempt_id, checkpoint=number):
                self._stop(attempt_id, number)
            case AckEnds(attempt_ids):
                for attempt_id in attempt_ids:
                    self._forget(attempt_id)

    def _start(self, attempt_id: str, task: TaskSpec, node: Node, cores: tuple[int, ...]) -> None:
        if attempt_id in self.known:
            return
        self.held_stops.pop(attempt_id, None)
        view = self._view(node)
        room = view.be_held_millis + task.cpu_millis <= CPU
        if (
            node.draining
            or not node.linked
            or not room
            or view.be_memory_bytes + task.memory_bytes > MEMORY
            or set(cores) & set(view.be_cores)
        ):
            self.say(AttemptRefused(attempt_id, "no room" if node.linked else "node is away"))
            return
        assert attempt_id not in node.forgotten, f"{attempt_id} runs again after its end was stored"
        assert attempt_id not in node.attempts
        node.starts[attempt_id] += 1
        assert node.starts[attempt_id] == 1 or attempt_id in node.erased, "started twice"
        assert len(cores) == task.cores
        assert set(cores) <= set(CORES)
        assert not task.cpuset or cores == task.cpuset
        assert task.node in ("", node.name)
        status = AttemptStatus(
            attempt_id,
            AttemptState.STARTING,
            node.name,
            task.cpu_millis,
            task.memory_bytes,
            cores=cores,
        )
        self.set(node, status)
        self.say(self.told())

    def _stop(self, attempt_id: str, number: int) -> None:
        """What is not known may run on a node that has yet to dial in: nothing is said of it."""
        status = self.known.get(attempt_id)
        if status is None:
            self.held_stops[attempt_id] = number
        elif status.state is AttemptState.ENDED:
            self.say(AttemptChanged(status))
        elif not self.nodes[status.node].linked:
            self.held_stops[attempt_id] = number
        elif number:
            self._checkpoint(status, number)
        else:
            ended = replace(status, state=AttemptState.ENDED, signal=15)
            self.set(self.nodes[status.node], ended)

    def _checkpoint(self, status: AttemptStatus, number: int) -> None:
        if self.dumps and status.state is AttemptState.RUNNING:
            made = Checkpoint(status.attempt_id, "sha256:0", 1)
            status = replace(status, state=AttemptState.ENDED, signal=9, checkpoint=made)
        else:
            status = replace(status, checkpoint_try=number, checkpoint_error="cannot")
        self.set(self.nodes[status.node], status)

    def _forget(self, attempt_id: str) -> None:
        self.known.pop(attempt_id, None)
        for node in self.nodes.values():
            if node.linked and attempt_id in node.attempts:
                assert node.attempts[attempt_id].state is AttemptState.ENDED
                del node.attempts[attempt_id]
                node.forgotten.add(attempt_id)

    def set(self, node: Node, status: AttemptStatus) -> None:
        """The attempt's status changes on the node; the edge hears of it if they are linked."""
        node.attempts[status.attempt_id] = status
        if node.linked:
            self.known[status.attempt_id] = status
            self.say(AttemptChanged(status))

    def link(self, node: Node) -> None:
        node.linked = True
        node.dead = False
        self.complete.add(node.name)
        for attempt_id in [i for i, status in self.known.items() if status.node == node.name]:
            del self.known[attempt_id]
        self.known.update(node.attempts)
        self.say(NodeResynced(node.name, tuple(node.attempts.values())))
        self.say(self.told())
        for attempt_id in sorted(self.held_stops.keys() & node.attempts.keys()):
            self._stop(attempt_id, self.held_stops.pop(attempt_id))

    def unlink(self, node: Node) -> None:
        node.linked = False
        self.say(self.told())

    def die(self, node: Node) -> None:
        """Nothing is heard of the node for long: what runs there runs on."""
        node.abandoned.update(node.attempts)
        node.dead = True
        self.unlink(node)

    def drain(self, node: Node, on: bool) -> None:
        node.draining = on
        self.say(self.told())


class World:
    """The bench in its surroundings. What is checked at each step: see `observe`."""

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

    # ---- users

    def submit(
        self, n_tasks: int, cpu: int, retries: int, priority: int, cores: int = 0, node: str = ""
    ) -> None:
        """cores: that each task asks for; on this node, if one is named."""
        self.jobs += 1
        job = spec("job", n_tasks, cpu=cpu, retries=retries, priority=priority)
        tasks = tuple(replace(task, cores=cores, node=node) for task in job.tasks)
        if cores and node:
            first = replace(tasks[0], cpuset=CORES[-cores:])
            tasks = (first, *tasks[1:])
        job = replace(job, tasks=tasks)
        self.bench.submit(f"j{self.jobs}", job)
        self.observe()

    def migrate(self, pick: int, place: int, dumps: bool) -> None:
        """A user's wish for a task that runs; some are refused, and some dumps fail."""
        running = [one for one in self.live() if one[2].state is AttemptState.RUNNING]
        if not running:
            return
        for edge in self.edges:
            edge.dumps = dumps
        _, source, status = running[pick % len(running)]
        others = [(edge, node) for edge, node in self.places() if node is not source]
        edge, node = others[place % len(others)]
        job_id, index, _ = status.attempt_id.rsplit(".", 2)
        self.bench.migrate(job_id, node.name, f"t{index}", edge.name)
        self.observe()

    def submit_bound(
        self, near: Sequence[Near | None], backups: Sequence[bool], cpu: int, retries: int
    ) -> None:
        """As many tasks as bounds; what is near to a task is so to the first."""
        self.jobs += 1
        job = spec("job", len(near), cpu=cpu, retries=retries)
        tasks = tuple(
            replace(task, near=one, backup=backup)
            for task, one, backup in zip(job.tasks, near, backups, strict=True)
        )
        self.bench.submit(f"j{self.jobs}", replace(job, tasks=tasks))
        self.observe()

    def cancel(self, pick: int) -> None:
        if self.jobs:
            self.bench.cancel(f"j{pick % self.jobs + 1}")
            self.observe()

    # ---- central

    def write(self, ok: bool = True) -> None:
        if self.bench.writes:
            self.bench.write() if ok else self.bench.fail_write()
            self.observe()

    def solve(self) -> None:
        if self.bench.solves:
            self.bench.solve()
            self.observe()

    def crash(self, n_written: int) -> None:
        """Some of the writes under way reach the disk, nobody hears of it."""
        old = self.bench
        for persist in list(old.writes)[:n_written]:
            for write in persist.writes:
                if write.kind != "job":
                    old.keep(write)
                elif isinstance(write, Delete):
                    self.ended.add(write.key)
                    old.disk.pop(write.key, None)
                else:
                    old.disk[write.key] = write.value
        for edge in self.edges:
            self._drop(edge)
        self.crashes += 1
        self.bench = Bench(
            old.disk,
            incarnation=self.crashes,
            now=10.0,
            epoch=old.wall - 9.0,
            keep_jobs=KEEP,
            bound_rule=self.bound_rule,
            kept=old.kept,
        )
        self.bench.hold_disk = self.bench.hold_solves = True
        self.held_at_boot = self._held()
        self.observe()

    # ---- edges

    def _drop(self, edge: Edge) -> None:
        edge.session = None
        edge.inbox.clear()
        edge.outbox.clear()

    def connect(self, edge: Edge) -> None:
        """A new stream; an old one may still be there, from central's view."""
        self._drop(edge)
        self.sessions += 1
        edge.session = self.sessions
        hello = EdgeHello(edge.name, edge.incarnation, "", "")
        complete = tuple(sorted(edge.complete))
        state = EdgeState(edge.views(), tuple(edge.known.values()), complete, edge.trips())
        self.bench.feed(EdgeUp(edge.session, hello, state, self.bench.wall))
        self.observe()

    def disconnect(self, edge: Edge) -> None:
        session = edge.session
        self._drop(edge)
        if session is not None:
            self.bench.feed(EdgeDown(session, "lost"))
            self.observe()

    def restart(self, edge: Edge) -> None:
        self.disconnect(edge)
        edge.incarnation += 1
        edge.known.clear()
        edge.complete.clear()
        edge.held_stops.clear()
        for node in edge.nodes.values():
            node.linked = node.dead = False
            # If it stays away for long it is given up.
            node.abandoned.update(node.attempts)

    def deliver(self, edge: Edge, *, up: bool) -> bool:
        if up and edge.outbox:
            assert edge.session is not None
            message = edge.outbox.popleft()
            self.bench.feed(EdgeSaid(edge.session, message, self.bench.wall))
            self.observe()
            return True
        if not up and edge.inbox:
            edge.take(edge.inbox.popleft())
            return True
        return False

    # ---- nodes

    def live(self) -> list[tuple[Edge, Node, AttemptStatus]]:
        return [
            (edge, node, status)
            for edge, node in self.places()
            for status in node.attempts.values()
            if status.state is not AttemptState.ENDED
        ]

    def step(self, pick: int, exit_code: int) -> None:
        """One live attempt goes on: STARTING, RUNNING, ENDED."""
        live = self.live()
        if not live:
            return
        edge, node, status = live[pick % len(live)]
        if status.state is AttemptState.STARTING:
            edge.set(node, replace(status, state=AttemptState.RUNNING, started_at=self.bench.wall))
        else:
            ended = replace(status, state=AttemptState.ENDED, exit_code=exit_code, cpu_s=1.0)
            edge.set(node, ended)

    def fail_start(self, pick: int) -> None:
        """One attempt that is being started never runs."""
        starting = [one for one in self.live() if one[2].state is AttemptState.STARTING]
        if starting:
            edge, node, status = starting[pick % len(starting)]
            edge.set(node, replace(status, state=AttemptState.ENDED, failure="it never began"))

    def reboot(self, edge: Edge, node: Node) -> None:
        """The node comes back without its attempts: at most once is off for those."""
        edge.unlink(node)
        node.erased.update(node.attempts)
        node.attempts.clear()

    def flow(self) -> None:
        """What is not held goes on: "disk", "policy", an edge's streams by the edge's name."""
        for _ in range(3):
            self.bench.advance(0.01)
            self.observe()
            turns = iter(range(MOST_TURNS))
            while self.bench.writes and "disk" not in self.held:
                assert next(turns, None) is not None, "writes without end"
                self.write()
            while self.bench.solves and "policy" not in self.held:
                assert next(turns, None) is not None, "solves without end"
                self.solve()
            for edge in self.edges:
                if edge.name not in self.held:
                    while self.deliver(edge, up=True) or self.deliver(edge, up=False):
                        talk = f"{edge.name} and central talk without end: {edge.inbox}"
                        assert next(turns, None) is not None, talk

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
                for more_cpu, more_memory, *_ in (site.reserved.get(name, (0, 0)), *kept):
                    cpu, memory = cpu + more_cpu, memory + more_memory
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

    def settle(self) -> None:
        """Everything comes back and works; every job must end, and nothing may be left over."""
        for edge in self.edges:
            for node in edge.nodes.values():
                node.draining = False
                edge.link(node)
            self.connect(edge)
        for _ in range(400):
            while self.bench.writes:
                self.write()
            while self.bench.solves:
                self.solve()
            for edge in self.edges:
                while self.deliver(edge, up=True) or self.deliver(edge, up=False):
                    pass
                edge.say(edge.told())
            for pick in range(len(self.live())):
                self.step(pick, 0)
            self.bench.advance(1.0)
            self.observe()
            idle = not any(edge.outbox or edge.inbox for edge in self.edges)
            if idle and not self.bench.writes and self._all_ended():
                break
        assert self._all_ended(), [job for job in self.bench.disk.values() if not job.state.ended]
        for edge in self.edges:
            while self.deliver(edge, up=True) or self.deliver(edge, up=False):
                pass
            assert not edge.known, f"{edge.name} still keeps {sorted(edge.known)}"
            assert not any(node.attempts for node in edge.nodes.values())
        self._no_bound_left()

    def _no_bound_left(self) -> None:
        for _ in range(10):
            self.bench.advance(1.0)
            while self.bench.writes:
                self.write()
            self.observe()
        assert not self.bench.kept, f"kept of jobs that have ended: {self.bench.kept}"
        assert not any(self._held().values())

    def _all_ended(self) -> bool:
        return all(job.state.ended for job in self.bench.disk.values()) and not any(
            edge.known for edge in self.edges
        )
