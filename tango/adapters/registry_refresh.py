"""Brings a layer index up to date from registries: what is due, and no more than that."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tango.adapters.registry_errors import RegistryBusy
from tango.algorithms.placement.layer_index import LayerIndex
from tango.model.errors import NotFound, TangoError, Unavailable
from tango.model.image import ImageReference
from tango.model.layers import ImageChange
from tango.ports import ImageRegistry

# Requests to one registry at a time.
AT_ONCE = 4
# One broken repository must not take the others' turn; a registry that is down takes them all.
DOWN_AFTER = 3


async def refresh(
    index: LayerIndex,
    registry: ImageRegistry,
    now: Callable[[], float],
    only: tuple[ImageReference, ...] | None = None,
) -> tuple[ImageChange, ...]:
    """Ask about everything that is due, all registries side by side; what changed.

    only: about these, due or not; None for what is due. A registry that fails several times in a
    row is left alone for this time. Errors go into the index, none is raised.
    """
    by_registry: dict[str, list[ImageReference]] = {}
    for reference in index.due(now()) if only is None else only:
        by_registry.setdefault(reference.registry, []).append(reference)
    found: list[ImageChange] = []
    async with asyncio.TaskGroup() as group:
        for references in by_registry.values():
            one = _OneRegistry(index, registry, now, references, found)
            for _ in range(min(AT_ONCE, len(references))):
                group.create_task(one.work())
    return tuple(found)


class _OneRegistry:
    """The references of one registry, worked off by a few tasks."""

    def __init__(
        self,
        index: LayerIndex,
        registry: ImageRegistry,
        now: Callable[[], float],
        references: list[ImageReference],
        found: list[ImageChange],
    ) -> None:
        self._index = index
        self._registry = registry
        self._now = now
        self._left = list(reversed(references))
        self._found = found
        self._failures = 0
        self._down: Unavailable | None = None

    async def work(self) -> None:
        """Take one after the other until none is left."""
        while self._left:
            reference = self._left.pop()
            if self._down is not None:
                self._failed(reference, self._down)
                continue
            try:
                change = await self._ask(reference)
            except Unavailable as error:
                self._failures += 1
                if self._failures >= DOWN_AFTER or isinstance(error, RegistryBusy):
                    self._down = error
                self._failed(reference, error)
            except TangoError as error:
                self._failures = 0
                self._failed(reference, error)
            else:
                self._failures = 0
                if change is not None:
                    self._found.append(change)

    async def _ask(self, reference: ImageReference) -> ImageChange | None:
        known = self._index.layers(reference)
        if known is not None and not reference.pinned:
            digest = await self._registry.digest(reference)
            if digest is not None and digest == known.tag_digest:
                self._index.unchanged(reference, self._now())
                return None
        image = await self._registry.resolve(reference)
        return self._index.resolved(reference, image, self._now())

    def _failed(self, reference: ImageReference, error: TangoError) -> None:
        change = self._index.failed(
            reference,
            str(error),
            self._now(),
            gone=isinstance(error, NotFound),
            retry_after_s=error.retry_after_s if isinstance(error, RegistryBusy) else 0.0,
        )
        if change is not None:
            self._found.append(change)
