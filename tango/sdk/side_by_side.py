"""Coroutines side by side until one of them meets an error of ours."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from tango.model.errors import TangoError


async def side_by_side(*works: Coroutine[Any, Any, None]) -> None:
    """Return when all have ended, or when one raised a TangoError, which ends the others.

    Any other error is raised, in an ExceptionGroup, as of a TaskGroup.
    """
    try:
        async with asyncio.TaskGroup() as group:
            for work in works:
                group.create_task(work)
    except* TangoError:
        pass
