"""A worker's ends of a checkpoint's way: what it fetches, in which time, and what it sends."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from tango.daemons.worker import checkpoints
from tango.daemons.worker.checkpoints import WorkerCheckpoints
from tango.model.errors import NotFound, TangoError, Unavailable
from tango.model.job import Checkpoint, CheckpointPart
from tango.model.messages import OpenCheckpoint
from tango.model.settings import ServerSettings, WorkerSettings
from tango.ports import CheckpointFailed

DATA = b"all that the task has in memory"
SHA = hashlib.sha256(DATA).hexdigest()
MANIFEST = json.dumps(
    {"version": 1, "bytes": len(DATA), "files": [["a.img", len(DATA), SHA]]}
).encode()
MADE = Checkpoint("j.0.1", f"sha256:{hashlib.sha256(MANIFEST).hexdigest()}", len(DATA), "e", "n1")
Way = Callable[[], AsyncGenerator[CheckpointPart, None]]


async def well(data: bytes = DATA) -> AsyncGenerator[CheckpointPart, None]:
    yield CheckpointPart(manifest=MANIFEST)
    yield CheckpointPart(data=data[:5])
    yield CheckpointPart(data=data[5:])
    yield CheckpointPart(last=True)


class Edge:
    """Each fetch goes the next way; the last one again and again."""

    def __init__(self, *ways: Way) -> None:
        self.ways = list(ways)
        self.offered: dict[str, list[CheckpointPart] | TangoError] = {}

    @contextlib.asynccontextmanager
    async def dial(self) -> AsyncIterator[Any]:
        yield self

    def fetch_checkpoint(self, wanted: Checkpoint, limit_s: float) -> Any:
        assert (wanted, limit_s > 0) == (MADE, True)
        return (self.ways.pop(0) if len(self.ways) > 1 else self.ways[0])()

    async def offer_checkpoint(self, transfer_id: str, parts: Any) -> None:
        try:
            self.offered[transfer_id] = [part async for part in parts]
        except TangoError as error:
            self.offered[transfer_id] = error


class Node:
    def __init__(self, state: Path, group: asyncio.TaskGroup, edge: Edge, **fields: Any) -> None:
        server = ServerSettings("127.0.0.1:0", "token", str(state))
        fields.setdefault("checkpoint_transfer", True)
        settings = WorkerSettings(server, "n2", "127.0.0.1:1", **fields)
        self.ends = WorkerCheckpoints(settings, group, cast("Any", edge.dial))
        self.ends._places.prepare()
        self.own = state / "checkpoints"

    def has(self) -> list[str]:
        found = [path for path in self.own.rglob("*") if path.is_file()]
        return sorted(str(path.relative_to(self.own)) for path in found)

    async def bring(self) -> str:
        """Why it did not come, "" where it did."""
        try:
            await self.ends.bring("j.0.2", MADE)
        except CheckpointFailed as failed:
            await self.ends.failed(MADE)
            return str(failed)
        return ""


WHOLE = ["in/j.0.1/a.img", "in/j.0.1/manifest.json"]


async def breaks() -> AsyncGenerator[CheckpointPart, None]:
    yield CheckpointPart(manifest=MANIFEST)
    yield CheckpointPart(data=DATA[:5])
    raise Unavailable("the connection broke")


async def hangs() -> AsyncGenerator[CheckpointPart, None]:
    yield CheckpointPart(manifest=MANIFEST)
    await asyncio.sleep(60)


async def gone() -> AsyncGenerator[CheckpointPart, None]:
    raise NotFound("its node has no such checkpoint of j.0.1")
    yield


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "AGAIN_S", 0.01)


async def test_it_comes_once_and_after_a_break_again(tmp_path: Path) -> None:
    async with asyncio.TaskGroup() as group:
        edge = Edge(breaks, breaks, well, gone)
        node = Node(tmp_path, group, edge)
        assert await node.bring() == ""
        assert node.has() == WHOLE
        assert await node.bring() == "", "it is here"
        assert len(edge.ways) == 1


@pytest.mark.parametrize(
    ("way", "why"),
    [
        (gone, "its checkpoint cannot be had: its node has no such checkpoint of j.0.1"),
        (hangs, "its checkpoint was not here after 0.3 s (worker.checkpoint_transfer_limit_s)"),
        (lambda: well(b"X" + DATA[1:]), "image 'a.img' is not as it was written"),
        (lambda: well(DATA + b"X"), "more bytes came than the manifest names"),
        (lambda: well(DATA[:-1]), "it ended before all of the checkpoint had come"),
    ],
)
async def test_where_it_does_not_come_nothing_is_left(tmp_path: Path, way: Way, why: str) -> None:
    async with asyncio.TaskGroup() as group:
        node = Node(tmp_path, group, Edge(way), checkpoint_transfer_limit_s=0.3)
        assert await node.bring() == why
        assert node.has() == []


async def test_what_is_away_for_long_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "PATIENCE_S", 0.1)

    async def away() -> AsyncGenerator[CheckpointPart, None]:
        raise Unavailable("node n1 is not connected")
        yield

    async with asyncio.TaskGroup() as group:
        node = Node(tmp_path, group, Edge(away))
        assert await node.bring() == "its checkpoint does not come: node n1 is not connected"


async def test_a_stop_ends_it(tmp_path: Path) -> None:
    async with asyncio.TaskGroup() as group:
        node = Node(tmp_path, group, Edge(hangs))
        bringing = asyncio.create_task(node.bring())
        while not node.has():
            await asyncio.sleep(0.01)
        node.ends.abort("j.0.9")
        node.ends.abort("j.0.2")
        assert await bringing == "stopped: before its checkpoint was here"
        assert node.has() == []


async def test_the_end_of_the_worker_waits_for_nothing_on_its_way(tmp_path: Path) -> None:
    edge = Edge(hangs)

    async def stuck(transfer_id: str, parts: Any) -> None:
        await asyncio.sleep(60)

    edge.offer_checkpoint = stuck  # type: ignore[method-assign]
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        node = Node(tmp_path, group, edge)
        bringing = group.create_task(node.bring())
        node.ends.offer(OpenCheckpoint("1", MADE))
        while not node.has():
            await asyncio.sleep(0.01)
        node.ends.stop()
    assert bringing.result().startswith("stopped: ")


async def test_what_it_has_it_sends_and_nothing_else(tmp_path: Path) -> None:
    edge = Edge(well)
    async with asyncio.TaskGroup() as group:
        node = Node(tmp_path, group, edge)
        assert await node.bring() == ""
        node.ends.offer(OpenCheckpoint("1", MADE))
        node.ends.offer(OpenCheckpoint("2", replace(MADE, digest="sha256:0")))
        node.ends.offer(OpenCheckpoint("3", replace(MADE, attempt_id="../in/j.0.1")))
        off = Node(tmp_path, group, edge, checkpoint_transfer=False, checkpoint_dir=f"{tmp_path}")
        off.ends.offer(OpenCheckpoint("4", MADE))
    sent = edge.offered["1"]
    assert isinstance(sent, list)
    assert (sent[0].manifest, b"".join(part.data for part in sent)) == (MANIFEST, DATA)
    assert sent[-1].last
    for transfer in ("2", "3"):
        assert "has no such checkpoint" in str(edge.offered[transfer])
    assert "worker.checkpoint_transfer is off" in str(edge.offered["4"])
