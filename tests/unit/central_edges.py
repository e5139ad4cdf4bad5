"""Edges and nodes as they truly are, for a central master on its bench: for property tests.

Messages travel in order, and are lost with the stream that carries them. A node starts an attempt
id once, and forgets it when its end is acknowledged or when the node is rebooted.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field, replace

from central_bench import MIB

from tango.model.cluster import NodeCapacity, NodeView
from tango.model.job import AttemptState, AttemptStatus, Checkpoint, TaskSpec
from tango.model.messages import (
    AckEnds,
    AttemptChanged,
    AttemptRefused,
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


@dataclass
class Node:
    """linked: its worker's stream to the edge is open. attempts: the worker's truth.

    dead, draining: as its edge says. lc_ports: fixed ones of its replicas. abandoned: attempts that
    lived there when it was dead.
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
    lc_ports: set[int] = field(default_factory=set)
    services: set[str] = field(default_factory=set)


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
            services=tuple(sorted(node.services)) if node.linked else (),
            lc_ports=tuple(sorted(node.lc_ports)),
            be_ports=tuple(sorted(port for status in live for port in status.ports)),
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
            or set(task.ports) & {*view.be_ports, *view.lc_ports}
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
        assert task.node in ("", node.name) or task.backup
        status = AttemptStatus(
            attempt_id,
            AttemptState.STARTING,
            node.name,
            task.cpu_millis,
            task.memory_bytes,
            cores=cores,
            ports=task.ports,
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

    def serve(self, node: Node, port: int, on: bool) -> None:
        """A replica with a fixed port comes, or goes."""
        if on and port not in self._view(node).be_ports:
            node.lc_ports.add(port)
        elif not on:
            node.lc_ports.discard(port)
        self.say(self.told())

    def ready(self, node: Node, service: str, on: bool) -> None:
        """A replica of the service is ready on the node, or the last one is not any more."""
        (node.services.add if on else node.services.discard)(service)
        self.say(self.told())

    def drain(self, node: Node, on: bool) -> None:
        node.draining = on
        self.say(self.told())
