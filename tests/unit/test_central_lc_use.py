"""What LC uses of a node, as central offers tell it: a burst is seen small, what lasts as it is."""

from __future__ import annotations

import pytest

from tango.controllers.central.lc_use import LcUse
from tango.model.cluster import NodeReport, SideUsage


def report(at_s: float, millis: int) -> NodeReport:
    return NodeReport("n1", at_s, SideUsage(cpu_millis=millis), SideUsage())


def test_the_first_report_is_all_that_is_known() -> None:
    assert LcUse(report(5.0, 70)).millis == 70


def test_a_burst_of_a_second_weighs_little_and_is_forgotten() -> None:
    use = LcUse(report(0.0, 0))
    use.read(report(1.0, 1100))
    assert use.millis == 100
    for second in range(2, 40):
        use.read(report(float(second), 0))
    assert use.millis < 5


@pytest.mark.parametrize("every_s", [0.1, 1.0, 5.0])
def test_what_lasts_is_seen_as_it_is_however_often_it_is_told(every_s: float) -> None:
    use = LcUse(report(0.0, 0))
    for number in range(1, int(60 / every_s) + 1):
        use.read(report(number * every_s, 500))
    assert 480 <= use.millis <= 500


def test_the_same_report_again_or_an_older_one_changes_nothing() -> None:
    use = LcUse(report(10.0, 100))
    use.read(report(10.0, 900))
    use.read(report(3.0, 900))
    assert use.millis == 100
    use.read(report(13.0, 100))
    assert use.millis == 100
