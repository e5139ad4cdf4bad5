"""Means over repeats with intervals of 95 %, and ratios of pairs: Student's t, nothing else.

Student, "The probable error of a mean", Biometrika 6(1), 1908.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

# Student's t for a two-sided interval of 95 %, by degrees of freedom from 1 to 30.
T_95 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
    2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and its interval of 95 %. low, high: None where a single value says nothing of it."""

    mean: float
    low: float | None
    high: float | None
    count: int

    @property
    def half(self) -> float | None:
        """Half its width; of a ratio, which is not symmetric, the wider half."""
        if self.low is None or self.high is None:
            return None
        return max(self.mean - self.low, self.high - self.mean)

    def to_dict(self) -> dict[str, float | int | None]:
        """For JSON."""
        return {
            "mean": round(self.mean, 6),
            "low": None if self.low is None else round(self.low, 6),
            "high": None if self.high is None else round(self.high, 6),
            "count": self.count,
        }


def t_95(freedom: int) -> float:
    """Student's t for so many degrees of freedom, 1 at least; above 30 that of 30, a little wide.

    Raises ValueError below 1.
    """
    if freedom < 1:
        raise ValueError(f"{freedom} degrees of freedom")
    return T_95[min(freedom, len(T_95)) - 1]


def mean_interval(values: Sequence[float]) -> Interval:
    """The mean of independent values. Raises ValueError without any."""
    if not values:
        raise ValueError("no values")
    mean = statistics.fmean(values)
    count = len(values)
    if count < 2:
        return Interval(mean, None, None, count)
    half = t_95(count - 1) * statistics.stdev(values) / math.sqrt(count)
    return Interval(mean, mean - half, mean + half, count)


def paired_ratio(ours: Sequence[float], theirs: Sequence[float]) -> Interval:
    """The geometric mean of ours / theirs over pairs, and its interval.

    From logarithms, as ratios are; what is not above 0 counts as 1e-9. Raises ValueError without
    any pair, and where one has no partner.
    """
    logs = [math.log(max(a, 1e-9) / max(b, 1e-9)) for a, b in zip(ours, theirs, strict=True)]
    found = mean_interval(logs)
    return Interval(
        math.exp(found.mean),
        None if found.low is None else math.exp(found.low),
        None if found.high is None else math.exp(found.high),
        found.count,
    )
