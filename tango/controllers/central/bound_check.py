"""A plan for bounds and backups against the facts of now: what of it still holds is taken.

A plan is made beside the loop, and what it rests on may have moved on when it comes. Its decisions
are looked at one by one: a gang's first places, whole or not at all; another place, backup or
warning of a task that is known. One holds if

- the task itself is as it was, and what it wants to be near to is where the plan has it;
- its new place, or backup, takes something new, and is within its bound by the delays of now;
- with it no node holds and keeps more than it has, nor a fixed port twice, and each backup is as
  large as those that it covers need.

All that hold by themselves are tried together, for some make room for others; only where that is
too much, one after the other, each as far as there is room. What is left is planned again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from tango.controllers.central.bound_facts import Facts, Waiting
from tango.model.bounds import NOTHING, BoundPlan, BoundSnapshot, BoundTask, Size, size_of
from tango.model.placements import BoundRecord

Unit = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Asked:
    """A plan that was asked for. tasks: as they were then, by name; wanted: those that shall be
    otherwise than is kept, whatever the plan says. delays: version of the table."""

    solve_id: int
    snapshot: BoundSnapshot
    tasks: Mapping[str, BoundTask]
    wanted: Mapping[str, BoundRecord]
    gangs: tuple[Waiting, ...]
    delays: int
    at: float


class Now(Protocol):
    """What the facts leave open."""

    def may_move(self, name: str) -> bool:
        """Whether a task that has an attempt could be told now to run elsewhere."""
        ...

    def within(self, reference: str, node: str, bound_s: float) -> bool:
        """Whether the delay between two nodes, by their names, is known to be too long: False."""
        ...


class Check:
    """One plan. take() changes the books; what is to be stored and told of it is the caller's."""

    def __init__(self, facts: Facts, asked: Asked, plan: BoundPlan, now: Now) -> None:
        self._facts = facts
        self._books = facts.books
        self._asked = asked
        self._plan = plan
        self._now = now
        self._wanted = dict(asked.wanted)
        self._wanted.update((record.pod.name, record) for record in plan.records)
        # By node: the most that it may hold and keep.
        self._limits: dict[str, Size] = {}
        # By node: fixed ports that more than one has already.
        self._clashes: dict[str, set[int]] = {}

    def take(self, *, least: bool = False) -> tuple[dict[str, BoundRecord], bool]:
        """The records that hold, in the books from now on; and whether that is all of the plan.

        least: hosts keep what is required and no more, whatever the plan says.
        """
        units = self._units()
        standing = self._standing(units)
        whole = len(standing) == len(units)
        if not self._together(standing, whole=whole and not least):
            taken = self._one_by_one(standing)
            whole, standing = False, taken
        return {name: self._wanted[name] for unit in standing for name in unit}, whole

    def _units(self) -> list[Unit]:
        """What fell is put back first, then what runs is put right, then what is new."""
        new: set[str] = set()
        gangs: list[Unit] = []
        for waiting in self._asked.gangs:
            unit = tuple(pod.name for pod in waiting.pods if pod.name in self._wanted)
            new.update(unit)
            if unit:
                gangs.append(unit)
        known = sorted(self._wanted.keys() - new, key=self._urgency)
        return [*((name,) for name in known), *gangs]

    def _urgency(self, name: str) -> tuple[bool, int, str]:
        task = self._asked.tasks[name]
        return bool(task.at), -task.bound.pod.priority, name

    # ---- each by itself

    def _standing(self, units: Iterable[Unit]) -> list[Unit]:
        waiting = {pod.name: one for one in self._asked.gangs for pod in one.pods}
        standing = [unit for unit in units if self._stands(unit, waiting.get(unit[0]))]
        while True:
            names = {name for unit in standing for name in unit}
            left = [unit for unit in standing if self._references_stand(unit, names)]
            if len(left) == len(standing):
                return left
            standing = left

    def _stands(self, unit: Unit, waiting: Waiting | None) -> bool:
        if waiting is not None:
            if len(unit) != len(waiting.pods) or not self._facts.waits(waiting):
                return False
        elif self._books.tasks.get(unit[0]) is not self._asked.tasks[unit[0]]:
            return False
        return all(map(self._may_be, unit))

    def _may_be(self, name: str) -> bool:
        record, before = self._wanted[name], self._books.tasks.get(name)
        old = before.bound if before is not None else None
        moves = record.node and (old is None or old.node != record.node)
        if moves and before is not None and before.at and not self._now.may_move(name):
            return False
        backed = record.backup and (moves or old is None or old.backup != record.backup)
        new = (record.node if moves else "", record.backup if backed else "")
        nodes = self._facts.nodes
        return all(nodes.row(node).open and self._within(record, node) for node in new if node)

    def _within(self, record: BoundRecord, node: str) -> bool:
        pod = record.pod
        if pod.bound_s is None:
            return True
        planned = self._planned(pod.near)
        reference = pod.near if planned is None else planned
        return self._now.within(reference, node, pod.bound_s)

    def _planned(self, name: str) -> str | None:
        """Where the plan has this task; None where it knows no such task."""
        if name in self._wanted:
            return self._wanted[name].node
        task = self._asked.tasks.get(name)
        return task.bound.node if task is not None else None

    def _references_stand(self, unit: Unit, standing: set[str]) -> bool:
        """Whether what its tasks want to be near to will be where the plan has it."""
        for name in unit:
            near = self._wanted[name].pod.near
            planned = self._planned(near)
            if planned is None or near in standing or near in unit:
                continue
            task = self._books.tasks.get(near)
            if task is None or task.bound.node != planned:
                return False
        return True

    # ---- room

    def _together(self, units: Iterable[Unit], *, whole: bool) -> bool:
        """All of them, with the sizes of the plan. False: too much, and nothing has changed."""
        plan, books = self._plan, self._books
        sizes = {one.node: size_of(one) for one in plan.reservations}
        sizes.update(dict.fromkeys(plan.dropped, NOTHING))
        touched = self._touched(units) | sizes.keys()
        for node in touched:
            self._limit(node)
        undo = [(name, self._put(name)) for unit in units for name in unit]
        before = {}
        for host in touched:
            required = books.required(host)
            size = sizes.get(host, books.sizes.get(host, NOTHING)) if whole else required
            before[host] = books.resize(host, size.most(required))
        if all(map(self._fits, touched)):
            return True
        self._undo(undo, before)
        return False

    def _one_by_one(self, units: Iterable[Unit]) -> list[Unit]:
        taken: list[Unit] = []
        left = list(units)
        while True:
            later = []
            names = {name for unit in taken for name in unit}
            for unit in left:
                if self._references_stand(unit, names) and self._try(unit):
                    taken.append(unit)
                    names.update(unit)
                else:
                    later.append(unit)
            if len(later) == len(left):
                return taken
            left = later

    def _try(self, unit: Unit) -> bool:
        touched = self._touched((unit,))
        undo = [(name, self._put(name)) for name in unit]
        before = {host: self._books.resize(host, self._books.required(host)) for host in touched}
        if all(map(self._fits, touched)):
            return True
        self._undo(undo, before)
        return False

    def _put(self, name: str) -> BoundTask | None:
        old = self._books.tasks.get(name)
        at = old.at if old is not None else ""
        return self._books.put(name, BoundTask(self._wanted[name], at))

    def _undo(self, tasks: list[tuple[str, BoundTask | None]], sizes: Mapping[str, Size]) -> None:
        for name, old in reversed(tasks):
            self._books.put(name, old)
        for host, size in sizes.items():
            self._books.resize(host, size)

    def _touched(self, units: Iterable[Unit]) -> set[str]:
        touched = set()
        for unit in units:
            for name in unit:
                record, old = self._wanted[name], self._books.tasks.get(name)
                touched |= {record.node, record.backup}
                if old is not None:
                    touched |= {old.bound.node, old.bound.backup}
        return touched - {""}

    def _limit(self, node: str) -> None:
        row = self._facts.nodes.row(node)
        self._limits[node] = row.size.most(self._used(node))
        self._clashes[node] = self._books.clashes(node, row.ports)

    def _used(self, node: str) -> Size:
        return self._books.holds(node).plus(self._books.claims(node))

    def _fits(self, node: str) -> bool:
        if not self._used(node).within(self._limits[node]):
            return False
        clashes = self._books.clashes(node, self._facts.nodes.row(node).ports)
        return clashes <= self._clashes[node]
