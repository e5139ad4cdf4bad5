"""Whom the simulated node kills when memory runs out."""

from __future__ import annotations

import random

import pytest

from tango.model.cgroup import GroupTarget
from tango.sim.node_memory import BE_OOM_SCORE_ADJ, Killed, NodeMemory

MIB = 1 << 20


@pytest.fixture
def node() -> NodeMemory:
    """1000 MiB, 100 of them the system's; two replicas and two tasks without limits."""
    made = NodeMemory(1000 * MIB, other_bytes=100 * MIB)
    for group in ("lc/hello/r-1", "lc/hello/r-2", "be/t-1", "be/t-2"):
        made.set_group(group, GroupTarget())
    return made


def be(node: NodeMemory, task: str, mib: int) -> tuple[Killed, ...]:
    return node.use(task, f"be/{task}", mib * MIB, oom_score_adj=BE_OOM_SCORE_ADJ)


def lc(node: NodeMemory, replica: str, mib: int) -> tuple[Killed, ...]:
    return node.use(replica, f"lc/hello/{replica}", mib * MIB)


def test_use_counts_in_all_groups_above_and_is_given_back(node: NodeMemory) -> None:
    assert lc(node, "r-1", 100) == ()
    assert lc(node, "r-2", 50) == ()
    assert lc(node, "r-1", 70) == ()
    assert be(node, "t-1", 200) == ()
    assert node.usage("lc/hello")[0] == 120 * MIB
    assert node.usage("")[0] == 320 * MIB
    assert node.available_bytes == 580 * MIB
    node.end("r-1")
    node.end("r-1")
    assert node.usage("lc/hello") == (50 * MIB, 0)
    assert node.available_bytes == 650 * MIB


def test_beyond_its_own_limit_a_process_dies_and_not_its_neighbour(node: NodeMemory) -> None:
    node.set_group("be/t-1", GroupTarget(memory_max_bytes=64 * MIB))
    be(node, "t-2", 400)
    assert be(node, "t-1", 64) == ()
    assert be(node, "t-1", 65) == (Killed("t-1", "be/t-1", "be/t-1"),)
    assert node.usage("be/t-1") == (0, 1)
    assert node.usage("be") == (400 * MIB, 0)


def test_within_a_limit_the_largest_dies(node: NodeMemory) -> None:
    node.set_group("lc/hello", GroupTarget(memory_max_bytes=300 * MIB))
    lc(node, "r-1", 200)
    assert lc(node, "r-2", 150) == (Killed("r-1", "lc/hello/r-1", "lc/hello"),)
    assert node.usage("lc/hello")[0] == 150 * MIB


def test_who_grows_counts_with_what_it_got(node: NodeMemory) -> None:
    """It asks for most, but has only 100 of it when the limit is reached."""
    node.set_group("lc/hello", GroupTarget(memory_max_bytes=300 * MIB))
    lc(node, "r-1", 200)
    assert [killed.process for killed in lc(node, "r-2", 290)] == ["r-1"]
    assert [killed.process for killed in lc(node, "r-1", 250)] == ["r-2"]


def test_the_machine_takes_be_first_however_small(node: NodeMemory) -> None:
    lc(node, "r-1", 600)
    be(node, "t-1", 20)
    be(node, "t-2", 30)
    assert lc(node, "r-2", 275) == (Killed("t-2", "be/t-2", None),)
    assert node.usage("be/t-2") == (0, 1)
    # Then the other, and only then LC; the larger of the two.
    killed = lc(node, "r-2", 310)
    assert [each.process for each in killed] == ["t-1", "r-1"]
    assert node.available_bytes == 590 * MIB


def test_a_task_that_grows_beyond_the_machine_is_the_one(node: NodeMemory) -> None:
    lc(node, "r-1", 600)
    be(node, "t-1", 100)
    assert be(node, "t-2", 400) == (Killed("t-2", "be/t-2", None),)


def test_a_lowered_limit_kills_until_it_fits(node: NodeMemory) -> None:
    be(node, "t-1", 100)
    be(node, "t-2", 200)
    killed = node.set_group("be", GroupTarget(memory_max_bytes=50 * MIB))
    assert [each.process for each in killed] == ["t-2", "t-1"]


def test_a_group_that_asks_for_it_dies_as_a_whole(node: NodeMemory) -> None:
    target = GroupTarget(memory_max_bytes=100 * MIB, oom_group=True)
    node.set_group("be/t-1", target)
    node.use("main", "be/t-1", 60 * MIB, oom_score_adj=BE_OOM_SCORE_ADJ)
    killed = node.use("child", "be/t-1", 50 * MIB, oom_score_adj=BE_OOM_SCORE_ADJ)
    assert {each.process for each in killed} == {"main", "child"}
    assert node.usage("be/t-1") == (0, 2)


def test_what_may_not_be_killed_stays(node: NodeMemory) -> None:
    assert node.use("agent", "lc/hello/r-1", 2000 * MIB, oom_score_adj=-1000) == ()
    assert node.available_bytes < 0


def test_groups_in_use_stay(node: NodeMemory) -> None:
    be(node, "t-1", 1)
    with pytest.raises(ValueError, match="still in"):
        node.remove_group("be")
    with pytest.raises(ValueError, match="not in"):
        node.use("t-1", "be/t-2", MIB)
    node.end("t-1")
    node.remove_group("be")
    node.remove_group("be")
    with pytest.raises(KeyError):
        be(node, "t-1", 1)


@pytest.mark.parametrize("seed", range(20))
def test_nothing_is_ever_above_its_limit_and_all_is_given_back(seed: int) -> None:
    rng = random.Random(seed)
    node = NodeMemory(1000)
    groups = [f"{side}/{n}" for side in ("lc", "be") for n in range(3)]
    limits = {group: rng.randint(50, 500) for group in groups} | {"be": 600, "": 1000}
    for group, limit in limits.items():
        node.set_group(group, GroupTarget(memory_max_bytes=limit))
    where: dict[str, str] = {}
    use: dict[str, int] = {}
    for number in range(400):
        process = f"p{number % 15}"
        if rng.random() < 0.2:
            node.end(process)
            where.pop(process, None)
            use.pop(process, None)
        else:
            group = where.setdefault(process, rng.choice(groups))
            use[process] = rng.randint(0, 300)
            adj = BE_OOM_SCORE_ADJ if group.startswith("be") else 0
            for killed in node.use(process, group, use[process], oom_score_adj=adj):
                assert killed.group == where.pop(killed.process)
                del use[killed.process]
                if killed.limit is None:
                    assert killed.group.startswith("be") or not any(
                        each.startswith("be") for each in where.values()
                    )
        assert node.usage("")[0] == sum(use.values())
        for group, limit in limits.items():
            within = sum(
                n for p, n in use.items() if f"{where[p]}/".startswith(f"{group}/" if group else "")
            )
            assert node.usage(group)[0] == within <= limit
