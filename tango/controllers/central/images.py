"""Which nodes have what of the images that tasks name: from what engines and registries said.

Kept up to date with each report and each answer of a registry, so that a solve only looks up what
its own tasks name; solves without images cost nothing. What is worked out of an image is kept until
something is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from tango.algorithms.placement.known_images import KnownImages, digests_of
from tango.model.errors import InvalidField
from tango.model.image import parse_image
from tango.model.layers import HeldImage, ImageLayers, NodeImages
from tango.model.plan import Gang, ImageFacts

Place = tuple[str, str]
# Images whose nodes are kept ready.
MAX_READY = 1024
_NOBODY: frozenset[Place] = frozenset()


@dataclass(frozen=True, slots=True)
class AboutImage:
    """What it consists of, None where nobody knows; who has all of it, and which of its layers.

    held: by node, in order. Nodes in `whole` are there too where the layers are known.
    """

    image: ImageLayers | None
    whole: frozenset[Place]
    held: Mapping[Place, tuple[str, ...]]


@dataclass(slots=True)
class Images:
    """told: the latest word of each node (edge, node)."""

    told: dict[Place, NodeImages] = field(default_factory=dict)
    known: KnownImages = field(default_factory=KnownImages)
    # Nodes by what they say that they hold: a digest of an image, or of a layer.
    _by_digest: dict[str, set[Place]] = field(default_factory=dict)
    # By tag, and there the digests that a node has for it; none where its engine names none.
    _by_tag: dict[str, dict[Place, frozenset[str]]] = field(default_factory=dict)
    _ready: dict[str, AboutImage] = field(default_factory=dict)

    def node_told(self, edge: str, told: NodeImages) -> None:
        """A node's engine holds this now."""
        place = edge, told.node
        self._forget(place)
        self.told[place] = told
        for held in told.images:
            for digest in _digests(held):
                self._by_digest.setdefault(digest, set()).add(place)
            digests = frozenset(_content(held))
            for name in _tags(held):
                self._by_tag.setdefault(name, {})[place] = digests
        self._ready.clear()

    def forget_site(self, edge: str) -> None:
        """Another edge master runs there now: its nodes will say again what they hold."""
        for place in [one for one in self.told if one[0] == edge]:
            self._forget(place)
            del self.told[place]
        self._ready.clear()

    def learned(self, images: Iterable[tuple[str, ImageLayers | None]]) -> None:
        """Registries say this of images; None: not known any more."""
        for name, image in images:
            self.known.set(parse_image(name), image)
        self._ready.clear()

    def facts(self, gangs: Iterable[Gang]) -> ImageFacts | None:
        """Of all images that tasks of these gangs name; None where they name none."""
        wanted = {image for gang in gangs for task in gang.tasks for image in task.images}
        if not wanted:
            return None
        layers: dict[str, tuple[tuple[str, int], ...]] = {}
        whole: dict[str, frozenset[Place]] = {}
        held: dict[Place, dict[str, None]] = {}
        for name in sorted(wanted):
            one = self.about(name)
            whole[name] = one.whole
            if one.image is not None:
                layers[name] = tuple((each.digest, each.size_bytes) for each in one.image.layers)
            for place, digests in one.held.items():
                held.setdefault(place, {}).update(dict.fromkeys(digests))
        bandwidth = {
            place: told.bandwidth_bytes_per_s
            for place, told in self.told.items()
            if told.bandwidth_bytes_per_s is not None
        }
        return ImageFacts(
            layers, whole, {place: tuple(digests) for place, digests in held.items()}, bandwidth
        )

    def tags(self) -> frozenset[str]:
        """By which nodes say that they hold something."""
        return frozenset(self._by_tag)

    def about(self, name: str) -> AboutImage:
        """Of one image, its reference in full."""
        ready = self._ready.get(name)
        if ready is None:
            if len(self._ready) >= MAX_READY:
                self._ready.clear()
            ready = self._ready[name] = self._work_out(name)
        return ready

    def _work_out(self, name: str) -> AboutImage:
        try:
            reference = parse_image(name)
        except InvalidField:  # checked at the door; a store may be older than the check
            return AboutImage(None, _NOBODY, {})
        image = self.known.layers(reference)
        named = self._by_tag.get(name, {})
        if image is None:
            has = set(self._by_digest.get(reference.digest, ())) if reference.pinned else set(named)
            return AboutImage(None, frozenset(has), {})
        # A tag may have moved on since the node pulled it: its digest says what is there. An engine
        # that names no digest built the image itself, or had it loaded.
        whole = {place for place, digests in named.items() if not digests}
        for digest in digests_of(image):
            whole |= self._by_digest.get(digest, _NOBODY)
        held: dict[Place, list[str]] = {}
        for layer in image.layers:
            places = set(self._by_digest.get(layer.digest, _NOBODY))
            for digest in self.known.with_layer(layer.digest):
                places |= self._by_digest.get(digest, _NOBODY)
            for place in places | whole:
                held.setdefault(place, []).append(layer.digest)
        return AboutImage(
            image, frozenset(whole), {place: tuple(held[place]) for place in sorted(held)}
        )

    def _forget(self, place: Place) -> None:
        before = self.told.get(place)
        if before is None:
            return
        for held in before.images:
            for digest in _digests(held):
                places = self._by_digest.get(digest)
                if places is not None:
                    places.discard(place)
                    if not places:
                        del self._by_digest[digest]
            for name in _tags(held):
                tagged = self._by_tag.get(name)
                if tagged is not None:
                    tagged.pop(place, None)
                    if not tagged:
                        del self._by_tag[name]


def _content(held: HeldImage) -> Iterator[str]:
    """Digests by which the image is known to registries."""
    if held.digest:
        yield held.digest
    for name in held.names:
        _, at, digest = name.partition("@")
        if at:
            yield digest


def _digests(held: HeldImage) -> Iterator[str]:
    yield from _content(held)
    yield from held.layers


def _tags(held: HeldImage) -> Iterator[str]:
    return (name for name in held.names if "@" not in name)
