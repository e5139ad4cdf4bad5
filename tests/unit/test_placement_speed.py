"""What one placement costs at 5,000 nodes, with every plugin that the default profile has."""

from __future__ import annotations

import random
import time

from tango.cli.benches.placement_cluster import GROUPS, placer_of, random_cluster, random_pods

N_NODES, N_PODS = 5000, 500
# 2,000 a second are promised; about 0.15 ms are taken. Other tests run meanwhile, which makes the
# processor itself slower: the piece that was disturbed least counts.
BOUND_S = 1 / 2000
PIECE = 50


def test_two_thousand_placements_a_second_at_five_thousand_nodes() -> None:
    rng = random.Random(7)
    cluster = random_cluster(N_NODES, rng)
    pods = random_pods(N_PODS, cluster, rng)
    placer = placer_of(cluster)
    found, pieces = [], []
    for first in range(0, N_PODS, PIECE):
        begun = time.thread_time()
        found += [placer.place(pod) for pod in pods[first : first + PIECE]]
        pieces.append((time.thread_time() - begun) / PIECE)
    took = min(pieces)
    print(f"{took * 1e3:.3f} ms a placement, {took / N_NODES * 1e6:.3f} us a node")
    assert took < BOUND_S
    assert all(one.node for one in found)
    said = {plugin for one in found[GROUPS:] for plugin, *_ in one.scores}
    assert said == {"fit", "cores", "spread", "image", "layers", "delay"}
