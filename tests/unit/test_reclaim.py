"""What BE holds and does not use: only what was watched for long enough, and was not held down."""

from __future__ import annotations

from tango.algorithms.quota.reclaim import HEADROOM, LEAST, WINDOW_S, Reclaim

HELD = {"a": 1000, "b": 1000}


class Node:
    """Feeds counters once a second."""

    def __init__(self) -> None:
        self.reclaim = Reclaim()
        self.now = 100.0
        self.cpu_s = dict.fromkeys(HELD, 5.0)
        self.read()

    def read(self, satisfied: float = 1.0) -> None:
        self.reclaim.read(self.cpu_s, satisfied, self.now)

    def run(self, seconds: int, a: int, b: int, satisfied: float = 1.0) -> None:
        """They use so many millicores."""
        for _ in range(seconds):
            self.now += 1.0
            self.cpu_s["a"] += a / 1000
            self.cpu_s["b"] += b / 1000
            self.read(satisfied)

    @property
    def millis(self) -> int:
        return self.reclaim.millis(HELD)


def test_what_a_task_did_not_use_for_a_window_is_reclaimable_but_for_the_headroom() -> None:
    node = Node()
    node.run(int(WINDOW_S) - 1, 200, 1000)
    assert node.millis == 0, "not watched for long enough"
    node.run(1, 200, 1000)
    assert abs(node.millis - (1000 - 200 * HEADROOM)) <= 1
    assert abs(node.reclaim.millis({"a": 500}) - (500 - 200 * HEADROOM)) <= 1
    assert node.reclaim.millis({"b": 1000, "unknown": 5000}) == 0


def test_the_peak_of_the_window_counts() -> None:
    node = Node()
    node.run(20, 100, 1000)
    node.run(1, 700, 1000)
    node.run(int(WINDOW_S), 100, 1000)
    assert abs(node.millis - (1000 - 700 * HEADROOM)) <= 1
    node.run(1, 100, 1000)
    assert abs(node.millis - (1000 - 100 * HEADROOM)) <= 1


def test_an_idle_task_keeps_a_part() -> None:
    node = Node()
    node.run(20, 0, 2000)
    assert node.millis == 1000 - 1000 * LEAST


def test_a_task_that_is_held_down_is_not_swollen_but_one_that_takes_far_less_is() -> None:
    node = Node()
    node.run(30, 300, 300, satisfied=0.3)
    assert node.millis == 0
    node.run(int(WINDOW_S), 300, 300)
    assert abs(node.millis - 2 * (1000 - 300 * HEADROOM)) <= 2, "watched anew since then"
    node.run(30, 50, 900, satisfied=0.5)
    assert abs(node.millis - (1000 - LEAST * 1000)) <= 1


def test_a_counter_that_goes_back_or_a_task_that_is_gone_is_a_new_one() -> None:
    node = Node()
    node.run(20, 0, 1000)
    node.cpu_s["a"] = 0.0
    node.run(1, 0, 1000)
    assert node.millis == 0
    node.run(20, 0, 1000)
    gone = node.cpu_s.pop("a")
    node.now += 1
    node.read()
    assert node.millis == 0
    node.cpu_s["a"] = gone
    node.run(1, 0, 1000)
    assert node.millis == 0


def test_reports_that_come_at_once_are_no_peak() -> None:
    node = Node()
    node.run(20, 100, 1000)
    node.now += 0.01
    node.cpu_s["a"] += 0.1
    node.read()
    node.now += 0.99
    node.cpu_s["b"] += 1.0
    node.read()
    assert abs(node.millis - (1000 - 100 * HEADROOM)) <= 1
