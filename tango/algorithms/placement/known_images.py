"""What images consist of, by reference and by digest, and which of them have a layer; no numpy."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass

from tango.model.image import ImageReference
from tango.model.layers import ImageLayers


@dataclass(slots=True)
class _Content:
    """What a digest stands for, and how many references lead to it."""

    image: ImageLayers
    references: int = 0


class KnownImages:
    """Images by reference; whoever keeps it says which, and drops what nobody wants any more."""

    def __init__(self) -> None:
        self._images: dict[ImageReference, ImageLayers] = {}
        # By digest of manifest and of index.
        self._by_digest: dict[str, _Content] = {}
        self._with_layer: dict[str, set[str]] = {}

    def __len__(self) -> int:
        return len(self._images)

    def set(self, reference: ImageReference, image: ImageLayers | None) -> None:
        """The reference points to this now; None: nobody knows to what."""
        before = self._images.pop(reference, None)
        if image is not None:
            self._images[reference] = image
            self._add(image)
        if before is not None:
            self._drop(before)

    def layers(self, reference: ImageReference) -> ImageLayers | None:
        """What an image consists of; None where it is unknown (yet)."""
        found = self._images.get(reference)
        if found is not None:
            return found
        return self.by_digest(reference.digest) if reference.digest else None

    def by_digest(self, digest: str) -> ImageLayers | None:
        """The image whose manifest, or whose index of platforms, has this digest."""
        known = self._by_digest.get(digest)
        return known.image if known is not None else None

    def with_layer(self, layer: str) -> Set[str]:
        """Digests of the known images, and of indexes that lead to them, that have the layer."""
        return self._with_layer.get(layer, frozenset())

    def _add(self, image: ImageLayers) -> None:
        for digest in digests_of(image):
            known = self._by_digest.get(digest)
            if known is None:
                known = self._by_digest[digest] = _Content(image)
                for layer in image.layers:
                    self._with_layer.setdefault(layer.digest, set()).add(digest)
            known.references += 1

    def _drop(self, image: ImageLayers) -> None:
        for digest in digests_of(image):
            known = self._by_digest[digest]
            known.references -= 1
            if known.references:
                continue
            del self._by_digest[digest]
            for layer in known.image.layers:
                having = self._with_layer[layer.digest]
                having.discard(digest)
                if not having:
                    del self._with_layer[layer.digest]


def digests_of(image: ImageLayers) -> set[str]:
    """Of its manifest, and of what its tag points to."""
    return {image.digest, image.tag_digest} - {""}
