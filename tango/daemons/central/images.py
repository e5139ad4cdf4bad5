"""Asks registries what the images in use consist of, and tells the controller what is new.

A registry that is down or slow holds up nobody: each has a task and an index of its own, and
placement goes on with what is known. A job whose images nobody has asked about yet waits a moment
for the first answer, or it would be placed blindly.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping

from tango.adapters.registry_refresh import refresh
from tango.algorithms.placement.layer_index import LayerIndex, held_references
from tango.controllers.central.controller import CentralController
from tango.daemons.lifecycle import log_event
from tango.model.errors import InvalidField
from tango.model.events import ImagesLearned
from tango.model.image import ImageReference, parse_image
from tango.model.layers import NodeImages
from tango.model.settings import RegistrySettings
from tango.model.views import ImageView
from tango.ports import ImageRegistry

# What is still in use is said again in time, or the index forgets it (a day).
AGAIN_S = 3600.0
# Between two looks at the same registry; also the shortest pause after a failure.
PAUSE_S = 0.2
# First looks under way at once; further images wait for the registry's own task.
MAX_FIRST = 64
# Told at a time: the controller has more to do.
MAX_LEARNED = 64
# The registry of all that are not listed, where [registry] allows them.
OTHERS = ""
UNLISTED = "not asked: its registry is not in [registry]"


class _Lane:
    """One registry."""

    def __init__(self, name: str, registry: ImageRegistry, refresh_s: float) -> None:
        self.name = name
        self.registry = registry
        self.index = LayerIndex(refresh_s=refresh_s)
        self.poked = asyncio.Event()
        self.first: dict[ImageReference, asyncio.Task[None]] = {}
        self.logged: dict[str, str] = {}


class LayerKeeper:
    """Keeps an index for each registry, on the event loop's clock.

    clients: by registry, "" for all others.
    """

    def __init__(self, settings: RegistrySettings, clients: Mapping[str, ImageRegistry]) -> None:
        self._wait_s = settings.wait_s
        self._lanes = {
            name: _Lane(name, client, settings.refresh_s) for name, client in clients.items()
        }
        self._group: asyncio.TaskGroup | None = None
        self._in_use: Callable[[], Iterable[str]] = tuple
        self._held: Callable[[], Iterable[NodeImages]] = tuple
        self._post: Callable[[ImagesLearned], None] | None = None

    @contextlib.asynccontextmanager
    async def asking(
        self,
        group: asyncio.TaskGroup,
        in_use: Callable[[], Iterable[str]],
        held: Callable[[], Iterable[NodeImages]],
        post: Callable[[ImagesLearned], None],
    ) -> AsyncIterator[None]:
        """Ask meanwhile. in_use: references that jobs name; held: what nodes have."""
        self._group, self._post = group, post
        self._in_use, self._held = in_use, held
        tasks = [
            group.create_task(self._ask(lane), name=f"registry {lane.name or 'others'}")
            for lane in self._lanes.values()
        ]
        tasks.append(group.create_task(self._remind(), name="images in use"))
        try:
            yield
        finally:
            self._group = self._post = None
            for lane in self._lanes.values():
                tasks.extend(lane.first.values())
            for task in tasks:
                task.cancel()

    def node_has(self, images: NodeImages) -> None:
        """A node says so: its images are looked up by digest, for a tag may have moved on."""
        self._want(one for one in held_references(images) if one.pinned)

    async def look_first(self, images: Iterable[str]) -> None:
        """Look these up where nobody ever tried; at most the configured time."""
        looks = []
        for reference in _references(images):
            lane = self._lane(reference)
            if lane is None or not lane.index.want(reference, _now()):
                continue
            look = lane.first.get(reference)
            if look is None and not lane.index.tried(reference):
                look = self._begin(lane, reference)
            if look is not None:
                looks.append(look)
        if looks and self._wait_s > 0:
            await asyncio.wait(looks, timeout=self._wait_s)

    def views(self) -> tuple[ImageView, ...]:
        """Every image that somebody wants to know about, by name; and what is not asked about."""
        found = [
            ImageView(str(one.reference), one.image, one.age_s, one.problem)
            for lane in self._lanes.values()
            for one in lane.index.entries(_now())
        ]
        found += [ImageView(name, problem=UNLISTED) for name in self._unlisted()]
        return tuple(sorted(found, key=lambda view: view.image))

    def _unlisted(self) -> set[str]:
        """What jobs name, or nodes hold under a tag, of registries that are not asked."""
        tags = (name for told in self._held() for one in told.images for name in one.names)
        references = (*_references(self._in_use()), *_references(n for n in tags if "@" not in n))
        return {str(one) for one in references if self._lane(one) is None}

    def _begin(self, lane: _Lane, reference: ImageReference) -> asyncio.Task[None] | None:
        if self._group is None or len(lane.first) >= MAX_FIRST:
            lane.poked.set()
            return None

        async def look() -> None:
            try:
                await refresh(lane.index, lane.registry, _now, (reference,))
            finally:
                del lane.first[reference]
                # The registry's own task may sleep for good: it had nothing to refresh until now.
                lane.poked.set()
            self._tell(lane)

        task = self._group.create_task(look(), name=f"first look at {reference}")
        lane.first[reference] = task
        return task

    def _lane(self, reference: ImageReference) -> _Lane | None:
        return self._lanes.get(reference.registry) or self._lanes.get(OTHERS)

    def _want(self, references: Iterable[ImageReference]) -> None:
        now = _now()
        for reference in references:
            lane = self._lane(reference)
            if lane is not None and lane.index.want(reference, now):
                lane.poked.set()

    async def _remind(self) -> None:
        while True:
            self._want(_references(self._in_use()))
            for images in tuple(self._held()):
                self.node_has(images)
            await asyncio.sleep(AGAIN_S)

    async def _ask(self, lane: _Lane) -> None:
        while True:
            lane.poked.clear()
            await refresh(lane.index, lane.registry, _now)
            self._tell(lane)
            await asyncio.sleep(PAUSE_S)
            due_at = lane.index.next_due()
            left_s = None if due_at is None else max(0.0, due_at - _now())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await lane.poked.wait()

    def _tell(self, lane: _Lane) -> None:
        changed = lane.index.take_changed()
        for at in range(0, len(changed), MAX_LEARNED):
            some = tuple((str(one), image) for one, image in changed[at : at + MAX_LEARNED])
            if self._post is not None:
                self._post(ImagesLearned(some))
        self._log(lane)

    def _log(self, lane: _Lane) -> None:
        """What is newly wrong, in one line; and that nothing is any more."""
        problems = {str(o.reference): o.problem for o in lane.index.entries(_now()) if o.problem}
        new = [why for name, why in problems.items() if lane.logged.get(name) != why]
        name = lane.name or "others"
        if new:
            log_event("warning", "images not looked up", registry=name, new=len(new), first=new[0])
        elif lane.logged and not problems:
            log_event("info", "images looked up again", registry=name)
        lane.logged = problems


@contextlib.asynccontextmanager
async def registries(settings: RegistrySettings) -> AsyncIterator[LayerKeeper | None]:
    """A keeper for the registries that are configured, None for none; closed at the end.

    Raises InvalidField for a file that cannot be used, TangoError where aiohttp is missing.
    """
    if not settings.hosts and not settings.others:
        yield None
        return
    # Nobody else needs aiohttp.
    from tango.daemons.central.registries import registry_clients

    clients = registry_clients(settings)
    try:
        yield LayerKeeper(settings, clients)
    finally:
        for client in clients.values():
            await client.close()


@contextlib.asynccontextmanager
async def asking(
    keeper: LayerKeeper | None,
    group: asyncio.TaskGroup,
    controller: CentralController,
    post: Callable[[ImagesLearned], None],
) -> AsyncIterator[None]:
    """Registries are asked meanwhile, if there is a keeper."""
    if keeper is None:
        yield
        return
    held = controller.node_images()
    async with keeper.asking(group, controller.images_of_jobs, held.values, post):
        yield


def _references(images: Iterable[str]) -> list[ImageReference]:
    found = []
    for text in images:
        with contextlib.suppress(InvalidField):  # told where the job is checked
            found.append(parse_image(text))
    return found


def _now() -> float:
    return asyncio.get_running_loop().time()
