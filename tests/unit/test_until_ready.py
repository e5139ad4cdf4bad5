"""`tango apply` while it waits: why replicas are not ready is told in time, once, and anew."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tango.cli.services import apply
from tango.model.errors import Unavailable
from tango.model.service import ReplicaState, ReplicaStatus, ServiceSpec
from tango.model.views import ReplicaView, RequestCounts, ServiceView
from tango.sdk import until_ready as module
from tango.sdk.lasting import Say
from tango.sdk.until_ready import until_ready

NO_ROOM = "no room for 1 replicas: a1, a2 without zone In mars"
TIGHT = "no room for 1 replicas: a1, a2 have too little memory"
SHORT = ServiceView(
    ServiceSpec("web", ("serve",)), 1, "site-a", (), 0, 0, 0, RequestCounts(), reason=NO_ROOM
)
READY = replace(
    SHORT,
    replicas=(ReplicaView(ReplicaStatus("web-g1-0", "web", 1, ReplicaState.READY), "a1"),),
    ready=1,
    reason="",
)
# From the start of the wait, in tenths of the second after which it tells.
TENTH_S = 0.02


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TELL_AFTER_S", 10 * TENTH_S)


async def changes(
    *script: tuple[float, ServiceView],
) -> AsyncGenerator[ServiceView, None]:
    loop = asyncio.get_running_loop()
    begun = loop.time()
    for tenths, view in script:
        await asyncio.sleep(begun + tenths * TENTH_S - loop.time())
        yield view
    await asyncio.Event().wait()


async def waited(script: Sequence[tuple[float, ServiceView]], said: list[str]) -> ServiceView:
    return await until_ready(changes(*script), "web at site-a", "web", 50 * TENTH_S, said.append)


async def test_what_never_fits_is_told_once_while_nothing_changes() -> None:
    said: list[str] = []
    wait = asyncio.create_task(waited([(0, SHORT)], said))
    await asyncio.sleep(5 * TENTH_S)
    assert said == [], "what starts within the second is nothing to tell"
    await asyncio.sleep(15 * TENTH_S)
    assert said == [f"web at site-a: 0 of 1 replicas ready: {NO_ROOM}"]
    with pytest.raises(Unavailable, match="without zone In mars, after 1 s; it stays declared"):
        await wait
    assert len(said) == 1


async def test_another_reason_is_told_when_it_comes() -> None:
    said: list[str] = []
    tight = replace(SHORT, reason=TIGHT)
    script = [(0, SHORT), (13, replace(SHORT, queued=3)), (15, tight), (20, READY)]
    assert await waited(script, said) == READY
    assert said == [f"web at site-a: 0 of 1 replicas ready: {why}" for why in (NO_ROOM, TIGHT)]


async def test_what_is_ready_in_time_says_nothing() -> None:
    said: list[str] = []
    assert await waited([(0, SHORT), (2, READY)], said) == READY
    await asyncio.sleep(12 * TENTH_S)
    assert said == []


async def test_the_command_tells_it_on_stderr(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Waiting:
        async def apply(self, *_: object, say: Say, **__: object) -> tuple[ServiceView, ...]:
            say(f"web at site-a: {NO_ROOM}")
            return (READY,)

    file = tmp_path / "web.yaml"
    file.write_text("kind: Service\nname: web\nargv: [serve]\n")
    command = inspect.unwrap(apply.callback)  # type: ignore[arg-type]
    await command(Waiting(), file=str(file), sites=(), wait_s=1.0, output="table")
    said = capsys.readouterr()
    assert said.err == f"tango: web at site-a: {NO_ROOM}\n"
    assert said.out == "service web at site-a: 1/1 ready\n"
