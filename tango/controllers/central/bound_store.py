"""Delay bounds and reservations in memory, beside what is on disk of them.

One write is under way at most, and the next carries all that changed meanwhile. A start that rests
on them waits until they are on disk (`holds`): a backup that a crash could forget is none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tango.controllers.central.core import Core
from tango.model.bounds import NOTHING, size_of
from tango.model.commands import Delete, Persist, Put
from tango.model.placements import BoundRecord, ReservationRecord

BOUND = "bound"
RESERVATION = "reservation"
FIRST_RETRY_S = 0.25
LAST_RETRY_S = 5.0


class BoundStore:
    """bound: by task, as `model.bounds` names it; reservations: by node."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self.bound: dict[str, BoundRecord] = {}
        self.reservations: dict[str, ReservationRecord] = {}
        self.retry_at: float | None = None
        self._listed: tuple[tuple[str, ReservationRecord], ...] | None = None
        self._pending: dict[tuple[str, str], Put | Delete] = {}
        self._writing: tuple[int, dict[tuple[str, str], Put | Delete]] | None = None
        # Writes are numbered: begun, and on disk.
        self._begun = 0
        self._done = 0
        # Attempts that rest on writes up to this one; those of which all else is on disk already.
        self._rests_on: dict[str, int] = {}
        self._held: dict[str, None] = {}
        self._delay_s = FIRST_RETRY_S

    def load(
        self, bound: Mapping[str, BoundRecord], reservations: Mapping[str, ReservationRecord]
    ) -> None:
        """What is on disk."""
        self.bound, self.reservations = dict(bound), dict(reservations)

    def keep(self, records: Mapping[str, BoundRecord], gone: Iterable[str]) -> None:
        """These tasks are kept so from now on, and those not any more; `flush` writes it."""
        for name in gone:
            if self.bound.pop(name, None) is not None:
                self._pending[BOUND, name] = Delete(BOUND, name)
        for name, record in records.items():
            if self.bound.get(name) != record:
                self.bound[name] = record
                self._pending[BOUND, name] = Put(BOUND, name, record)

    def reserve(self, record: ReservationRecord) -> None:
        """The node keeps this much from now on, or nothing any more; likewise."""
        node = record.node
        if self.reservations.get(node) == record:
            return
        self._listed = None
        if size_of(record) != NOTHING:
            self.reservations[node] = record
            self._pending[RESERVATION, node] = Put(RESERVATION, node, record)
        elif self.reservations.pop(node, None) is not None:
            self._pending[RESERVATION, node] = Delete(RESERVATION, node)

    def listed(self) -> tuple[tuple[str, ReservationRecord], ...]:
        """The reservations, by node."""
        if self._listed is None:
            self._listed = tuple(sorted(self.reservations.items()))
        return self._listed

    def flush(self) -> None:
        """Write what is to be written, unless a write is under way or has just failed."""
        core = self._core
        if self.retry_at is not None and core.now < self.retry_at:
            return
        self.retry_at = None
        if not self._pending or self._writing is not None:
            return
        self._begun += 1
        number = core.ledger.next_persist()
        self._writing = number, self._pending
        writes = tuple(self._pending[key] for key in sorted(self._pending))
        self._pending = {}
        core.out.append(Persist(number, writes))

    def unwritten(self, task: str, backup: str) -> bool:
        """Whether where the task is to be, or the room of its backup, is not on disk yet."""
        under_way = self._writing[1] if self._writing is not None else {}
        keys = ((BOUND, task), (RESERVATION, backup))
        return any(key in self._pending or key in under_way for key in keys)

    def rest(self, attempt_id: str) -> None:
        """The start of this attempt rests on what is to be written by now."""
        ticket = self._begun + bool(self._pending)
        if ticket > self._done:
            self._rests_on[attempt_id] = ticket

    def holds(self, attempt_id: str) -> bool:
        """Whether its start, due by all else, has to wait; `persisted` names it when it need not
        any more."""
        if attempt_id not in self._rests_on:
            return False
        self._held[attempt_id] = None
        return True

    def persisted(self, persist_id: int) -> list[str]:
        """A write is done: the attempts that wait no more."""
        if self._writing is None or self._writing[0] != persist_id:
            return []
        self._writing = None
        self._delay_s = FIRST_RETRY_S
        self._done = self._begun
        done = [name for name, ticket in self._rests_on.items() if ticket <= self._done]
        for name in done:
            del self._rests_on[name]
        due = [name for name in done if name in self._held]
        for name in due:
            del self._held[name]
        return due

    def persist_failed(self, persist_id: int) -> None:
        """It is written again, with all that has changed since, after a while."""
        if self._writing is None or self._writing[0] != persist_id:
            return
        _, failed = self._writing
        self._writing = None
        self._pending = failed | self._pending
        self.retry_at = self._core.now + self._delay_s
        self._delay_s = min(2 * self._delay_s, LAST_RETRY_S)
