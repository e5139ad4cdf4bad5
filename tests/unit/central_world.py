"""A central master on its bench, and what users, disks, streams and nodes do to it: for property
tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from central_bench import Bench, spec
from central_edges import CORES, Edge, Node
from central_watched import KEEP, WatchedWorld

from tango.model.commands import Delete
from tango.model.events import EdgeDown, EdgeSaid, EdgeUp, SolveFailed
from tango.model.job import AttemptState, Near
from tango.model.messages import EdgeHello, EdgeState

# Of one flow: more than any history here takes, far less than what never ends.
MOST_TURNS = 5000


class World(WatchedWorld):
    """Whatever is done to it is observed at once."""

    # ---- users

    def submit(
        self,
        n_tasks: int,
        cpu: int,
        retries: int,
        priority: int,
        cores: int = 0,
        node: str = "",
        ports: tuple[int, ...] = (),
    ) -> None:
        """cores, ports: that each task asks for; on this node, if one is named."""
        self.jobs += 1
        job = spec("job", n_tasks, cpu=cpu, retries=retries, priority=priority)
        tasks = tuple(replace(task, cores=cores, node=node, ports=ports) for task in job.tasks)
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
        self,
        near: Sequence[Near | None],
        backups: Sequence[bool],
        cpu: int,
        retries: int,
        cores: int = 0,
        node: str = "",
        ports: tuple[int, ...] = (),
    ) -> None:
        """As many tasks as bounds; what is near to a task is so to the first. cores: of each; node,
        ports: of the first."""
        self.jobs += 1
        job = spec("job", len(near), cpu=cpu, retries=retries)
        tasks = tuple(
            replace(task, near=one, backup=backup, cores=cores)
            for task, one, backup in zip(job.tasks, near, backups, strict=True)
        )
        tasks = (replace(tasks[0], node=node, ports=ports), *tasks[1:])
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

    def solve(self, how: str = "first") -> None:
        """A solve under way is answered: the first, the last, or one of them fails."""
        solves = self.bench.solves
        if not solves:
            return
        if how == "last":
            solves.rotate(1)
        if how == "fails":
            self.bench.feed(SolveFailed(solves.popleft().solve_id, "no plan"))
        else:
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

    # ---- the end

    def settle(self) -> None:
        """Everything comes back and works; every job must end, and nothing may be left over."""
        for edge in self.edges:
            for node in edge.nodes.values():
                node.draining = False
                node.lc_ports.clear()
                node.services.add("web")
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
