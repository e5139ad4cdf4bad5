"""The cluster as placement is given it: one row a node, columns as read-only arrays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tango.algorithms.placement.arrays import Bools, Floats, Ints
from tango.algorithms.placement.delays import Delays
from tango.model.affinity import Taint
from tango.model.errors import InvalidField


@dataclass(frozen=True, slots=True)
class NodeRow:
    """A node: what it has in all, and what is said of it. cores: ids 0 to cores - 1; None: by CPU.

    images: names of those it holds; their layers count as present. layers: digests of others.
    cordoned: takes nothing new. cloud: not of the edge; see `delay_bound`.
    bandwidth_bytes_per_s: at which it downloads images; None where nobody knows.
    """

    name: str
    cpu_millis: int
    memory_bytes: int
    cores: int | None = None
    site: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    taints: tuple[Taint, ...] = ()
    images: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    cordoned: bool = False
    cloud: bool = False
    bandwidth_bytes_per_s: float | None = None


@dataclass(frozen=True, slots=True)
class ImageRow:
    """An image: (digest, bytes) of its layers."""

    name: str
    layers: tuple[tuple[str, int], ...]


class Cluster:
    """Nodes by name, as columns; nothing in it changes. delays: in the order of the names."""

    def __init__(
        self,
        nodes: Iterable[NodeRow],
        *,
        images: Iterable[ImageRow] = (),
        delays: Delays | None = None,
    ) -> None:
        self.nodes: tuple[NodeRow, ...] = tuple(sorted(nodes, key=lambda node: node.name))
        self.names = tuple(node.name for node in self.nodes)
        self.index: Mapping[str, int] = {name: at for at, name in enumerate(self.names)}
        self.size = len(self.names)
        if len(self.index) != self.size:
            twice = next(a for a, b in zip(self.names, self.names[1:], strict=False) if a == b)
            raise InvalidField("nodes", f"{twice} is there twice", "names are unique")
        for node in self.nodes:
            if node.cpu_millis < 0 or node.memory_bytes < 0 or (node.cores or 0) < 0:
                raise InvalidField(f"nodes.{node.name}", "has less than nothing", "0 and up")
            if node.bandwidth_bytes_per_s is not None and not node.bandwidth_bytes_per_s > 0:
                field, problem = f"nodes.{node.name}.bandwidth", "is not above 0"
                raise InvalidField(field, problem, "leave it out where it is unknown")
        if delays is not None and delays.size != self.size:
            problem = f"are of {delays.size} nodes, and there are {self.size}"
            raise InvalidField("delays", problem, "give one row a node")
        self.delays = delays
        self.images: Mapping[str, ImageRow] = {image.name: image for image in images}
        self.cpu: Ints = _column([node.cpu_millis for node in self.nodes])
        self.memory: Ints = _column([node.memory_bytes for node in self.nodes])
        self.cores: Ints = _column([_cores(node) for node in self.nodes])
        self.sites = tuple(sorted({node.site for node in self.nodes}))
        at = {site: number for number, site in enumerate(self.sites)}
        self.site: Ints = _column([at[node.site] for node in self.nodes])
        self.cloud = self.where(node.cloud for node in self.nodes)
        self.schedulable = self.where(not node.cordoned for node in self.nodes)

    @cached_property
    def per_millicore(self) -> Floats:
        """1 / capacity, 0 where there is none: a product is cheaper than a quotient."""
        return _inverse(self.cpu)

    @cached_property
    def per_byte(self) -> Floats:
        """1 / capacity of memory, 0 where there is none."""
        return _inverse(self.memory)

    @cached_property
    def per_core(self) -> Floats:
        """1 / number of cores, 0 where there is none."""
        return _inverse(self.cores)

    @cached_property
    def bandwidth(self) -> Floats:
        """Bytes/s of each node, NaN where unknown."""
        known = (node.bandwidth_bytes_per_s for node in self.nodes)
        column = np.array([np.nan if one is None else one for one in known], np.float64)
        column.setflags(write=False)
        return column

    @cached_property
    def labels(self) -> tuple[Mapping[str, str], ...]:
        """Each node's labels."""
        return tuple(dict(node.labels) for node in self.nodes)

    def where(self, truths: Iterable[bool]) -> Bools:
        """A read-only mask, one truth a node."""
        mask = np.fromiter(truths, np.bool_, self.size)
        mask.setflags(write=False)
        return mask


def _cores(node: NodeRow) -> int:
    return node.cpu_millis // 1000 if node.cores is None else node.cores


def _column(values: Sequence[int]) -> Ints:
    column = np.array(values, np.int64)
    column.setflags(write=False)
    return column


def _inverse(column: Ints) -> Floats:
    inverse = np.divide(1.0, column, out=np.zeros(len(column)), where=column > 0)
    inverse.setflags(write=False)
    return inverse
