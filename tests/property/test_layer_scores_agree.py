"""Layer scores: their range, what they add up to, and that arrays give what single nodes give."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tango.algorithms.placement.layer_arrays import download_times, layer_scores
from tango.algorithms.placement.layers import local_bytes, score_node, total_bytes
from tango.model.layers import Layer

MIB = 2**20
DIGESTS = tuple(f"sha256:{number:064x}" for number in range(6))
SIZES = st.sampled_from((0, 1, 999, 5 * MIB, 11 * MIB - 1, 11 * MIB, 200 * MIB, 2**50))
REQUIRED = st.lists(
    st.builds(Layer, st.sampled_from(DIGESTS), SIZES), unique_by=lambda layer: layer.digest
).map(tuple)
HELD = st.sets(st.sampled_from(DIGESTS))
# Eighths and tenths hit the bounds of the weight exactly.
FRACTION = (
    st.floats(0, 1.5) | st.integers(0, 12).map(lambda n: n / 8) | st.sampled_from((0.6, 0.28))
)
NODE = st.tuples(HELD, FRACTION, FRACTION, st.none() | st.floats(1, 1e9))


@given(REQUIRED, HELD, FRACTION, FRACTION)
def test_scores_keep_their_range_and_add_up(
    required: tuple[Layer, ...], held: set[str], cpu: float, memory: float
) -> None:
    found = score_node(required, held, cpu, memory, 1e6)
    assert 0 <= found.raw <= 50
    assert 0 <= found.score <= 100
    assert found.local_bytes + found.missing_bytes == sum(x.size_bytes for x in required)
    assert found.download_s == found.missing_bytes / 1e6
    for digest in DIGESTS:
        more = score_node(required, held | {digest}, cpu, memory)
        assert more.score >= found.score, "a layer more never makes a node worse"


@given(REQUIRED, st.lists(NODE, max_size=8))
@settings(max_examples=200)
def test_arrays_agree_with_single_nodes(
    required: tuple[Layer, ...],
    nodes: list[tuple[set[str], float, float, float | None]],
) -> None:
    total = total_bytes(required)
    local = np.array([local_bytes(required, held) for held, *_ in nodes], np.int64)
    cpu, memory = (np.array([node[at] for node in nodes], np.float64) for at in (1, 2))
    bandwidth = np.array([math.nan if node[3] is None else node[3] for node in nodes])
    scores = layer_scores(local, total, cpu, memory)
    times = download_times(local, total, bandwidth)
    for at, node in enumerate(nodes):
        plain = score_node(required, *node)
        assert scores[at] == plain.score
        if plain.download_s is None:
            assert np.isnan(times[at])
        else:
            assert times[at] == plain.download_s
