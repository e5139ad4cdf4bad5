"""The table of layers: any sequence of changes gives what a plain look at each node gives."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tango.algorithms.placement import layer_table
from tango.algorithms.placement.layer_table import LayerTable
from tango.algorithms.placement.layers import score_node
from tango.model.layers import Layer

MIB = 2**20
DIGESTS = tuple(f"sha256:{number:064x}" for number in range(6))
# Of one digest there are several sizes: a registry may lie about it.
SIZES = st.sampled_from((0, 1, 999, 5 * MIB, 11 * MIB, 200 * MIB, 2**50))
REQUIRED = st.lists(
    st.builds(Layer, st.sampled_from(DIGESTS), SIZES), unique_by=lambda layer: layer.digest
).map(tuple)
FRACTION = st.floats(0, 1.5)
SOME = st.lists(st.sampled_from(DIGESTS), max_size=4)


@given(REQUIRED, st.sets(st.sampled_from(DIGESTS)), FRACTION, FRACTION)
def test_scores_keep_their_range_and_add_up(
    required: tuple[Layer, ...], held: set[str], cpu: float, memory: float
) -> None:
    found = score_node(required, held, cpu, memory, 1e6)
    assert 0 <= found.raw <= 50
    assert 0 <= found.score <= 100
    assert found.local_bytes + found.missing_bytes == sum(x.size_bytes for x in required)
    assert found.download_s == found.missing_bytes / 1e6
    more = score_node(required, held | {DIGESTS[0]}, cpu, memory)
    assert more.score >= found.score, "a layer more never makes a node worse"


@given(st.data(), st.integers(1, 4))
@settings(max_examples=150, deadline=None)
def test_the_table_agrees_with_the_plain_formula(data: st.DataObject, nodes: int) -> None:
    table = LayerTable(nodes)
    held: list[set[str]] = [set() for _ in range(nodes)]
    old, layer_table.MAX_SUMS = layer_table.MAX_SUMS, 3
    try:
        for _ in range(data.draw(st.integers(1, 15))):
            node = data.draw(st.integers(0, len(table) - 1))
            digests = data.draw(SOME)
            match data.draw(st.sampled_from(("add", "drop", "replace", "grow", "ask"))):
                case "add":
                    table.add(node, digests)
                    held[node] |= set(digests)
                case "drop":
                    table.drop(node, digests)
                    held[node] -= set(digests)
                case "replace":
                    table.replace(node, digests)
                    held[node] = set(digests)
                case "grow":
                    table.grow(len(table) + 1)
                    held.append(set())
                case _:
                    check(table, held, data.draw(REQUIRED), data)
        check(table, held, data.draw(REQUIRED), data)
    finally:
        layer_table.MAX_SUMS = old


def check(
    table: LayerTable, held: list[set[str]], required: tuple[Layer, ...], data: st.DataObject
) -> None:
    cpu = [data.draw(FRACTION) for _ in held]
    memory = [data.draw(FRACTION) for _ in held]
    found = table.scores(required, np.array(cpu), np.array(memory))
    for node, digests in enumerate(held):
        plain = score_node(required, digests, cpu[node], memory[node])
        assert found[node] == plain.score
        assert table.local_bytes(required)[node] == plain.local_bytes
        assert all(table.holds(node, d) == (d in digests) for d in DIGESTS)
