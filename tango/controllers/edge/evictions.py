"""Evictions of BE work for LC's memory: which attempts yield, and telling their worker and central.

The edge owns its nodes' memory: what LC is given beyond what is free, BE gives back at once, by
what both declared. A worker that sees its machine run out of memory says how much is missing;
what evictions free is then what the kernel says that attempts hold.

An evicted attempt is marked in its status, so that its end costs its task no retry, whoever tells
it. Without central the site evicts all the same; the ends are told when central is back.
"""

from __future__ import annotations

from tango.algorithms.quota.hrm import BeTask, Eviction, choose_victims
from tango.algorithms.quota.sides import BE
from tango.controllers.edge.attempts import Attempts
from tango.controllers.edge.books import Books
from tango.controllers.edge.node_book import NodeBook
from tango.model.commands import SendWorker
from tango.model.decision import EVICT
from tango.model.job import AttemptState
from tango.model.messages import StopAttempt
from tango.model.units import format_memory

# Of those that stay, so many are recorded.
MAX_SPARED = 12


class Evictions:
    """Looks at nodes whose LC or BE memory has changed (books.pressed)."""

    def __init__(self, books: Books, attempts: Attempts) -> None:
        self._books = books
        self._attempts = attempts
        # LC waits for the memory.
        self._grace_s = books.settings.eviction_grace_s

    def settle(self, now: float) -> None:
        """Evict where LC was given memory that BE holds."""
        pressed, self._books.pressed = self._books.pressed, {}
        for node in pressed.values():
            need = -node.be_memory_left() - node.be_evicted_bytes
            if need > 0 and node.session is not None:
                self._evict(node, need, now, kernel=False)

    def reported(self, node: NodeBook, now: float) -> None:
        """The worker's report is new: evict where its machine is short of memory."""
        report = node.report
        if report is not None and report.memory_short_bytes > 0 and not node.be_evicted_bytes:
            self._evict(node, report.memory_short_bytes, now, kernel=True)

    def _evict(self, node: NodeBook, need_bytes: int, now: float, *, kernel: bool) -> Eviction:
        decision = choose_victims(need_bytes, be_tasks(node, kernel=kernel))
        wanted = format_memory(need_bytes)
        reason = (
            f"evicted: the machine of node {node.name} is short of {wanted} of memory"
            if kernel
            else f"evicted: node {node.name} needs {wanted} of its memory for services"
        )
        for victim in decision.victims:
            self._attempts.mark_evicted(node, victim.attempt_id, reason)
            assert node.session is not None
            stop = StopAttempt(victim.attempt_id, reason, self._grace_s, evict=True)
            self._books.out.append(SendWorker(node.session, stop))
            self._books.decisions.record(
                EVICT, now, victim.attempt_id, node.name, victim.priority, victim.memory_bytes,
                victim.lost_cpu_s, need_bytes, decision.freed_bytes, decision.sufficient,
                decision.spared[:MAX_SPARED], reason.removeprefix("evicted: "),
            )  # fmt: skip
            self._books.note(
                "info",
                "attempt_evicted",
                attempt=victim.attempt_id,
                node=node.name,
                reason=reason,
                priority=victim.priority,
                lost_cpu_s=round(victim.lost_cpu_s, 3),
            )
        return decision


def be_tasks(node: NodeBook, *, kernel: bool) -> list[BeTask]:
    """What may be evicted from a node. kernel: memory as used, not as declared."""
    used = {group.group: group for group in node.groups}
    tasks = []
    for attempt_id, status in node.attempts.items():
        if status.state is AttemptState.ENDED or status.evicted:
            continue
        group = used.get(f"{BE}/{attempt_id}")
        memory_bytes = status.memory_bytes
        if kernel:
            memory_bytes = group.memory_bytes if group is not None else 0
        lost_cpu_s = max(status.cpu_s, group.cpu_s if group is not None else 0.0)
        tasks.append(BeTask(attempt_id, status.priority, memory_bytes, lost_cpu_s))
    return tasks
