"""How an embedded cluster divides a machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from tango.adapters.master_settings import load_central
from tango.adapters.worker_settings import load_worker
from tango.model.affinity import Taint
from tango.model.errors import InvalidField
from tango.sdk.embedded_plan import central_toml, marked, plan_nodes, worker_toml

GIB = 2**30


def test_two_cores_are_shared_by_weight_less_the_reserve() -> None:
    plan = plan_nodes(sites=2, workers_per_site=1, cores=[0, 1], memory_bytes=8 * GIB)
    assert plan.by == "weight"
    assert [(node.name, node.site, node.cpu_millis) for node in plan.nodes] == [
        ("a1", "site-a", 650),
        ("b1", "site-b", 650),
    ]
    assert all(node.cpuset == "" for node in plan.nodes)
    assert sum(node.memory_bytes for node in plan.nodes) == 6 * GIB
    assert plan.weight == 130


def test_nodes_get_cores_of_their_own_where_there_are_enough() -> None:
    plan = plan_nodes(
        sites=2, workers_per_site=2, cores=list(range(9)), memory_bytes=GIB, reserve_millis=700
    )
    assert plan.by == "cpuset"
    assert [node.cpuset for node in plan.nodes] == ["1,2", "3,4", "5,6", "7,8"]
    assert [node.cpu_millis for node in plan.nodes] == [2000] * 4
    assert [node.name for node in plan.nodes] == ["a1", "a2", "b1", "b2"]


def test_what_is_more_than_the_reserve_is_never_given_away_twice() -> None:
    plan = plan_nodes(
        sites=3, workers_per_site=1, cores=[0, 1, 2], memory_bytes=GIB, reserve_millis=1500
    )
    assert plan.by == "weight"
    assert sum(node.cpu_millis for node in plan.nodes) <= 1500


@pytest.mark.parametrize(
    ("sites", "workers", "reserve", "field"),
    [(0, 1, 700, "sites"), (27, 1, 700, "sites"), (1, 0, 700, "workers"), (2, 1, 1900, "reserve")],
)
def test_impossible_plans_name_their_field(
    sites: int, workers: int, reserve: int, field: str
) -> None:
    with pytest.raises(InvalidField) as caught:
        plan_nodes(
            sites=sites,
            workers_per_site=workers,
            cores=[0, 1],
            memory_bytes=GIB,
            reserve_millis=reserve,
        )
    assert caught.value.field == field


def test_labels_and_taints_of_nodes_get_into_their_files(tmp_path: Path) -> None:
    plain = plan_nodes(sites=2, workers_per_site=1, cores=[0, 1], memory_bytes=8 * GIB)
    plan = marked(plain, ["b1:zone=west", "b1:a.b/c=", "a1:ssd=1"], ["b1:gpu=true:NoSchedule"])
    found = []
    for node in plan.nodes:
        file = tmp_path / "worker.toml"
        file.write_text(worker_toml(tmp_path, node, 1, 2, "127.0.0.1:3", "tango/x"))
        settings = load_worker(file, uid=0)
        found.append((settings.labels, settings.taints))
    assert found == [
        ((("ssd", "1"),), ()),
        ((("a.b/c", ""), ("zone", "west")), (Taint("gpu", "true"),)),
    ]


@pytest.mark.parametrize(
    ("labels", "taints", "problem"),
    [
        (["zone=west"], [], "'zone=west' is not NODE:KEY=VALUE"),
        (["c1:zone=west"], [], "no node is named 'c1'; there are: a1, b1"),
        (["a1:a=1", "a1:a=2"], [], "is there twice"),
        (["a1:a b=c"], [], "'a b' is not the key of a label"),
        ([], ["a1:gpu"], "'gpu' is not a taint"),
        ([], ["a1:x:NoSchedule", "a1:x=1:NoSchedule"], "is there twice"),
    ],
)
def test_marks_that_are_none_name_their_option(
    labels: list[str], taints: list[str], problem: str
) -> None:
    plan = plan_nodes(sites=2, workers_per_site=1, cores=[0, 1], memory_bytes=8 * GIB)
    with pytest.raises(InvalidField, match=problem) as caught:
        marked(plan, labels, taints)
    assert caught.value.field.startswith("--label" if labels else "--taint")


@pytest.mark.parametrize(("given", "read"), [("", "most-free"), ("first-fit", "first-fit")])
def test_the_central_master_is_told_the_batch_policy(tmp_path: Path, given: str, read: str) -> None:
    file = tmp_path / "central.toml"
    file.write_text(central_toml(tmp_path, 7400, 7401, given))
    assert load_central(file).batch_policy == read
