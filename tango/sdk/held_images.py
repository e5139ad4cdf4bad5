"""Images of a running cluster as placement is given them: as the central master counts them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tango.algorithms.placement.cluster import ImageRow
from tango.model.views import ImagesView
from tango.sdk.images import about_images

Place = tuple[str, str]


@dataclass(frozen=True, slots=True)
class HeldRow:
    """A node's: images that it has as they are now, and layers beside those of these."""

    images: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    bandwidth_bytes_per_s: float | None = None


def images_of(view: ImagesView) -> tuple[tuple[ImageRow, ...], Mapping[Place, HeldRow]]:
    """Images that registries know, and what each node (edge, node) has."""
    told = {(site.edge, node.node): node for site in view.sites for node in site.nodes}
    rows = []
    whole: dict[Place, list[str]] = {place: [] for place in told}
    covered: dict[Place, set[str]] = {place: set() for place in told}
    partly: dict[Place, dict[str, None]] = {place: {} for place in told}
    for name, about in about_images(view):
        if about.image is not None:
            layers = tuple((layer.digest, layer.size_bytes) for layer in about.image.layers)
            rows.append(ImageRow(name, layers))
        for place in about.whole:
            whole[place].append(name)
            covered[place].update(about.held.get(place, ()))
        for place, digests in about.held.items():
            partly[place].update(dict.fromkeys(digests))
    return tuple(rows), {
        place: HeldRow(
            tuple(whole[place]),
            tuple(digest for digest in partly[place] if digest not in covered[place]),
            node.bandwidth_bytes_per_s,
        )
        for place, node in told.items()
    }
