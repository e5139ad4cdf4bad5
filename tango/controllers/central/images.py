"""Which nodes have what of the images that tasks name: from what engines and registries said.

Kept up to date with each report and each answer of a registry, so that a solve only looks up what
its own tasks name; solves without images cost nothing. What is worked out of an image is kept until
something is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field

from tango.algorithms.placement.known_images import KnownImages, digests_of
from tango.model.errors import InvalidField
from tango.model.image import parse_image
from tango.model.layers import HeldImage, ImageLayers, NodeImages
from tango.model.plan import Gang, ImageFacts

Place = tuple[str, str]
# Images, and sets of digests, whose nodes are kept ready.
MAX_READY = 4096
_NOBODY: Set[Place] = frozenset()


@dataclass(frozen=True, slots=True)
class AboutImage:
    """What it consists of, None where nobody knows; nodes that have all of it, and those that have
    any of its layers, with their digests."""

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
    # Worked out: nodes that have an image, and that have any of some digests; until something is
    # told.
    _whole: dict[str, frozenset[Place]] = field(default_factory=dict)
    _holders: dict[frozenset[str], frozenset[Place]] = field(default_factory=dict)
    _bandwidth: dict[Place, float] = field(default_factory=dict)

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
        self._changed()

    def forget_site(self, edge: str) -> None:
        """Another edge master runs there now: its nodes will say again what they hold."""
        for place in [one for one in self.told if one[0] == edge]:
            self._forget(place)
            del self.told[place]
        self._changed()

    def learned(self, images: Iterable[tuple[str, ImageLayers | None]]) -> None:
        """Registries say this of images; None: not known any more."""
        for name, image in images:
            self.known.set(parse_image(name), image)
        self._changed()

    def facts(self, gangs: Iterable[Gang]) -> ImageFacts:
        """Of all images that tasks of these gangs name."""
        wanted = {image for gang in gangs for task in gang.tasks for image in task.images}
        layers: dict[str, tuple[tuple[str, int], ...]] = {}
        for name in sorted(wanted):
            image = self._image(name)
            if image is not None:
                layers[name] = tuple((each.digest, each.size_bytes) for each in image.layers)
        digests = dict.fromkeys(digest for found in layers.values() for digest, _ in found)
        return ImageFacts(
            layers,
            {name: self._has_all(name) for name in sorted(wanted)},
            {digest: self._has_layer(digest) for digest in digests},
            self._bandwidth,
        )

    def tags(self) -> frozenset[str]:
        """By which nodes say that they hold something."""
        return frozenset(self._by_tag)

    def about(self, name: str) -> AboutImage:
        """Of one image, its reference in full."""
        image = self._image(name)
        held: dict[Place, list[str]] = {}
        for layer in image.layers if image is not None else ():
            for place in self._has_layer(layer.digest):
                held.setdefault(place, []).append(layer.digest)
        return AboutImage(
            image, self._has_all(name), {place: tuple(held[place]) for place in sorted(held)}
        )

    def _image(self, name: str) -> ImageLayers | None:
        try:
            return self.known.layers(parse_image(name))
        except InvalidField:  # what tasks name is checked; what nodes say is not
            return None

    def _has_all(self, name: str) -> frozenset[Place]:
        """Where an image is as it is now.

        A tag may have moved on since a node pulled it: the digest says what is there. An engine
        that names no digest built the image itself, or had it loaded.
        """
        found = self._whole.get(name)
        if found is not None:
            return found
        image, named = self._image(name), self._by_tag.get(name, {})
        if image is not None:
            has = {place for place, digests in named.items() if not digests}
            for digest in digests_of(image):
                has |= self._by_digest.get(digest, _NOBODY)
        else:
            has = set(named) | self._by_digest.get(name.partition("@")[2], _NOBODY)
        if len(self._whole) >= MAX_READY:
            self._whole.clear()
        self._whole[name] = found = frozenset(has)
        return found

    def _has_layer(self, layer: str) -> frozenset[Place]:
        """Where a layer is: as a part of whatever image, or by the engine's own word."""
        # Most layers of an image are in no other: worked out once for all of these.
        digests = frozenset(
            one for one in (*self.known.with_layer(layer), layer) if one in self._by_digest
        )
        found = self._holders.get(digests)
        if found is None:
            if len(self._holders) >= MAX_READY:
                self._holders.clear()
            found = frozenset().union(*(self._by_digest[digest] for digest in digests))
            self._holders[digests] = found
        return found

    def _changed(self) -> None:
        self._whole.clear()
        self._holders.clear()
        # A new one: solves that are under way keep theirs.
        self._bandwidth = {
            place: told.bandwidth_bytes_per_s
            for place, told in self.told.items()
            if told.bandwidth_bytes_per_s is not None
        }

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
