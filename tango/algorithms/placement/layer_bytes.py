"""Bytes of an image's layers that each node has: one array per image, kept up to date."""

from __future__ import annotations

import numpy as np

from tango.algorithms.placement.arrays import Ints
from tango.algorithms.placement.cluster import Cluster

# Columns kept ready, one per combination of images; a column of 20,000 nodes is 160 kB.
MAX_COLUMNS = 512


class LayerBytes:
    """`local(images)[node]`: bytes of these images' layers that the node holds, each layer once.

    A node holds the layers of its images, and those of every pod placed there so far: they are on
    their way, and stay when the pod ends, until a new Cluster says otherwise.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._images = cluster.images
        self._size = cluster.size
        self._holders: dict[str, set[int]] = {}
        self._columns: dict[tuple[str, ...], Ints] = {}
        self._layers: dict[tuple[str, ...], dict[str, int]] = {}
        self._watching: dict[str, list[tuple[int, Ints]]] = {}
        for index, node in enumerate(cluster.nodes):
            digests = [digest for digest, _ in self._of(node.images)]
            for digest in (*digests, *node.layers):
                self._holders.setdefault(digest, set()).add(index)

    def total(self, images: tuple[str, ...]) -> int:
        """Bytes of all their layers, each digest once; 0 where none of the images is known."""
        return sum(self.required(images).values())

    def required(self, images: tuple[str, ...]) -> dict[str, int]:
        """Digest -> bytes, each digest once; images that nobody knows have none."""
        found = self._layers.get(images)
        if found is None:
            found = self._layers[images] = dict(self._of(images))
        return found

    def local(self, images: tuple[str, ...]) -> Ints:
        """Bytes there already, by node. The array lives on: read it, do not keep it."""
        column = self._columns.get(images)
        if column is None:
            if len(self._columns) >= MAX_COLUMNS:
                self._columns.clear()
                self._watching.clear()
                self._layers.clear()
            column = np.zeros(self._size, np.int64)
            for digest, size in self.required(images).items():
                holders = self._holders.get(digest, ())
                column[list(holders)] += size
                self._watching.setdefault(digest, []).append((size, column))
            self._columns[images] = column
        return column

    def add(self, images: tuple[str, ...], node: int) -> tuple[str, ...]:
        """The node gets these images. Answers with the layers that are new there."""
        new = []
        for digest in self.required(images):
            holders = self._holders.setdefault(digest, set())
            if node not in holders:
                holders.add(node)
                new.append(digest)
                for size, column in self._watching.get(digest, ()):
                    column[node] += size
        return tuple(new)

    def take_back(self, digests: tuple[str, ...], node: int) -> None:
        """Undo `add`: the pod was not placed there after all."""
        for digest in digests:
            self._holders[digest].discard(node)
            for size, column in self._watching.get(digest, ()):
                column[node] -= size

    def _of(self, images: tuple[str, ...]) -> list[tuple[str, int]]:
        rows = (self._images.get(name) for name in images)
        return [layer for row in rows if row is not None for layer in row.layers]
