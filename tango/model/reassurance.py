"""What QoS re-assurance goes by: how the slack of a service is judged, and its bounds."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tango.model.checks import check_range
from tango.model.errors import InvalidField


@dataclass(frozen=True, slots=True)
class ReassuranceRule:
    """[edge.reassurance]; slack = (target - latency) / target. Shares are of the declared CPU; the
    file, and so each error, has them in percent (grow_percent is 100 * grow_share).

    percentile: of a window's requests, 50 to 100. window_s: its length, in seconds.
    min_samples: a window with fewer requests is made longer.
    alpha: below it CPU per request grows; beta: above it it shrinks.
    grow_share, shrink_share: bounds of the adjustment. step_share: of a small step.
    """

    enabled: bool = True
    percentile: float = 95.0
    alpha: float = 0.1
    beta: float = 0.3
    window_s: float = 1.0
    min_samples: int = 20
    grow_share: float = 1 / 3
    shrink_share: float = 1 / 5
    step_share: float = 1 / 24

    def validate(self) -> None:
        """Raise InvalidField where a field is out of range, or steps would leap over the rest band.

        Where latency goes as 1 / CPU, a small step down makes it at most 1 + step / (1 - shrink)
        times as long; from beta that must not lead below alpha.
        """
        check_range("percentile", self.percentile, 50, 100)
        check_range("alpha", self.alpha, 0, 0.9)
        check_range("beta", self.beta, 0, 0.99)
        check_range("window_ms", self.window_s * 1000, 50, 600_000)
        check_range("min_samples", self.min_samples, 1, 10_000)
        check_range("grow_percent", 100 * self.grow_share, 0, 1000)
        check_range("shrink_percent", 100 * self.shrink_share, 0, 90)
        check_range("step_percent", 100 * self.step_share, 0.1, 100)
        longest = 1 + self.step_share / (1 - self.shrink_share)
        if (1 - self.alpha) <= longest * (1 - self.beta):
            problem = f"{self.beta:g} is too close to alpha = {self.alpha:g}: steps would swing"
            raise InvalidField("beta", problem, "raise it, or lower alpha or step_percent")

    @property
    def windows_to_bound(self) -> int:
        """Windows in which a violation that lasts has brought the whole bound into force."""
        return 1 + math.ceil(self.grow_share / self.step_share)
