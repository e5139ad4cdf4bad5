"""Delay layers: subsets of the exact radius, sets of pairwise delay, and by hand."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from placement_world import GIB, node, placer, room

from tango.algorithms.placement.delay_bound import DelayBound
from tango.algorithms.placement.delay_layers import LayeredDelays
from tango.algorithms.placement.delays import MatrixDelays
from tango.algorithms.placement.pod import Pod
from tango.model.errors import InvalidField
from tango.model.placement_profile import Profile, Use


def on_a_square(size: int, seed: int) -> MatrixDelays:
    rng = random.Random(seed)
    places = [(rng.random(), rng.random()) for _ in range(size)]
    return MatrixDelays(
        [[((x - u) ** 2 + (y - v) ** 2) ** 0.5 for u, v in places] for x, y in places]
    )


def test_acceptance_line_a_b_c_clustered_is_a_subset_of_the_exact_radius() -> None:
    line = MatrixDelays([[0, 0.010, 0.020], [0.010, 0, 0.010], [0.020, 0.010, 0]])
    layered = LayeredDelays(line, [0.010])
    radii = [
        "".join("abc"[n] for n in np.flatnonzero(layered.radius(at, 0.010))) for at in range(3)
    ]
    # Exact: ab, abc, bc. b shares a set with one of its neighbours, the first by name.
    assert radii == ["ab", "ab", "c"]
    # Below the smallest layer there is the reference alone.
    assert np.flatnonzero(layered.radius(1, 0.009)).tolist() == [1]
    assert np.flatnonzero(layered.radius(1, 0.0)).tolist() == [1]


def test_the_largest_layer_that_is_no_larger_than_the_bound() -> None:
    # 0 and 1 are near; at the larger layer 1, 2 and 3 are the largest set.
    ms = [[0, 1, 99, 99], [1, 0, 4, 5], [99, 4, 0, 5], [99, 5, 5, 0]]
    layered = LayeredDelays(MatrixDelays([[v / 1000 for v in row] for row in ms]), [0.002, 0.006])
    assert layered.sets(1).tolist() == [1, 0, 0, 0]
    largest = layered.radius(1, 0.006, "largest")
    assert np.flatnonzero(largest).tolist() == [1, 2, 3]
    assert np.flatnonzero(layered.radius(1, 0.006)).tolist() == [0, 1, 2, 3]
    assert np.flatnonzero(layered.radius(1, 0.005, "largest")).tolist() == [0, 1]
    assert layered.row(1).tolist() == [0.002, 0.0, 0.006, 0.006]


@given(
    st.integers(1, 30), st.integers(0, 999), st.sets(st.floats(0.01, 1.5), min_size=1, max_size=5)
)
@settings(max_examples=150, deadline=None)
def test_every_radius_is_a_subset_of_the_exact_one(
    size: int, seed: int, layers: set[float]
) -> None:
    exact = on_a_square(size, seed)
    layered = LayeredDelays(exact, sorted(layers))
    for at, layer in enumerate(sorted(layers)):
        sets = layered.sets(at)
        for one, other in itertools.combinations(range(size), 2):
            if sets[one] == sets[other]:
                assert exact.row(one)[other] <= layer
    for reference in range(size):
        for bound_s in (0.0, 0.1, 0.5, *layers):
            among = exact.row(reference) <= bound_s
            both = layered.radius(reference, bound_s)
            largest = layered.radius(reference, bound_s, "largest")
            assert largest[reference]
            assert not (largest & ~both).any()
            assert not (both & ~among).any()


def test_the_sets_are_about_as_large_as_the_largest_there_are() -> None:
    """Greedy sets, on small topologies where the largest clique can be counted out."""
    found = best = 0
    for seed in range(30):
        exact = on_a_square(10, seed)
        sets = LayeredDelays(exact, [0.4]).sets(0)
        found += int(np.bincount(sets).max())
        near = np.array([exact.row(at) <= 0.4 for at in range(10)])
        best += max(
            size
            for size in range(1, 11)
            for some in itertools.combinations(range(10), size)
            if near[np.ix_(some, some)].all()
        )
    print(f"largest sets: {found} nodes greedily, {best} at most")
    assert found >= 0.85 * best


def test_bounds_are_kept_on_clustered_delays() -> None:
    here = DelayBound(
        placer(
            room([node(f"n{at:02d}") for at in range(30)]),
            Profile("edge", (Use("delay"), Use("fit"))),
        )
    )
    exact = on_a_square(30, 1)
    here.delays_changed(LayeredDelays(exact, [0.2, 0.4]))
    for number in range(40):
        here.schedule(Pod(f"p{number}", 100, GIB, near=f"n{number % 30:02d}", bound_s=0.45))
    here.fail(["n03"])
    index = here.room.index_of
    placed = [one for one in here.bound.values() if one.node]
    assert len(placed) > 35
    assert sum(bool(one.backup) for one in placed) > 30
    for one in placed:
        for name in filter(None, (one.node, one.backup)):
            assert exact.row(index(one.pod.near))[index(name)] <= 0.45


@pytest.mark.parametrize(
    "layers", [[], [0.0], [-1.0], [0.2, 0.1], [0.1, 0.1], [float("inf")], [float("nan")]]
)
def test_layers_rise_from_above_0(layers: list[float]) -> None:
    with pytest.raises(InvalidField, match=r"delays.layers"):
        LayeredDelays(on_a_square(2, 0), layers)
