"""Asks the node's container engine at intervals which images it has."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tango.daemons.lifecycle import log_event
from tango.model.errors import TangoError
from tango.model.events import ImagesListed
from tango.model.layers import MAX_HELD_IMAGES, HeldImage, NodeImages
from tango.model.settings import EngineSettings
from tango.ports import ImageSource


async def report_images(
    source: ImageSource, node: str, settings: EngineSettings, post: Callable[[ImagesListed], None]
) -> None:
    """For ever; what is as it was is not told again, for a list may be long.

    Where the engine does not answer, its last word stands; that is logged once.
    """
    last: tuple[HeldImage, ...] = ()
    told: NodeImages | None = None
    said = ""
    while True:
        problem = ""
        try:
            last, left_out = await source.images()
        except TangoError as error:
            problem = str(error)
        else:
            if left_out:
                problem = (
                    f"{left_out} images are left out: only the {MAX_HELD_IMAGES} largest count"
                )
        if problem != said:
            said = problem
            log_event("warning" if problem else "info", "images", problem=problem, known=len(last))
        now = NodeImages(node, last, settings.bandwidth_bytes_per_s, problem)
        if now != told:
            told = now
            post(ImagesListed(now))
        await asyncio.sleep(settings.every_s)
