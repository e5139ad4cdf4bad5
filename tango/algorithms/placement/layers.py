"""LRScheduler: nodes scored by the image bytes they hold, with a weight that follows their load.

A re-implementation of the formulas of LRScheduler (MSN 2024), without the faults of its code: an
unknown image scores 0, and layers are counted once however many containers share them.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass

from tango.model.layers import ImageLayers, Layer
from tango.model.units import format_memory

# raw is 0 to 50, so that the larger weight brings the score to 0 to 100.
RAW_MAX = 50
WEIGHT_HIGH, WEIGHT_LOW = 2.0, 0.5
# The larger weight holds where it saves more than 10 MiB, CPU and memory are used alike, and the
# CPU is not busy.
MIB = 2**20
MIN_LOCAL_MIB = 10
MAX_DEVIATION = 0.16
MAX_CPU = 0.6
# What the score counts in a node's total, beside balanced allocation and the other scorers.
LAYER_WEIGHT, BALANCE_WEIGHT = 2, 1
SCORE_MAX = 100


@dataclass(frozen=True, slots=True)
class LayerScore:
    """Why a node got its score.

    download_s: None where the node's bandwidth is unknown and there is something to download.
    """

    raw: int
    weight: float
    score: int
    local_bytes: int
    missing_bytes: int
    download_s: float | None

    def describe(self) -> str:
        """For people, in one line."""
        took = f", about {self.download_s:.1f} s" if self.download_s else ""
        return (
            f"holds {format_memory(self.local_bytes)} of "
            f"{format_memory(self.local_bytes + self.missing_bytes)}, downloads "
            f"{format_memory(self.missing_bytes)}{took}: {self.raw} x {self.weight:g} "
            f"= {self.score}"
        )


def required_layers(images: Iterable[ImageLayers | None]) -> tuple[Layer, ...]:
    """The layers that the containers of a pod need, each once; None is an unknown image."""
    found: dict[str, Layer] = {}
    for image in images:
        for layer in image.layers if image is not None else ():
            found.setdefault(layer.digest, layer)
    return tuple(found.values())


def total_bytes(required: Iterable[Layer]) -> int:
    """T of the formula."""
    return sum(layer.size_bytes for layer in required)


def local_bytes(required: Iterable[Layer], held: Container[str]) -> int:
    """E of the formula: what is on the node already, by digest."""
    return sum(layer.size_bytes for layer in required if layer.digest in held)


def raw_score(local: int, total: int) -> int:
    """trunc(50 * E / T), 0 where nothing is required or known."""
    return RAW_MAX * local // total if total > 0 else 0


def deviation(cpu: float, memory: float) -> float:
    """The standard deviation of the two used fractions."""
    return abs(cpu - memory) / 2


def adaptive_weight(local: int, cpu: float, memory: float) -> float:
    """omega. cpu, memory: used fractions of the node, this pod included."""
    worth_it = local // MIB > MIN_LOCAL_MIB
    calm = deviation(cpu, memory) < MAX_DEVIATION and cpu < MAX_CPU
    return WEIGHT_HIGH if worth_it and calm else WEIGHT_LOW


def score_node(
    required: Iterable[Layer],
    held: Container[str],
    cpu: float,
    memory: float,
    bandwidth_bytes_per_s: float | None = None,
) -> LayerScore:
    """One node's score and what it rests on; held: digests of the layers that it has."""
    required = tuple(required)
    total, local = total_bytes(required), local_bytes(required, held)
    raw, weight = raw_score(local, total), adaptive_weight(local, cpu, memory)
    missing = total - local
    return LayerScore(
        raw,
        weight,
        int(raw * weight),
        local,
        missing,
        download_s(missing, bandwidth_bytes_per_s),
    )


def download_s(missing: int, bandwidth_bytes_per_s: float | None) -> float | None:
    """Expected time to download: 0 where nothing is missing, None where nobody can say."""
    if missing <= 0:
        return 0.0
    if bandwidth_bytes_per_s is None or bandwidth_bytes_per_s <= 0:
        return None
    return missing / bandwidth_bytes_per_s


def balanced_allocation(cpu: float, memory: float) -> int:
    """kube-scheduler's NodeResourcesBalancedAllocation for two resources, re-implemented: 0..100.

    Fractions above 1 count as 1.
    """
    return int((1 - deviation(min(1.0, cpu), min(1.0, memory))) * SCORE_MAX)


def total_score(layer_score: int, balanced: int, others: int = 0) -> int:
    """A node's total as LRScheduler adds it up. others: sum of the other scorers, weighted."""
    return LAYER_WEIGHT * layer_score + BALANCE_WEIGHT * balanced + others
