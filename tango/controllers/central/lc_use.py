"""What LC uses of a node, less the moment's noise: a mean of its reports, the latest count most."""

from __future__ import annotations

from tango.model.cluster import NodeReport

# A report that comes so long after the one before it weighs a half.
HALF_AFTER_S = 10.0


class LcUse:
    """Millicores. A process that starts, or a burst, is seen for what it is: over soon."""

    __slots__ = ("_at_s", "_millis")

    def __init__(self, report: NodeReport) -> None:
        self._at_s = report.at_s
        self._millis = float(report.lc.cpu_millis)

    def read(self, report: NodeReport) -> None:
        """A report of the node, which may be the one before again."""
        passed_s = report.at_s - self._at_s
        self._at_s = report.at_s
        if passed_s > 0:  # or the node's clock was set back
            weight = passed_s / (passed_s + HALF_AFTER_S)
            self._millis += weight * (report.lc.cpu_millis - self._millis)

    @property
    def millis(self) -> int:
        """The mean."""
        return round(self._millis)
