"""Where tasks with bounds and backups are, what they hold and keep: sums that follow each change.

Backups are shared: for a host m, size(m) >= max over nodes n of the sum over tasks on n that m
covers, since one node fails at a time. `required` is that maximum.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from tango.model.bounds import NOTHING, BoundTask, Size, size_of


class BoundBooks:
    """tasks: those that have, or had, a place, by name. sizes: what nodes keep for backups.

    uneasy: tasks that are not where they shall be, or not as they should be.
    """

    def __init__(self) -> None:
        self.tasks: dict[str, BoundTask] = {}
        self.sizes: dict[str, Size] = {}
        self.uneasy: set[str] = set()
        # Counts changes of tasks and sizes.
        self.version = 0
        # By node: what its attempts of such tasks hold; what tasks need that are to come there.
        self._holds: dict[str, Size] = {}
        self._coming: dict[str, Size] = {}
        # By host and node: the tasks on that node which the host covers.
        self._covered: dict[str, dict[str, dict[str, Size]]] = {}
        # Fixed ports by node, each with how many have or want it: attempts, tasks that are to come
        # there, and tasks that the node covers.
        self._held_ports: dict[str, Counter[int]] = {}
        self._coming_ports: dict[str, Counter[int]] = {}
        self._covered_ports: dict[str, Counter[int]] = {}
        self._changed: set[str] = set()
        self._resized: set[str] = set()
        self._relieved: set[str] = set()

    def put(self, name: str, task: BoundTask | None) -> BoundTask | None:
        """The task is so from now on, None: unknown. Answers with how it was."""
        old = self.tasks.get(name)
        if old is task:
            return old
        self.version += 1
        if old is not None:
            self._count(name, old, leaves=True)
            del self.tasks[name]
        if task is not None:
            self.tasks[name] = task
            self._count(name, task, leaves=False)
        return old

    def resize(self, host: str, size: Size) -> Size:
        """The node keeps this much for backups. Answers with how much it was."""
        old = self.sizes.get(host, NOTHING)
        if old != size:
            self.version += 1
            self._changed.add(host)
            self._resized.add(host)
            if size == NOTHING:
                del self.sizes[host]
            else:
                self.sizes[host] = size
        return old

    def holds(self, node: str) -> Size:
        """What attempts of such tasks hold there."""
        return self._holds.get(node, NOTHING)

    def claims(self, node: str) -> Size:
        """What it keeps: for backups, and for tasks that shall run there and do not yet."""
        size, coming = self.sizes.get(node), self._coming.get(node)
        if size is None or coming is None:
            return size or coming or NOTHING
        return size.plus(coming)

    def held_ports(self, node: str) -> frozenset[int]:
        """Fixed ports of attempts of such tasks there."""
        return frozenset(self._held_ports.get(node, ()))

    def claimed_ports(self, node: str) -> frozenset[int]:
        """Those that it keeps: for backups, and for tasks that shall run there and do not yet."""
        coming, covered = self._coming_ports.get(node, ()), self._covered_ports.get(node, ())
        return frozenset(coming).union(covered)

    def clashes(self, node: str, taken: Collection[int]) -> set[int]:
        """Fixed ports of the node that more than one has or is to have. taken: by others.

        Tasks that it covers share theirs, like its room, for one node fails at a time.
        """
        uses = Counter(self._held_ports.get(node, {}))
        uses.update(self._coming_ports.get(node, {}))
        uses.update(frozenset(self._covered_ports.get(node, ())))
        return {port for port, count in uses.items() if count > 1 or port in taken}

    def required(self, host: str) -> Size:
        """The least that the host has to keep."""
        most = NOTHING
        for tasks in self._covered.get(host, {}).values():
            total = NOTHING
            for need in tasks.values():
                total = total.plus(need)
            most = most.most(total)
        return most

    def shared(self, host: str) -> int:
        """How many tasks the host covers."""
        return sum(map(len, self._covered.get(host, {}).values()))

    def nodes(self) -> set[str]:
        """All where something is, or is kept."""
        return self._holds.keys() | self._coming.keys() | self.sizes.keys()

    def take_changed(self) -> set[str]:
        """Nodes of which something has changed since this was asked last."""
        changed, self._changed = self._changed, set()
        return changed

    def take_resized(self) -> set[str]:
        """Hosts that keep another amount than when this was asked last."""
        resized, self._resized = self._resized, set()
        return resized

    def shrink(self) -> None:
        """Hosts keep what is required and no more, where something is not covered any more."""
        for host in self._relieved:
            self.resize(host, self.required(host).least(self.sizes.get(host, NOTHING)))
        self._relieved.clear()

    def _count(self, name: str, task: BoundTask, *, leaves: bool) -> None:
        bound, at = task.bound, task.at
        need = size_of(bound.pod)
        if at:
            self._add(self._holds, at, need, leaves=leaves)
        if bound.node and bound.node != at:
            self._add(self._coming, bound.node, need, leaves=leaves)
        if bound.pod.ports:
            self._count_ports(task, leaves=leaves)
        if leaves:
            self.uneasy.discard(name)
        elif bound.warning or not bound.node or bound.node != at:
            self.uneasy.add(name)
        if not (bound.node and bound.backup):
            return
        by_node = self._covered.setdefault(bound.backup, {})
        tasks = by_node.setdefault(bound.node, {})
        if not leaves:
            tasks[name] = need
            return
        del tasks[name]
        self._relieved.add(bound.backup)
        if not tasks:
            del by_node[bound.node]
        if not by_node:
            del self._covered[bound.backup]

    def _count_ports(self, task: BoundTask, *, leaves: bool) -> None:
        bound, at = task.bound, task.at
        coming = bound.node if bound.node != at else ""
        covered = bound.backup if bound.node else ""
        for node, uses in (
            (at, self._held_ports),
            (coming, self._coming_ports),
            (covered, self._covered_ports),
        ):
            if not node:
                continue
            self._changed.add(node)
            ports = uses.setdefault(node, Counter())
            if leaves:
                ports -= Counter(bound.pod.ports)
                if not ports:
                    del uses[node]
            else:
                ports.update(bound.pod.ports)

    def _add(self, sums: dict[str, Size], node: str, need: Size, *, leaves: bool) -> None:
        before = sums.get(node, NOTHING)
        after = before.minus(need) if leaves else before.plus(need)
        self._changed.add(node)
        if after == NOTHING:
            sums.pop(node, None)
        else:
            sums[node] = after
