"""BE attempts at this site: admission, relay between central and workers, what runs where.

The worker is the truth of what runs; these books are its last word per node, and are never stored.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace

from tango.controllers.edge.books import Books
from tango.controllers.edge.central import CentralLink
from tango.controllers.edge.node_book import NodeBook
from tango.model.affinity import barred
from tango.model.commands import SendWorker
from tango.model.cores import format_cores, ids_of, mask_of
from tango.model.decision import ATTEMPT_ADMIT, ATTEMPT_REFUSE
from tango.model.job import AttemptState, AttemptStatus
from tango.model.messages import (
    AckEnds,
    AttemptChanged,
    AttemptRefused,
    ForgetLogs,
    NodeResynced,
    StartAttempt,
    StopAttempt,
)
from tango.model.units import format_cpu, format_memory

# Stops that no connected worker could be told yet, and nodes of attempts forgotten after their end.
MAX_HELD_STOPS = 1000
MAX_PAST = 10_000


class Attempts:
    """Admits, starts, stops and forgets attempts; past: forgotten attempt -> node, for logs."""

    def __init__(self, books: Books, central: CentralLink) -> None:
        self._books = books
        self._central = central
        self._at: dict[str, NodeBook] = {}
        self._held_stops: OrderedDict[str, StopAttempt] = OrderedDict()
        self.past: OrderedDict[str, str] = OrderedDict()

    def node_of(self, attempt_id: str) -> NodeBook | None:
        """Where an attempt is, or was before it was acknowledged; None if unknown."""
        node = self._at.get(attempt_id)
        return node if node is not None else self._books.nodes.get(self.past.get(attempt_id, ""))

    def all(self) -> tuple[AttemptStatus, ...]:
        """Every attempt of the site, by node."""
        nodes = self._books.nodes
        return tuple(status for name in sorted(nodes) for status in nodes[name].attempts.values())

    # ---- from central

    def start(self, message: StartAttempt, now: float) -> None:
        """Admit and start an attempt; a known one is reported again, never started twice."""
        attempt_id = message.attempt_id
        known = self._at.get(attempt_id)
        if known is not None:
            self._central.send(AttemptChanged(known.attempts[attempt_id]))
            return
        self._held_stops.pop(attempt_id, None)
        node = self._books.nodes.get(message.node)
        why = self._no_room(node, message)
        spec = message.spec
        asked = (attempt_id, message.node, spec.cpu_millis, spec.memory_bytes)
        record = self._books.decisions.record
        if why or node is None or node.session is None:
            record(ATTEMPT_REFUSE, now, *asked, *_free_for_be(node), why)
            self._central.send(AttemptRefused(attempt_id, why))
            return
        record(ATTEMPT_ADMIT, now, *asked, *_free_for_be(node))
        self._put(
            node,
            AttemptStatus(
                attempt_id,
                AttemptState.STARTING,
                node.name,
                cpu_millis=spec.cpu_millis,
                memory_bytes=spec.memory_bytes,
                priority=message.priority,
                cores=message.cores,
                ports=spec.ports,
            ),
        )
        self._books.out.append(SendWorker(node.session, message))

    def stop(self, message: StopAttempt) -> None:
        """Hand a cancellation to the worker that runs the attempt, now or when it is back.

        One that no node has is kept, and not refused: after a restart of this edge its worker may
        not have dialled in yet, and run it all the while.
        """
        attempt_id = message.attempt_id
        node = self._at.get(attempt_id)
        if node is None:
            self._hold_stop(message)
        elif node.attempts[attempt_id].state is AttemptState.ENDED:
            self._central.send(AttemptChanged(node.attempts[attempt_id]))
        elif node.session is None:
            self._hold_stop(message)
        else:
            self._books.out.append(SendWorker(node.session, message))

    def acknowledge(self, message: AckEnds) -> None:
        """Central has stored these ends: their workers may forget them, and so may the edge."""
        by_node: dict[str, list[str]] = {}
        for attempt_id in message.attempt_ids:
            node = self._at.get(attempt_id)
            if node is None or node.attempts[attempt_id].state is not AttemptState.ENDED:
                continue
            self._drop(node, attempt_id)
            by_node.setdefault(node.name, []).append(attempt_id)
        for name, attempt_ids in by_node.items():
            session = self._books.nodes[name].session
            if session is not None:
                self._books.out.append(SendWorker(session, AckEnds(tuple(attempt_ids))))

    def forget_logs(self, message: ForgetLogs) -> None:
        """Jobs of these attempts are gone: so may be their logs; a node that is away keeps them."""
        for attempt_id in message.attempt_ids:
            self.past.pop(attempt_id, None)
        node = self._books.nodes.get(message.node)
        if node is not None and node.session is not None:
            self._books.out.append(SendWorker(node.session, message))

    # ---- from workers

    def changed(self, node: NodeBook, status: AttemptStatus) -> None:
        """Book what a worker says of an attempt and pass it on; an end is repeated until acked."""
        known = node.attempts.get(status.attempt_id)
        status = self._completed(node, status)
        if status == known and status.state is not AttemptState.ENDED:
            return
        self._put(node, status)
        self._central.send(AttemptChanged(status))

    def resync(self, node: NodeBook, statuses: tuple[AttemptStatus, ...]) -> None:
        """The worker's full list replaces what was believed of its node; late stops go out."""
        completed = [self._completed(node, status) for status in statuses]
        for attempt_id in list(node.attempts):
            node.drop_attempt(attempt_id)
            if self._at.get(attempt_id) is node:
                del self._at[attempt_id]
        for status in completed:
            self._put(node, status)
        self._central.send(NodeResynced(node.name, tuple(node.attempts.values())))
        for attempt_id, status in node.attempts.items():
            stop = self._held_stops.pop(attempt_id, None)
            if status.evicted and stop is None:
                # The stop may have been lost with the stream.
                grace_s = self._books.settings.eviction_grace_s
                stop = StopAttempt(attempt_id, status.evicted, grace_s, evict=True)
            running = status.state is not AttemptState.ENDED
            if stop is not None and running and node.session is not None:
                self._books.out.append(SendWorker(node.session, stop))

    # ---- books

    def _completed(self, node: NodeBook, status: AttemptStatus) -> AttemptStatus:
        """The status with its node, and with its resources where the worker left them out."""
        known = node.attempts.get(status.attempt_id)
        return replace(
            status,
            node=node.name,
            cpu_millis=status.cpu_millis or (known.cpu_millis if known else 0),
            memory_bytes=status.memory_bytes or (known.memory_bytes if known else 0),
            priority=status.priority or (known.priority if known else 0),
            evicted=status.evicted or (known.evicted if known else ""),
            cores=status.cores or (known.cores if known else ()),
            ports=status.ports or (known.ports if known else ()),
        )

    def mark_evicted(self, node: NodeBook, attempt_id: str, reason: str) -> None:
        """It makes room for LC: whatever its end looks like, that is why."""
        self._put(node, replace(node.attempts[attempt_id], evicted=reason))

    def _put(self, node: NodeBook, status: AttemptStatus) -> None:
        elsewhere = self._at.get(status.attempt_id)
        if elsewhere is not None and elsewhere is not node:
            elsewhere.drop_attempt(status.attempt_id)
        node.put_attempt(status)
        self._at[status.attempt_id] = node
        self._books.pressed[node.name] = node
        self._books.nodes_dirty = True

    def _drop(self, node: NodeBook, attempt_id: str) -> None:
        node.drop_attempt(attempt_id)
        del self._at[attempt_id]
        self._held_stops.pop(attempt_id, None)
        self.past[attempt_id] = node.name
        if len(self.past) > MAX_PAST:
            self.past.popitem(last=False)

    def _hold_stop(self, message: StopAttempt) -> None:
        self._held_stops[message.attempt_id] = message
        if len(self._held_stops) > MAX_HELD_STOPS:
            self._held_stops.popitem(last=False)

    def _no_room(self, node: NodeBook | None, message: StartAttempt) -> str:
        """Why the attempt cannot start there, "" if it can. BE takes only memory that nobody holds,
        and CPU that no BE holds, or holds without using it."""
        if node is None or node.session is None:
            return f"node {message.node!r} is not connected"
        if node.name in self._books.cordons:
            return f"node {node.name} is cordoned"
        if node.problem:
            return f"node {node.name}: {node.problem}"
        if node.report is not None and node.report.memory_short_bytes > 0:
            return f"the machine of node {node.name} is short of memory"
        spec, hello = message.spec, node.hello
        # Its labels and taints may have changed since the central master looked.
        why = barred(spec.terms, hello.labels, hello.taints)
        if why:
            return f"node {node.name}: {why}"
        cpu_millis, memory_bytes = _free_for_be(node)
        if spec.cpu_millis > cpu_millis:
            wanted, free = format_cpu(spec.cpu_millis), format_cpu(max(0, cpu_millis))
            return f"node {node.name}: CPU {wanted} asked, {free} free for BE"
        if spec.memory_bytes > memory_bytes:
            wanted, free = format_memory(spec.memory_bytes), format_memory(max(0, memory_bytes))
            return f"node {node.name}: memory {wanted} asked, {free} free"
        taken = self._books.port_taken(node, spec.ports)
        return f"node {node.name}: {taken}" if taken else _no_cores(node, message)


def _no_cores(node: NodeBook, message: StartAttempt) -> str:
    """Why the attempt cannot have the cores that it is given there, "" if it can."""
    given = mask_of(message.cores)
    if len(message.cores) != message.spec.cores:
        return f"node {node.name}: {message.spec.cores} cores asked, {len(message.cores)} given"
    foreign = given & ~mask_of(node.hello.cores)
    if foreign:
        return f"node {node.name}: tasks may not have core {format_cores(ids_of(foreign))}"
    taken = given & node.be_core_mask()
    return f"node {node.name}: core {format_cores(ids_of(taken))} is not free" if taken else ""


def _free_for_be(node: NodeBook | None) -> tuple[int, int]:
    """Millicores and bytes that one more attempt may take; 0 where the node is not known."""
    if node is None:
        return 0, 0
    return node.be_cpu_left(), node.be_memory_left()
