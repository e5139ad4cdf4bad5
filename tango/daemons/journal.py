"""What a daemon writes of itself: its decisions, and the recording that lets them be made again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

from tango.controllers.decisions import Decisions
from tango.daemons.decision_writer import DecisionWriter
from tango.daemons.shell import Shell
from tango.model.settings import (
    CentralSettings,
    DecisionSettings,
    EdgeSettings,
    RecordSettings,
    WorkerSettings,
)
from tango.model.starts import Life, Start

EVERY_S = 0.05
S = TypeVar("S", CentralSettings, EdgeSettings, WorkerSettings)


class Writer(Protocol):
    """One of the two."""

    def hand_over(self) -> None:
        """What is new since the last time."""
        ...

    def close(self) -> None:
        """Blocks until it is written, for a few seconds at most."""
        ...


def recording_to(settings: S, folder: Path | None) -> S:
    """The settings, with this folder as record.dir where one is given."""
    if folder is None:
        return settings
    return replace(settings, record=replace(settings.record, dir=str(folder.absolute())))


@asynccontextmanager
async def journal(
    decisions: Decisions,
    shell: Shell[Any, Any],
    group: asyncio.TaskGroup,
    daemon: str,
    start: Start,
) -> AsyncIterator[None]:
    """Write both while the body runs, as start.settings want it; nothing where they want nothing.

    To be entered before the shell handles its first event. At the end both are cut off at the same
    event, so that a replay gives the same log. Raises InvalidField where a file cannot be written.
    """
    life = Life(daemon, start.incarnation, shell.now(), time.time())
    of_decisions: DecisionSettings = start.settings.decisions
    of_record: RecordSettings = start.settings.record
    writers: list[Writer] = []
    if of_record.dir:
        # Only who records pays for the code, on every node.
        from tango.daemons.recorder import Recorder

        writers.append(Recorder(of_record, shell, life, start))
    if of_decisions.log:
        writers.append(DecisionWriter(of_decisions, decisions, life))
    if not writers:
        yield
        return

    async def each_while() -> None:
        while True:
            await asyncio.sleep(EVERY_S)
            for writer in writers:
                writer.hand_over()

    task = group.create_task(each_while(), name="journal")
    try:
        yield
    finally:
        task.cancel()
        for writer in writers:
            writer.hand_over()
        for writer in writers:
            await asyncio.to_thread(writer.close)
