"""Who is preempted: the fewest, of the lowest priority, and nobody that could have stayed."""

from __future__ import annotations

from placement_world import node, only, placer, room

from tango.algorithms.placement.placer import Placer
from tango.algorithms.placement.pod import Pod
from tango.algorithms.placement.preemption import preemption
from tango.model.affinity import Taint
from tango.model.placement_profile import Profile, Use


def running(*pods: tuple[str, int, int, int], profile: Profile | None = None) -> Placer:
    """Pods of (name, node's index, millicores, priority) on a, b and c with 4 cores each."""
    here = placer(room([node("a"), node("b"), node("c")]), profile or only("fit"))
    for name, index, cpu_millis, priority in pods:
        here.room.take(Pod(name, cpu_millis, priority=priority), index)
    return here


def test_the_node_whose_dearest_victim_is_cheapest() -> None:
    here = running(("a1", 0, 4000, 3), ("b1", 1, 4000, 1), ("c1", 2, 2000, 1), ("c2", 2, 2000, 2))
    found = preemption(here, [Pod("p", 3000, priority=5)])
    assert found is not None
    assert (found.victims, found.places) == (("b1",), (("p", "b"),))
    assert set(here.room.held) == {"a1", "b1", "c1", "c2"}
    assert here.room.cpu.tolist() == [0, 0, 0]


def test_whoever_could_have_stayed_stays_and_the_lowest_priority_goes_first() -> None:
    here = running(
        ("low", 0, 1000, 1), ("mid", 0, 1000, 2), ("high", 0, 1000, 3), ("top", 0, 1000, 9),
        ("b1", 1, 4000, 9), ("c1", 2, 4000, 9),
    )  # fmt: skip
    one = preemption(here, [Pod("p", 1000, priority=5)])
    two = preemption(here, [Pod("p", 2000, priority=5)])
    assert one is not None
    assert one.victims == ("low",)
    assert two is not None
    assert two.victims == ("low", "mid")
    assert preemption(here, [Pod("p", 4000, priority=5)]) is None
    assert preemption(here, [Pod("p", 1000, priority=1)]) is None
    spared = preemption(here, [Pod("p", 1000, priority=5)], lambda pod: pod.name != "low")
    assert spared is not None
    assert spared.victims == ("mid",)


def test_only_where_nothing_but_room_is_missing() -> None:
    profile = Profile(
        "p", (Use("taints"), Use("fit"), Use("spread", parameters=(("most_per_node", 1),)))
    )
    here = placer(room([node("a", taints=(Taint("no"),)), node("b"), node("c")]), profile)
    here.room.take(Pod("a1", 4000), 0)
    here.room.take(Pod("b1", 4000, priority=2, group="g"), 1)
    here.room.take(Pod("c1", 2000, priority=1), 2)
    here.room.take(Pod("c2", 2000, priority=9, group="g"), 2)
    # c would do with c1 gone but for the group: only the victims' own filters can tell.
    found = preemption(here, [Pod("p", 2000, priority=5, group="g")])
    assert found is not None
    assert (found.victims, found.places) == (("b1",), (("p", "b"),))


def test_nobody_whom_the_pod_wants_to_be_near() -> None:
    here = placer(
        room([node("a"), node("b")], [[0, 30], [30, 0]]), Profile("p", (Use("fit"), Use("delay")))
    )
    here.room.take(Pod("friend", 2000, priority=1), 0)
    here.room.take(Pod("other", 2000, priority=2), 0)
    found = preemption(here, [Pod("p", 2000, priority=5, near="friend", bound_s=0.01)])
    assert found is not None
    assert found.victims == ("other",)


def test_a_gang_makes_room_for_all_of_it_or_preempts_nobody() -> None:
    here = running(("a1", 0, 4000, 1), ("b1", 1, 4000, 1), ("c1", 2, 4000, 7))
    gang = [Pod(f"p{n}", 3000, priority=5) for n in range(2)]
    found = preemption(here, gang)
    assert found is not None
    assert (found.victims, dict(found.places)) == (("a1", "b1"), {"p0": "a", "p1": "b"})
    assert preemption(here, [*gang, Pod("p2", 3000, priority=5)]) is None
    assert set(here.room.held) == {"a1", "b1", "c1"}
    assert here.room.cpu.tolist() == [0, 0, 0]


def test_cores_are_back_with_whom_they_were() -> None:
    here = placer(room([node("a")]), Profile("p", (Use("fit"), Use("cores"))))
    for number in range(4):
        here.place(Pod(f"r{number}", cores=1, priority=number))
    pinned = Pod("p", cores=2, cpuset=(1, 3), node="a", priority=9)
    found = preemption(here, [pinned])
    assert found is not None
    assert found.victims == ("r1", "r3")
    assert [here.room.held[f"r{n}"].cores for n in range(4)] == [(0,), (1,), (2,), (3,)]


def test_a_victim_whom_a_later_one_makes_needless_is_spared() -> None:
    here = placer(room([node("a", 6000)]), only("fit"))
    here.room.take(Pod("small", 2000, priority=1), 0)
    here.room.take(Pod("large", 4000, priority=2), 0)
    found = preemption(here, [Pod(f"p{n}", 2000, priority=5) for n in range(2)])
    assert found is not None
    assert (found.victims, set(here.room.held)) == (("large",), {"small", "large"})
