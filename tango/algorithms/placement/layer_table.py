"""LRScheduler's score over arrays of nodes (needs numpy: the masters' extra `solver`)."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from tango.algorithms.placement.layers import (
    MAX_CPU,
    MAX_DEVIATION,
    MIB,
    MIN_LOCAL_MIB,
    RAW_MAX,
    WEIGHT_HIGH,
    WEIGHT_LOW,
    total_bytes,
)
from tango.model.layers import Layer

Bytes = NDArray[np.int64]
Fractions = NDArray[np.float64]
# Pods of more images than this in turn make the table count anew; 40 KB each for 5,000 nodes.
MAX_SUMS = 512


def layer_scores(local: Bytes, total: int, cpu: Fractions, memory: Fractions) -> Bytes:
    """The same scores as `score_node` gives, of many nodes at once.

    local: E of each node. cpu, memory: used fractions, this pod included.
    """
    if total <= 0:
        return np.zeros(len(local), np.int64)
    raw = RAW_MAX * local // total
    worth_it = local // MIB > MIN_LOCAL_MIB
    calm = (np.abs(cpu - memory) / 2 < MAX_DEVIATION) & (cpu < MAX_CPU)
    weight = np.where(worth_it & calm, WEIGHT_HIGH, WEIGHT_LOW)
    return (raw * weight).astype(np.int64)


def download_times(local: Bytes, total: int, bandwidth: Fractions) -> Fractions:
    """Seconds to download what is missing; NaN where bandwidth (bytes/s) is NaN or not above 0."""
    missing = (total - local).astype(np.float64)
    known = np.where(bandwidth > 0, bandwidth, np.nan)
    return np.where(missing > 0, missing / known, 0.0)


class LayerTable:
    """Which of `nodes` nodes (by position) holds which layer, and E of each image asked about.

    The sums of recent images are kept and follow each change, so that a decision need not look at
    the layers again.
    """

    def __init__(self, nodes: int) -> None:
        self._nodes = nodes
        self._held: dict[str, NDArray[np.bool_]] = {}
        # By what is required, in the order of last use; and the same by the digest of each layer,
        # with the size that it has there: two manifests may disagree on it, if one of them lies.
        self._sums: dict[tuple[Layer, ...], Bytes] = {}
        self._sums_of: dict[str, dict[tuple[Layer, ...], int]] = {}

    def __len__(self) -> int:
        return self._nodes

    def grow(self, nodes: int) -> None:
        """Make room for more nodes, which hold nothing."""
        more = nodes - self._nodes
        if more <= 0:
            return
        self._nodes = nodes
        for digest, row in self._held.items():
            self._held[digest] = np.pad(row, (0, more))
        for key, sums in self._sums.items():
            self._sums[key] = np.pad(sums, (0, more))

    def holds(self, node: int, digest: str) -> bool:
        """Whether a node has a layer."""
        row = self._held.get(digest)
        return row is not None and bool(row[node])

    def add(self, node: int, digests: Iterable[str]) -> None:
        """A node has these too, or is about to: the next decision counts on them."""
        for digest in digests:
            row = self._held.get(digest)
            if row is None:
                row = self._held[digest] = np.zeros(self._nodes, np.bool_)
            if not row[node]:
                row[node] = True
                for key, size in self._sums_of.get(digest, _NONE).items():
                    self._sums[key][node] += size

    def drop(self, node: int, digests: Iterable[str]) -> None:
        """A node has these no more; fine where it had not."""
        for digest in digests:
            row = self._held.get(digest)
            if row is None or not row[node]:
                continue
            row[node] = False
            for key, size in self._sums_of.get(digest, _NONE).items():
                self._sums[key][node] -= size
            if not row.any():
                del self._held[digest]

    def replace(self, node: int, digests: Iterable[str]) -> None:
        """A node has exactly these; none where it left, or where its place goes to another."""
        wanted = set(digests)
        gone = [d for d, row in self._held.items() if row[node] and d not in wanted]
        self.drop(node, gone)
        self.add(node, wanted)

    def local_bytes(self, required: Iterable[Layer]) -> Bytes:
        """E of every node, for layers that are named once each (`required_layers`).

        It is the table's own array: read it before the next change.
        """
        key = tuple(required)
        sums = self._sums.pop(key, None)
        if sums is None:
            sums = self._count(key)
            if len(self._sums) >= MAX_SUMS:
                self._forget(next(iter(self._sums)))
            for layer in key:
                self._sums_of.setdefault(layer.digest, {})[key] = layer.size_bytes
        self._sums[key] = sums
        return sums

    def scores(self, required: Iterable[Layer], cpu: Fractions, memory: Fractions) -> Bytes:
        """The layer score of every node for a pod that needs these layers."""
        required = tuple(required)
        return layer_scores(self.local_bytes(required), total_bytes(required), cpu, memory)

    def _count(self, required: tuple[Layer, ...]) -> Bytes:
        sums = np.zeros(self._nodes, np.int64)
        for layer in required:
            row = self._held.get(layer.digest)
            if row is not None:
                sums += row * np.int64(layer.size_bytes)
        return sums

    def _forget(self, key: tuple[Layer, ...]) -> None:
        del self._sums[key]
        for layer in key:
            keys = self._sums_of[layer.digest]
            del keys[key]
            if not keys:
                del self._sums_of[layer.digest]


_NONE: dict[tuple[Layer, ...], int] = {}
