"""The node's group tree: names that cannot leave it, weights of the sides, memory of the leaves."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tango.algorithms.quota.sides import (
    attempt_group,
    attempt_target,
    replica_group,
    replica_memory,
    service_group,
    side_groups,
)
from tango.model.cgroup import UNLIMITED, CgroupFeatures, GroupTarget
from tango.model.errors import InvalidField
from tango.model.job import TaskSpec
from tango.model.service import ServiceSpec

FEATURES = CgroupFeatures(1, frozenset({"cpu"}), burst=True, idle=True, pressure=False)


def test_names() -> None:
    assert service_group("hello") == "lc/hello"
    assert replica_group("hello", "hello-0") == "lc/hello/hello-0"
    assert attempt_group("j1.0.2") == "be/j1.0.2"


@pytest.mark.parametrize("bad", ["", ".", "..", "../x", "a/b", "a b", ".x", "x" * 129, "a\n", "é"])
def test_names_that_would_leave_the_tree_are_refused(bad: str) -> None:
    with pytest.raises(InvalidField, match="attempt_id"):
        attempt_group(bad)
    with pytest.raises(InvalidField, match="replica_id"):
        replica_group("hello", bad)
    with pytest.raises(InvalidField, match="service"):
        service_group(bad)


def test_sides_come_after_the_node_with_be_at_the_lowest_weight() -> None:
    assert side_groups(200, "0-1", FEATURES) == (
        ("", GroupTarget(weight=200, cpuset="0-1")),
        ("lc", GroupTarget(weight=100)),
        ("be", GroupTarget(UNLIMITED, weight=1, idle=True)),
    )


def test_idle_is_asked_for_only_where_the_kernel_has_it() -> None:
    groups = dict(side_groups(100, "", replace(FEATURES, idle=False)))
    assert groups["be"] == GroupTarget(UNLIMITED, weight=1)
    assert groups[""].cpuset is None


def test_neither_node_nor_side_has_a_quota() -> None:
    quotas = {group: target.quota_millis for group, target in side_groups(1, "", FEATURES)}
    # A cap that an earlier worker was asked for goes.
    assert quotas == {"": None, "lc": None, "be": UNLIMITED}


def test_memory_of_a_replica_counts_its_requests() -> None:
    spec = ServiceSpec("s", ("x",), memory_bytes=100, memory_per_request_bytes=7, concurrency=3)
    assert replica_memory(spec) == GroupTarget(memory_max_bytes=121)
    assert replica_memory(replace(spec, memory_bytes=0, concurrency=0)).memory_max_bytes == -1


def test_memory_of_a_task_is_what_it_declared() -> None:
    assert attempt_target(TaskSpec("t", ("x",), memory_bytes=5)).memory_max_bytes == 5
    assert attempt_target(TaskSpec("t", ("x",), memory_bytes=0)).memory_max_bytes == -1
