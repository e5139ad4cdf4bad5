"""The layer index: what each image in use consists of, by digest, and when to look again.

A state machine: it says what is due, and is told what a registry answered. Nothing is read once
and kept for ever; what fails is asked again with backoff, and what was known stays known meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tango.algorithms.placement.known_images import KnownImages
from tango.model.errors import InvalidField
from tango.model.image import ImageReference, parse_image
from tango.model.layers import HeldImage, ImageChange, ImageLayers, NodeImages

REFRESH_S = 300.0
# An image that nobody asked about for so long is dropped.
FORGET_S = 24 * 3600.0
RETRY_S, MAX_RETRY_S = 5.0, 300.0
MAX_IMAGES = 10_000


@dataclass(slots=True)
class _Entry:
    image: ImageLayers | None
    due_at: float
    wanted_at: float
    checked_at: float | None = None
    failures: int = 0
    problem: str = ""


@dataclass(frozen=True, slots=True)
class IndexedImage:
    """What is known of a reference, for listings.

    age_s: since a registry last confirmed it, None where none ever did. problem: of the last try.
    """

    reference: ImageReference
    image: ImageLayers | None
    age_s: float | None
    problem: str


class LayerIndex:
    """References that are in use, and their layers. Times are seconds on the caller's clock.

    All of one platform: where nodes differ, there is one index for each.
    refresh_s: how old a tag's digest may get before it is due. A reference with a digest is due
    only until it is known, since its content cannot change.
    """

    def __init__(
        self,
        *,
        refresh_s: float = REFRESH_S,
        forget_s: float = FORGET_S,
        max_images: int = MAX_IMAGES,
    ) -> None:
        self._refresh_s = refresh_s
        self._forget_s = forget_s
        self._max_images = max_images
        self._entries: dict[ImageReference, _Entry] = {}
        self._known = KnownImages()
        self._revision = 0
        self._changed: dict[ImageReference, None] = {}

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def revision(self) -> int:
        """Grows with each change of what is known: what was derived from less is out of date."""
        return self._revision

    def take_changed(self) -> tuple[tuple[ImageReference, ImageLayers | None], ...]:
        """What is known otherwise than when this was asked last; None: it is not known any more."""
        changed, self._changed = self._changed, {}
        entries = ((reference, self._entries.get(reference)) for reference in changed)
        return tuple((one, entry.image if entry is not None else None) for one, entry in entries)

    def want(self, reference: ImageReference, now: float) -> bool:
        """Somebody uses the image: it is kept, and due at once where it is new.

        False: the index is full, and the image stays unknown (score 0).
        """
        entry = self._entries.get(reference)
        if entry is not None:
            entry.wanted_at = now
            return True
        if len(self._entries) >= self._max_images and not self.forget(now):
            return False
        self._entries[reference] = _Entry(None, now, now)
        return True

    def due(self, now: float) -> tuple[ImageReference, ...]:
        """What to ask a registry about now, the longest overdue first."""
        found = [(e.due_at, str(r), r) for r, e in self._entries.items() if e.due_at <= now]
        return tuple(reference for _, _, reference in sorted(found, key=lambda each: each[:2]))

    def next_due(self) -> float | None:
        """When something is due next; None: nothing is."""
        times = [entry.due_at for entry in self._entries.values() if entry.due_at != _NEVER]
        return min(times, default=None)

    def unchanged(self, reference: ImageReference, now: float) -> None:
        """A registry says that the tag points to what is known. Fine where it was forgotten."""
        entry = self._entries.get(reference)
        if entry is not None and entry.image is not None:
            self._confirm(reference, entry, now)

    def resolved(
        self, reference: ImageReference, image: ImageLayers, now: float
    ) -> ImageChange | None:
        """A registry's answer; what changed by it, None for nothing."""
        entry = self._entries.get(reference)
        if entry is None:
            return None
        before = entry.image
        self._confirm(reference, entry, now)
        if before == image:
            return None
        self._set(reference, entry, image)
        had = set(before.layers) if before is not None else set()
        has = set(image.layers)
        return ImageChange(
            str(reference),
            _top(before),
            _top(image),
            tuple(layer for layer in image.layers if layer not in had),
            tuple(layer for layer in (before.layers if before else ()) if layer not in has),
        )

    def failed(
        self,
        reference: ImageReference,
        problem: str,
        now: float,
        *,
        gone: bool = False,
        retry_after_s: float = 0.0,
    ) -> ImageChange | None:
        """A registry did not answer, or not well; it is due again after a growing while.

        gone: the registry says that there is no such image, so that it is unknown from here on.
        Otherwise what was known stays.
        """
        entry = self._entries.get(reference)
        if entry is None:
            return None
        wait_s = min(RETRY_S * 2 ** min(entry.failures, 16), MAX_RETRY_S)
        entry.failures += 1
        entry.problem = problem
        entry.due_at = now + max(wait_s, retry_after_s)
        before = entry.image
        if not gone or before is None:
            return None
        self._set(reference, entry, None)
        return ImageChange(str(reference), _top(before), "", (), before.layers)

    def forget(self, now: float) -> int:
        """Drop what nobody wanted for long; how many that were."""
        old = [r for r, e in self._entries.items() if now - e.wanted_at >= self._forget_s]
        for reference in old:
            entry = self._entries.pop(reference)
            if entry.image is not None:
                self._set(reference, entry, None)
        return len(old)

    def layers(self, reference: ImageReference) -> ImageLayers | None:
        """What an image consists of; None where it is unknown (yet)."""
        return self._known.layers(reference)

    def by_digest(self, digest: str) -> ImageLayers | None:
        """The image whose manifest, or whose index of platforms, has this digest."""
        return self._known.by_digest(digest)

    def tried(self, reference: ImageReference) -> bool:
        """Whether a registry was asked about it, with whatever success."""
        entry = self._entries.get(reference)
        return entry is not None and (entry.checked_at is not None or entry.failures > 0)

    def entries(self, now: float) -> Iterator[IndexedImage]:
        """Everything, by name."""
        for reference, entry in sorted(self._entries.items(), key=lambda each: str(each[0])):
            age = None if entry.checked_at is None else now - entry.checked_at
            yield IndexedImage(reference, entry.image, age, entry.problem)

    def _confirm(self, reference: ImageReference, entry: _Entry, now: float) -> None:
        entry.checked_at = now
        entry.failures = 0
        entry.problem = ""
        entry.due_at = _NEVER if reference.pinned else now + self._refresh_s

    def _set(self, reference: ImageReference, entry: _Entry, image: ImageLayers | None) -> None:
        entry.image = image
        self._known.set(reference, image)
        self._changed[reference] = None
        self._revision += 1


_NEVER = float("inf")


def held_layers(report: NodeImages, index: LayerIndex) -> frozenset[str]:
    """Digests of the layers on a node, from the images that its runtime lists.

    An image counts by its own layers where the runtime names them, else by its digest, else by
    its names; one that the index does not know counts for nothing.
    """
    found: set[str] = set()
    for held in report.images:
        if held.layers:
            found.update(held.layers)
            continue
        image = _find(held, index)
        if image is not None:
            found.update(layer.digest for layer in image.layers)
    return frozenset(found)


def held_references(report: NodeImages) -> tuple[ImageReference, ...]:
    """What to `LayerIndex.want` so that a node's images are known, each by its digest where it has
    one: the tag may point elsewhere by now. Names that are none are left out."""
    found: dict[ImageReference, None] = {}
    for held in report.images:
        references = [] if held.layers else _references(held)
        pinned = [reference for reference in references if reference.pinned]
        if held.digest and not pinned:
            pinned = [reference.at(held.digest) for reference in references[:1]]
        found.update(dict.fromkeys(pinned or references))
    return tuple(found)


def _find(held: HeldImage, index: LayerIndex) -> ImageLayers | None:
    references = _references(held)
    pinned = [reference.digest for reference in references if reference.pinned]
    digests = [held.digest, *pinned] if held.digest else pinned
    for digest in digests:
        image = index.by_digest(digest)
        if image is not None:
            return image
    if digests:
        # Its tag may have moved on since the node pulled it: better unknown than wrong.
        return None
    for reference in references:
        image = index.layers(reference)
        if image is not None:
            return image
    return None


def _references(held: HeldImage) -> list[ImageReference]:
    """Runtimes also list "<none>:<none>" and bare identifiers: no names, and no errors here."""
    found = []
    for name in held.names:
        try:
            found.append(parse_image(name))
        except InvalidField:
            continue
    return found


def _top(image: ImageLayers | None) -> str:
    """What a tag points to, for telling whether it moved."""
    return "" if image is None else image.tag_digest or image.digest
