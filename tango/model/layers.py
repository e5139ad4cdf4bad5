"""Layers of images, and the images that a node's runtime says it holds."""

from __future__ import annotations

from dataclasses import dataclass

# Of one node: what is beyond it is left out of reports.
MAX_HELD_IMAGES = 500
# Of one image.
MAX_NAMES = 32
MAX_LAYERS = 1000
# Bytes/s.
MAX_BANDWIDTH = 1e15


@dataclass(frozen=True, slots=True)
class Platform:
    """What an image is built for, by Go's names (GOOS, GOARCH); variant "" matches any."""

    os: str = "linux"
    architecture: str = "amd64"
    variant: str = ""

    def __str__(self) -> str:
        variant = f"/{self.variant}" if self.variant else ""
        return f"{self.os}/{self.architecture}{variant}"


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer as it is downloaded. size_bytes: compressed."""

    digest: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class ImageLayers:
    """What one platform's image consists of, each layer once.

    digest: of its manifest. tag_digest: of what the tag points to, which is an index of several
    platforms or the manifest itself.
    """

    digest: str
    layers: tuple[Layer, ...]
    tag_digest: str = ""

    @property
    def size_bytes(self) -> int:
        """Of all layers: what a node downloads that has none."""
        return sum(layer.size_bytes for layer in self.layers)


@dataclass(frozen=True, slots=True)
class HeldImage:
    """An image as a runtime lists it (Kubernetes: node.status.images).

    names: references by tag and by digest. digest: of a manifest or an index, "" where unknown.
    layers: digests of its compressed layers where the runtime knows them; empty: to be looked up.
    """

    names: tuple[str, ...] = ()
    digest: str = ""
    size_bytes: int = 0
    layers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NodeImages:
    """All images of a node: absolute, so that each report replaces the one before.

    bandwidth_bytes_per_s: from the registry to the node; None where unknown.
    problem: why they may be out of date, or not all of them; "" for nothing.
    """

    node: str
    images: tuple[HeldImage, ...] = ()
    bandwidth_bytes_per_s: float | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class ImageChange:
    """A tag points to something else. before: its digest until now, "" where it is new."""

    image: str
    before: str
    after: str
    added: tuple[Layer, ...]
    removed: tuple[Layer, ...]
