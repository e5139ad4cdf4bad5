"""A Store that keeps its records in memory: for tests, simulations and masters without a disk."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tango.adapters.records import decode, encode
from tango.adapters.typed_json import RecordError
from tango.model.commands import Delete, Put, Stored
from tango.ports import StoreFailed

DEFAULT_MAX_PENDING = 10_000


@dataclass(slots=True, eq=False)
class _Commit:
    writes: list[tuple[str, str, str | None]]
    done: bool = False


class MemoryStore:
    """Commits are grouped as a disk would: those that arrive while one group is written are the
    next group. commit_delay_s: how long each group takes, for tests and benchmarks.
    """

    def __init__(
        self, *, commit_delay_s: float = 0.0, max_pending: int = DEFAULT_MAX_PENDING
    ) -> None:
        self._delay_s = commit_delay_s
        self._max_pending = max_pending
        self._texts: dict[str, dict[str, str]] = {}
        self._pending: list[_Commit] = []
        self._writing = asyncio.Lock()
        self._closed = False

    async def commit(self, writes: Sequence[Put | Delete]) -> None:
        """See ports.Store. A commit whose caller is cancelled may still be written."""
        if self._closed:
            raise StoreFailed("the store is closed")
        if len(self._pending) >= self._max_pending:
            raise StoreFailed(f"{self._max_pending} commits are waiting already")
        try:
            commit = _Commit([(each.kind, each.key, _text(each)) for each in writes])
        except RecordError as error:
            raise StoreFailed(str(error)) from error
        self._pending.append(commit)
        async with self._writing:
            if not commit.done:
                await self._write()

    async def load(self, kind: str) -> Mapping[str, Stored]:
        """See ports.Store."""
        if self._closed:
            raise StoreFailed("the store is closed")
        async with self._writing:
            texts = self._texts.get(kind, {})
            return {key: decode(text) for key, text in sorted(texts.items())}

    async def close(self) -> None:
        """See ports.Store."""
        self._closed = True
        async with self._writing:
            if self._pending:
                await self._write()

    async def _write(self) -> None:
        group = list(self._pending)
        await asyncio.sleep(self._delay_s)
        del self._pending[: len(group)]
        for commit in group:
            for kind, key, text in commit.writes:
                if text is None:
                    self._texts.get(kind, {}).pop(key, None)
                else:
                    self._texts.setdefault(kind, {})[key] = text
            commit.done = True


def _text(write: Put | Delete) -> str | None:
    return encode(write.value) if isinstance(write, Put) else None
