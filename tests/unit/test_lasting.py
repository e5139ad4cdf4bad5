"""Streams that are opened again: what is told, what comes through, and when it gives up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence

import pytest

from tango.model.errors import NotFound, TangoError, Unavailable
from tango.sdk import lasting as module
from tango.sdk.lasting import lasting

AWAY = Unavailable("nothing answers at h:1: connection refused")


def streams(
    *scripts: Sequence[int | TangoError | None],
) -> Callable[[], AsyncGenerator[int, None]]:
    """Each script is one stream: items, errors that it ends with, None where it hangs."""
    left = list(scripts)

    async def stream() -> AsyncGenerator[int, None]:
        # The last one again and again.
        for step in left.pop(0) if len(left) > 1 else left[0]:
            if isinstance(step, TangoError):
                raise step
            if step is None:
                await asyncio.Event().wait()
            else:
                yield step

    return stream


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_S", 0.001)


async def test_a_stream_that_breaks_is_followed_again() -> None:
    said: list[str] = []
    opened = streams([1, AWAY], [AWAY], [AWAY], [2, AWAY], [3])
    assert [item async for item in lasting(opened, "site a", said.append)] == [1, 2, 3]
    away = f"site a does not answer ({AWAY}); trying again for 60 s"
    assert said == [away, "site a answers again", away, "site a answers again"]


@pytest.mark.parametrize(
    ("last", "why"), [(AWAY, "connection refused"), (None, "no answer in time")]
)
async def test_it_gives_up(last: TangoError | None, why: str) -> None:
    said: list[str] = []
    found: list[int] = []
    watched = lasting(streams([1, AWAY], [last]), "site a", said.append, give_up_s=0.05)

    async def follow() -> None:
        async for item in watched:
            found.append(item)

    with pytest.raises(Unavailable, match=f"site a did not answer for 0.05 s: .*{why}"):
        await follow()
    assert (found, len(said)) == ([1], 1)


@pytest.mark.parametrize(
    "script", [([AWAY], "refused"), ([1, NotFound("it was deleted")], "deleted")]
)
async def test_what_never_answered_or_has_gone_is_an_error(
    script: tuple[list[int | TangoError], str],
) -> None:
    said: list[str] = []
    with pytest.raises(TangoError, match=script[1]):
        async for _ in lasting(streams(script[0]), "site a", said.append):
            pass
    assert said == []


async def test_what_is_known_to_be_there_is_tried_from_the_start() -> None:
    tries: list[int] = []
    opened = streams([AWAY], [AWAY], [1])
    watched = lasting(
        opened, "site a", lambda _: None, known=True, again=lambda: tries.append(len(tries))
    )
    assert [item async for item in watched] == [1]
    assert tries == [0, 1], "looked for anew before each further try"
