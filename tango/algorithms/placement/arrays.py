"""The array types that all of placement shares; one entry a node, in the order of the names."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def frozen(array: Floats) -> Floats:
    """The same array, read-only from here on."""
    array.setflags(write=False)
    return array
