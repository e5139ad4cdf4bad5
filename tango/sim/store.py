"""A daemon's store on virtual time: what was committed survives the process."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

from tango.model.commands import Persist, Put, Stored
from tango.sim.engine import Engine

Record = TypeVar("Record")
Done = Callable[[int], None]


class Store:
    """Group commit: what comes while a group is written is the next group. commit_s: of each."""

    def __init__(self, engine: Engine, commit_s: float) -> None:
        self._engine = engine
        self._commit_s = commit_s
        self._records: dict[str, dict[str, Stored]] = {}
        self._waiting: list[tuple[Persist, Done]] = []
        # What is being written.
        self._group: list[tuple[Persist, Done]] = []

    def commit(self, persist: Persist, done: Done) -> None:
        """Write; done is told the number once it is on disk."""
        self._waiting.append((persist, done))
        if not self._group:
            self._write()

    def crash(self) -> None:
        """The process has died: what is not on disk is not written any more."""
        if self._group:
            self._engine.cancel(self._written, self._group)
            self._group = []
        self._waiting.clear()

    def load(self, kind: str, of: type[Record]) -> dict[str, Record]:
        """All records of a kind, by key."""
        del of
        return cast("dict[str, Record]", dict(sorted(self._records.get(kind, {}).items())))

    def _write(self) -> None:
        self._group, self._waiting = self._waiting, []
        self._engine.at(self._engine.now + self._commit_s, self._written, self._group)

    def _written(self, group: list[tuple[Persist, Done]]) -> None:
        self._group = []
        for persist, _ in group:
            for write in persist.writes:
                if isinstance(write, Put):
                    self._records.setdefault(write.kind, {})[write.key] = write.value
                else:
                    self._records.get(write.kind, {}).pop(write.key, None)
        if self._waiting:
            self._write()
        for persist, done in group:
            done(persist.persist_id)
