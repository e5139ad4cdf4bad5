"""kube-scheduler's ImageLocality, re-implemented: whole images count, layers do not.

Source: pkg/scheduler/framework/plugins/imagelocality of Kubernetes; the baseline for layer scores.
"""

from __future__ import annotations

from collections.abc import Iterable

MIB = 2**20
# The sizes between which an image's score grows, for each container.
MIN_BYTES = 23 * MIB
MAX_BYTES_PER_CONTAINER = 1000 * MIB
SCORE_MAX = 100


def image_locality(present: Iterable[tuple[int, int]], containers: int, nodes: int) -> int:
    """A node's score, 0 to 100, for a pod.

    present: (bytes, number of nodes that have it) of each of the pod's images that the node has as
    a whole. An image that few nodes have counts for less, so that they are not run over.
    """
    if containers < 1 or nodes < 1:
        return 0
    scaled = sum(size * holders // nodes for size, holders in present)
    most = MAX_BYTES_PER_CONTAINER * containers
    bounded = min(max(scaled, MIN_BYTES), most)
    return SCORE_MAX * (bounded - MIN_BYTES) // (most - MIN_BYTES)
