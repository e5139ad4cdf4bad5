"""LRScheduler's score over arrays of nodes (needs numpy: the masters' extra `solver`)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tango.algorithms.placement.layers import (
    MAX_CPU,
    MAX_DEVIATION,
    MIB,
    MIN_LOCAL_MIB,
    RAW_MAX,
    WEIGHT_HIGH,
    WEIGHT_LOW,
)

_Bytes = npt.NDArray[np.int64]
_Floats = npt.NDArray[np.float64]


def layer_scores(local: _Bytes, total: int, cpu: _Floats, memory: _Floats) -> _Bytes:
    """What `score_node` gives for each of many nodes at once, bit for bit.

    local: E, the bytes of the required layers that each node holds. total: T. cpu, memory: used
    fractions, this pod included.
    """
    if total <= 0:
        return np.zeros(len(local), np.int64)
    raw = RAW_MAX * local // total
    worth_it = local // MIB > MIN_LOCAL_MIB
    calm = (np.abs(cpu - memory) / 2 < MAX_DEVIATION) & (cpu < MAX_CPU)
    weight = np.where(worth_it & calm, WEIGHT_HIGH, WEIGHT_LOW)
    return (raw * weight).astype(np.int64)


def download_times(local: _Bytes, total: int, bandwidth: _Floats) -> _Floats:
    """Expected seconds of download; NaN where bandwidth (bytes/s) is NaN or not above 0."""
    missing = (total - local).astype(np.float64)
    known = np.where(bandwidth > 0, bandwidth, np.nan)
    return np.where(missing > 0, missing / known, 0.0)
