"""The supervisor as the worker sees it: its death is said at once, and another one is started."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from tango.adapters.supervisor_client import NotRevived
from tango.adapters.supervisor_start import ensure_supervisor
from tango.daemons.lifecycle import log_event
from tango.model.events import RuntimeDown, RuntimeUp
from tango.ports import RuntimeLost


class SupervisorWatch:
    """Turns what the runtime says of its supervisor into events for the worker's controller.

    state: of the supervisor that the worker starts; None where it has a unit of its own that
    restarts it: one that the worker started would live, and die, in the worker's unit.
    """

    def __init__(self, state: Path | None) -> None:
        self._state = state
        self._post: Callable[[RuntimeDown | RuntimeUp], None] | None = None
        self._waiting: RuntimeDown | RuntimeUp | None = None

    def tell(self, post: Callable[[RuntimeDown | RuntimeUp], None]) -> None:
        """From now on events go there; the latest from before first."""
        self._post = post
        if self._waiting is not None:
            post(self._waiting)

    def down(self, reason: str) -> None:
        """It does not answer any more."""
        self._say(RuntimeDown(reason))

    def up(self, renewed: bool, adopted: int, lost: int) -> None:
        """It answers again, or another one does."""
        self._say(RuntimeUp(renewed, adopted, lost))

    async def revive(self) -> None:
        """Start one, in a thread, for it blocks. Raises NotRevived.

        posix_spawn neither forks this process's memory nor runs its fork handlers, so that gRPC's
        threads do not mind.
        """
        if self._state is None:
            return
        log_event("warning", "supervisor started again", state=str(self._state))
        try:
            await asyncio.to_thread(ensure_supervisor, self._state)
        except RuntimeLost as error:
            log_event("error", "supervisor not started", error=str(error))
            raise NotRevived(str(error)) from error

    def _say(self, event: RuntimeDown | RuntimeUp) -> None:
        if self._post is not None:
            self._post(event)
        else:
            self._waiting = event
