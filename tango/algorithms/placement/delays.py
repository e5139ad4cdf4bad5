"""Round trips between nodes, in seconds: one row of an array per reference, made when asked for."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from tango.algorithms.placement.arrays import Floats, frozen
from tango.model.errors import InvalidField

# Rows kept ready; a row of 20,000 nodes is 160 kB.
MAX_ROWS = 256


class Delays(Protocol):
    """RTTs in seconds; infinite where none was measured; 0 from a node to itself."""

    size: int

    def row(self, reference: int) -> Floats:
        """From this node to each node, read-only."""
        ...


class MatrixDelays:
    """Each pair as it was measured; where both directions differ, the greater one counts.

    Takes 8 N^2 bytes: for more than a few thousand nodes use SiteDelays.
    """

    def __init__(self, rows: Sequence[Sequence[float]] | Floats, field: str = "delays") -> None:
        matrix = np.array(rows, np.float64)
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
            raise InvalidField(field, f"has the shape {matrix.shape}", "give N rows of N values")
        if np.isnan(matrix).any() or (matrix < 0).any():
            raise InvalidField(field, "has a value below 0, or none", "give seconds, 0 and up")
        matrix = np.maximum(matrix, matrix.T)
        np.fill_diagonal(matrix, 0.0)
        self._matrix = frozen(matrix)
        self.size = len(matrix)

    def row(self, reference: int) -> Floats:
        """See Delays."""
        row: Floats = self._matrix[reference]
        return row


class SiteDelays:
    """Between two nodes what lies between their sites; within_s between two nodes of one site.

    site_of: for each node its site's index. between: RTT of sites, as for MatrixDelays. access_s:
    for each node the way to its site, in addition; infinite where it was not measured.
    """

    def __init__(
        self,
        site_of: Sequence[int],
        between: Sequence[Sequence[float]] | Floats,
        within_s: float = 0.0,
        access_s: Sequence[float] | Floats | None = None,
    ) -> None:
        self._between = MatrixDelays(between, "delays.sites")
        self._site_of = np.array(site_of, np.int64)
        self.size = len(self._site_of)
        if self.size and not 0 <= self._site_of.min() <= self._site_of.max() < self._between.size:
            raise InvalidField("delays.site_of", "names a site beyond the matrix", "add its row")
        if not within_s >= 0:
            raise InvalidField(
                "delays.within_s", f"{within_s} is below 0", "give seconds, 0 and up"
            )
        self._within_s = within_s
        self._access: Floats | None = None
        if access_s is not None:
            self._access = np.array(access_s, np.float64)
            if len(self._access) != self.size or not (self._access >= 0).all():
                problem = "is not one value a node, 0 and up"
                raise InvalidField("delays.access_s", problem, "give seconds, one a node")
        self._rows: OrderedDict[int, Floats] = OrderedDict()

    def row(self, reference: int) -> Floats:
        """See Delays."""
        found = self._rows.get(reference)
        if found is not None:
            self._rows.move_to_end(reference)
            return found
        site = self._site_of[reference]
        by_site = self._between.row(site).copy()
        by_site[site] = self._within_s
        row = by_site[self._site_of]
        if self._access is not None:
            row += self._access
            row += self._access[reference]
        row[reference] = 0.0
        self._rows[reference] = frozen(row)
        if len(self._rows) > MAX_ROWS:
            self._rows.popitem(last=False)
        return row
