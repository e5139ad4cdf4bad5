"""LRScheduler: the acceptance cases of layer-scheduler.md, and what its own code got wrong."""

from __future__ import annotations

import numpy as np
import pytest

from tango.algorithms.placement.layer_arrays import download_times, layer_scores
from tango.algorithms.placement.layers import (
    LayerScore,
    balanced_allocation,
    download_s,
    local_bytes,
    required_layers,
    score_node,
    total_bytes,
    total_score,
)
from tango.model.layers import ImageLayers, Layer
from tango.model.units import parse_cpu, parse_memory

SIZES = (29_150_411, 41_829_255, 601, 955, 773, 1_400, 869)
LAYERS = tuple(Layer(f"sha256:{number:064x}", size) for number, size in enumerate(SIZES))
IMAGE = ImageLayers("sha256:" + "a" * 64, LAYERS)
POD_CPU, POD_MEMORY = parse_cpu("400m"), parse_memory("300Mi")
NODE_CPU, NODE_MEMORY = parse_cpu("4"), parse_memory("8Gi")
ALL, NONE = range(7), range(0)
FIRST, TINY = range(1), range(2, 7)


def fractions(used_cpu: str | None, used_memory: str | None) -> tuple[float, float]:
    """Used fractions of the node, the pod included."""
    cpu = POD_CPU + (parse_cpu(used_cpu) if used_cpu else 0)
    memory = POD_MEMORY + (parse_memory(used_memory) if used_memory else 0)
    return cpu / NODE_CPU, memory / NODE_MEMORY


def score(held: range, used_cpu: str | None = None, used_memory: str | None = None) -> LayerScore:
    cpu, memory = fractions(used_cpu, used_memory)
    return score_node(LAYERS, {LAYERS[i].digest for i in held}, cpu, memory)


def by_array(held: range, used_cpu: str | None = None, used_memory: str | None = None) -> int:
    cpu, memory = fractions(used_cpu, used_memory)
    local = local_bytes(LAYERS, {LAYERS[i].digest for i in held})
    scores = layer_scores(
        np.array([local]), total_bytes(LAYERS), np.array([cpu]), np.array([memory])
    )
    return int(scores[0])


def test_the_image_is_the_pages() -> None:
    assert total_bytes(LAYERS) == 70_984_264
    assert sum(SIZES[2:]) == 4_598


def test_all_layers_idle() -> None:
    found = score(ALL)
    assert (found.raw, found.weight, found.score) == (50, 2, 100)
    assert by_array(ALL) == 100
    assert found.missing_bytes == 0


def test_first_layer_only_idle() -> None:
    found = score(FIRST)
    assert (found.raw, found.weight, found.score) == (20, 2, 40)
    assert by_array(FIRST) == 40


@pytest.mark.parametrize("held", [NONE, TINY], ids=["no layer", "only the five tiny ones"])
def test_no_layer_or_only_the_five_tiny_ones(held: range) -> None:
    found = score(held)
    assert (found.raw, found.weight, found.score) == (0, 0.5, 0)
    assert by_array(held) == 0


def test_all_layers_2100m_cpu_and_3gi_used() -> None:
    assert fractions("2100m", "3Gi")[0] == 0.625
    found = score(ALL, "2100m", "3Gi")
    assert (found.raw, found.weight, found.score) == (50, 0.5, 25)
    assert by_array(ALL, "2100m", "3Gi") == 25


def test_an_idle_node_with_part_of_the_image_beats_a_busy_node_with_all_of_it() -> None:
    part, busy = score(FIRST), score(ALL, "2100m", "3Gi")
    assert part.score > busy.score
    idle_total = total_score(part.score, balanced_allocation(*fractions(None, None)))
    busy_total = total_score(busy.score, balanced_allocation(*fractions("2100m", "3Gi")))
    assert idle_total > busy_total


def test_unknown_image_score_0_never_an_error() -> None:
    required = required_layers([None])
    assert required == ()
    found = score_node(required, {LAYERS[0].digest}, 0.1, 0.1)
    assert (found.raw, found.weight, found.score, found.download_s) == (0, 0.5, 0, 0.0)
    nobody = layer_scores(np.zeros(3, np.int64), total_bytes(required), np.zeros(3), np.zeros(3))
    assert list(nobody) == [0, 0, 0]
    empty = (Layer("sha256:" + "0" * 64, 0),)
    assert score_node(empty, {empty[0].digest}, 0.1, 0.1).score == 0


def test_layers_shared_by_containers_count_once() -> None:
    other = ImageLayers("sha256:" + "b" * 64, (LAYERS[0], Layer("sha256:" + "c" * 64, 1_000)))
    required = required_layers([IMAGE, other, None, IMAGE])
    assert required == (*LAYERS, other.layers[1])


@pytest.mark.parametrize(
    ("local", "cpu", "memory", "weight"),
    [
        (11 * 2**20, 0.1, 0.1, 2),
        (11 * 2**20 - 1, 0.1, 0.1, 0.5),  # floor is 10, and that is not above 10
        (11 * 2**20, 0.5999, 0.5, 2),
        (11 * 2**20, 0.6, 0.5, 0.5),
        (11 * 2**20, 0.1, 0.4199, 2),
        (11 * 2**20, 0.125, 0.5, 0.5),  # 0.1875
        (11 * 2**20, 0.5, 0.125, 0.5),
    ],
)
def test_edges_of_the_adaptive_weight(local: int, cpu: float, memory: float, weight: float) -> None:
    layer = Layer("sha256:" + "d" * 64, local)
    assert score_node((layer,), {layer.digest}, cpu, memory).weight == weight


def test_download_time_where_bandwidth_is_known() -> None:
    cpu, memory = fractions(None, None)
    held = {LAYERS[0].digest}
    known = score_node(LAYERS, held, cpu, memory, bandwidth_bytes_per_s=12.5e6)
    assert known.missing_bytes == 41_829_255 + 4_598
    assert known.download_s == pytest.approx(41_833_853 / 12.5e6)
    assert score_node(LAYERS, held, cpu, memory).download_s is None
    assert download_s(0, None) == 0.0
    assert download_s(1, 0.0) is None
    assert known.describe() == (
        "holds 27.8 MiB of 67.7 MiB, downloads 39.9 MiB, about 3.3 s: 20 x 2 = 40"
    )
    times = download_times(np.array([0, 10, 0]), 10, np.array([5.0, np.nan, 0.0]))
    assert times[0] == 2.0
    assert times[1] == 0.0
    assert np.isnan(times[2])


def test_balanced_allocation_of_alike_and_unlike_use() -> None:
    assert balanced_allocation(0.3, 0.3) == 100
    assert balanced_allocation(0.0, 1.0) == 50
    assert balanced_allocation(5.0, 1.0) == 100


def test_no_nodes() -> None:
    nothing = np.zeros(0)
    assert len(layer_scores(np.zeros(0, np.int64), 10, nothing, nothing)) == 0
