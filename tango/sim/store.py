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
        self._writing = 0

    def commit(self, persist: Persist, done: Done) -> None:
        """Write; done is told the number once it is on disk."""
        self._waiting.append((persist, done))
        if not self._writing:
            self._write()

    def crash(self) -> None:
        """The process has died: what is not on disk is not written any more."""
        if self._writing:
            self._engine.cancel(self._writing)
            self._writing = 0
        self._waiting.clear()

    def load(self, kind: str, of: type[Record]) -> dict[str, Record]:
        """All records of a kind, by key."""
        del of
        return cast("dict[str, Record]", dict(sorted(self._records.get(kind, {}).items())))

    def _write(self) -> None:
        group, self._waiting = self._waiting, []
        self._writing = self._engine.at(self._engine.now + self._commit_s, self._written, group)

    def _written(self, group: list[tuple[Persist, Done]]) -> None:
        self._writing = 0
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
