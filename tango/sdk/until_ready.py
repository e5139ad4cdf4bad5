"""Waits until a service has what was declared, and tells meanwhile why it has not."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator

from tango.model.errors import Unavailable
from tango.model.views import ServiceView
from tango.sdk.lasting import Say
from tango.sdk.readiness import backs_off, is_current, not_ready_reason

BACKOFF_PATIENCE_S = 5.0
# What starts sooner is nothing to tell.
TELL_AFTER_S = 1.0


async def until_ready(
    views: AsyncGenerator[ServiceView, None], whose: str, name: str, wait_s: float, say: Say
) -> ServiceView:
    """The view in which all replicas are ready.

    whose: the service and its site, for people. say: is told why it is not ready, after a second
    and when that changes. Raises Unavailable, with the reason, where it is not within wait_s.
    """
    view: ServiceView | None = None
    loop = asyncio.get_running_loop()
    begun = loop.time()
    backing_off = 0.0  # since when, 0 while none does
    told, may_tell = "", False

    def tell() -> None:
        nonlocal told
        reason = not_ready_reason(view) if view is not None else ""
        if may_tell and reason != told:
            told = reason
            say(f"{whose}: {reason}")

    def begin_to_tell() -> None:
        nonlocal may_tell
        may_tell = True
        tell()

    timer = loop.call_later(TELL_AFTER_S, begin_to_tell)
    try:
        async with (
            asyncio.timeout_at(begun + wait_s) as limit,
            contextlib.aclosing(views),
        ):
            async for view in views:
                if view.ready >= view.spec.replicas and is_current(view):
                    return view
                tell()
                # What does not even start is not worth the whole wait.
                patience = begun + wait_s
                if backs_off(view):
                    backing_off = backing_off or loop.time()
                    patience = min(patience, backing_off + BACKOFF_PATIENCE_S)
                else:
                    backing_off = 0.0
                limit.reschedule(patience)
    except TimeoutError:
        pass
    finally:
        timer.cancel()
    waited = loop.time() - begun
    stays = "" if view is None else f"; it stays declared until `tango delete {name}`"
    if view is not None and not is_current(view) and view.ready:
        stays = "; the replicas of the earlier generation go on serving until one is ready"
    raise Unavailable(f"{whose}: {not_ready_reason(view)}, after {waited:.0f} s{stays}")
