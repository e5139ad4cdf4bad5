"""Predicted latency of a service's calls, corrected by what predictions turned out to be worth."""

from __future__ import annotations

from typing import Final

# Weight of the newest measurement in the moving averages, once there are 1 / EWMA_WEIGHT of them.
EWMA_WEIGHT: Final = 0.1
MIN_CORRECTION: Final = 0.5
MAX_CORRECTION: Final = 10.0


class Forecast:
    """Moving averages of one service; times in seconds.

    occupancy_s: from dispatch to answer as the edge sees it, what a slot is held for; service_s:
    what workers measured; both 0 until the first answer. error_s: mean distance of the predicted
    latency of calls that waited from what it was.
    """

    __slots__ = ("_samples", "_wait_s", "_waited_s", "error_s", "occupancy_s", "service_s")

    def __init__(self) -> None:
        self._samples = 0
        self._waited_s = 0.0
        self._wait_s = 0.0
        self.occupancy_s = 0.0
        self.service_s = 0.0
        self.error_s = 0.0

    @property
    def known(self) -> bool:
        """Whether anything was measured yet."""
        return self._samples > 0

    def wait_s(self, ahead: int, slots: int) -> float:
        """Time until `ahead` departures from `slots` busy slots, as the occupancy alone tells."""
        return ahead * self.occupancy_s / (slots or 1)

    @property
    def correction(self) -> float:
        """How much longer than wait_s() calls really wait.

        Dispatch and solve take time too, and other services take CPU: measured, not modelled.
        """
        if self._wait_s <= 0:
            return 1.0
        return min(MAX_CORRECTION, max(MIN_CORRECTION, self._waited_s / self._wait_s))

    def waited(self, wait_s: float, waited_s: float) -> None:
        """A call whose wait was predicted as wait_s (uncorrected) has waited this long."""
        self._wait_s += EWMA_WEIGHT * (wait_s - self._wait_s)
        self._waited_s += EWMA_WEIGHT * (waited_s - self._waited_s)

    def served(self, occupancy_s: float, service_s: float, deadline_s: float) -> None:
        """A request held its slot this long.

        An outlier is cut to the deadline (or twice the average), so that one hung request does not
        make admission refuse a service that is well; one that stays slow still shows.
        """
        self._samples += 1
        weight = 1 / self._samples if self._samples * EWMA_WEIGHT < 1 else EWMA_WEIGHT
        top_s = max(2 * self.occupancy_s, deadline_s)
        self.occupancy_s += weight * (min(occupancy_s, top_s) - self.occupancy_s)
        self.service_s += weight * (min(service_s, top_s) - self.service_s)

    def missed(self, expected_s: float, total_s: float) -> None:
        """A call that waited took total_s where expected_s was predicted."""
        self.error_s += EWMA_WEIGHT * (abs(total_s - expected_s) - self.error_s)
