"""Filter, score, reserve; gangs; the record of a decision."""

from __future__ import annotations

import math

import numpy as np
import pytest
from placement_world import GIB, PLUGINS, node, only, placer, room

from tango.adapters.policies import placement_plugins
from tango.algorithms.placement.arrays import Bools, Floats
from tango.algorithms.placement.decision import Chosen, named, sentence
from tango.algorithms.placement.placer import Placer
from tango.algorithms.placement.pod import Pod
from tango.algorithms.placement.room import Room
from tango.model.affinity import Requirement
from tango.model.errors import AlreadyExists, InvalidField, NotFound, Refused
from tango.model.placement_profile import DEFAULT, Profile, Use


def test_each_placement_sees_the_one_before() -> None:
    here = placer(room([node("a"), node("b")]), only("fit"))
    went = [here.place(Pod(f"p{n}", cpu_millis=1000)).node for n in range(9)]
    assert went == ["a", "b", "a", "b", "a", "b", "a", "b", ""]
    here.end("p3")
    assert here.place(Pod("again", cpu_millis=1000)).node == "b"


def test_a_decision_says_who_was_removed_by_what_and_how_the_first_two_scored() -> None:
    nodes = [
        node("a", 500),
        node("b", 4000),
        node("c", 4000, cordoned=True),
        node("d", 8000),
        node("e", 8000, 1 * GIB),
        node("f", 500, labels=(("gpu", "yes"),)),
    ]
    here = placer(room(nodes), Profile("p", (Use("affinity"), Use("fit", 3.0))))
    pod = Pod("p", 2000, 2 * GIB, requires=(Requirement("gpu", "DoesNotExist"),))
    found = here.look(pod)
    names = here.room.cluster.names
    assert (found.node, found.runner_up) == ("d", "b")
    assert [(who, why, n, named(bits, names)) for who, why, n, bits in found.removed] == [
        ("", "gone or cordoned", 1, ("c",)),
        ("affinity", "without gpu DoesNotExist", 1, ("f",)),
        ("fit", "not enough CPU", 1, ("a",)),
        ("fit", "not enough memory", 1, ("e",)),
    ]
    # Free afterwards: d 6 of 8 cores, b 2 of 4; both 6 of 8 GiB.
    assert found.scores == (("fit", 3.0, pytest.approx(75.0), pytest.approx(62.5)),)
    assert (found.score, found.runner_up_score) == (pytest.approx(75.0), pytest.approx(62.5))
    told = sentence(found, names)
    assert told.startswith("p goes to d with 75.0 of 100; before b with 62.5; fit 75 against 62")
    assert "c gone or cordoned" in told
    assert "a not enough CPU" in told
    assert not here.room.held


def test_why_a_pod_goes_nowhere_counts_each_node_once() -> None:
    here = placer(room([node("a", 500), node("b", 4000, 1)]), only("fit"))
    found = here.place(Pod("p", 2000, 2))
    assert found.node == ""
    assert found.reason == "none of 2 nodes will do: 1 not enough CPU, 1 not enough memory"
    assert sentence(found, here.room.cluster.names).startswith("p goes nowhere: none of 2")
    assert placer(room([]), only("fit")).place(Pod("p")).reason == "there is no node"


def test_weights_decide_between_plugins() -> None:
    nodes = [node("a", 8000, images=("i",)), node("b", 16000)]
    pod = Pod("p", 4000, images=("i",))
    for weight, winner in ((0.1, "b"), (10.0, "a")):
        profile = Profile("p", (Use("fit"), Use("image", weight)))
        assert placer(room(nodes), profile).look(pod).node == winner


def test_a_plugin_may_filter_and_not_score_or_score_and_not_filter() -> None:
    delays = [[0, 30], [30, 0]]
    pod = Pod("p", near="a", bound_s=0.02)
    strict = placer(room([node("a"), node("b")], delays), Profile("p", (Use("delay", 0.0),)))
    assert strict.look(pod).scores == ()
    assert strict.look(pod).removed[0][:3] == ("delay", "beyond 20 ms of a", 1)
    soft = placer(
        room([node("a"), node("b")], delays), Profile("p", (Use("delay", filters=False),))
    )
    assert soft.look(pod).removed == ()
    assert soft.look(pod).scores == (("delay", 1.0, 100.0, 0.0),)


def test_a_gang_is_placed_whole_or_not_at_all() -> None:
    here = placer(room([node("a"), node("b")]), only("fit"))
    before = (here.room.cpu.copy(), here.room.memory.copy())
    found = here.place_gang([Pod(f"p{n}", 3000) for n in range(3)])
    assert isinstance(found, Chosen)
    assert found.reason == "none of 2 nodes will do: 2 not enough CPU"
    assert not here.room.held
    assert np.array_equal(here.room.cpu, before[0])
    plan = here.place_all(
        [("big", [Pod(f"p{n}", 3000) for n in range(3)]), ("small", [Pod("q", 1000)])]
    )
    assert [one.pod for one in plan.chosen] == ["q"]
    assert [name for name, _ in plan.unplaced] == ["big"]


def test_a_gang_goes_largest_first_and_behind_whom_its_pods_want_to_be_near() -> None:
    here = placer(room([node("a"), node("b")], [[0, 30], [30, 0]]))
    found = here.place_gang(
        [Pod("near", 2000, near="small", bound_s=0.01), Pod("small", 100), Pod("big", 3000)]
    )
    assert not isinstance(found, Chosen)
    assert [one.pod for one in found] == ["big", "small", "near"]
    assert here.room.node_of("near") == here.room.node_of("small")


def test_undoing_a_gang_takes_its_images_away_again_and_ending_a_pod_does_not() -> None:
    here = placer(room([node("a")]))
    here.place_gang([Pod("p", 3000, images=("i",)), Pod("q", 3000)])
    assert not here.room.has_image("i").any()
    here.place(Pod("p", images=("i",)))
    here.end("p")
    assert here.room.has_image("i").all()


class Volume:
    """Reserve: one pod a node, and none on "a"."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.taken: set[int] = set()

    def reserve(self, pod: Pod, at: int) -> str:
        if self.room.cluster.names[at] == "a" or at in self.taken:
            return "without a volume"
        self.taken.add(at)
        return ""

    def unreserve(self, pod: Pod, at: int) -> None:
        self.taken.discard(at)


def test_a_reservation_that_is_refused_falls_to_the_next_best() -> None:
    profile = Profile("p", (Use("fit"), Use("volume")))
    here = Placer(
        room([node("a"), node("b", 2000), node("c", 1000)]), profile, {**PLUGINS, "volume": Volume}
    )
    first = here.place(Pod("p", 500))
    assert (first.node, first.runner_up) == ("b", "c")
    assert first.removed[-1][:3] == ("volume", "without a volume", 1)
    assert here.place(Pod("q", 500)).node == "c"
    assert here.place(Pod("r", 500)).reason == "none of 3 nodes will do: " + ", ".join(
        ["1 without a volume"] * 3
    )
    here.end("p")
    assert here.place(Pod("s", 500)).node == "b"
    # A gang that fails gives its volumes back.
    here.end("s")
    assert isinstance(here.place_gang([Pod("t", 500), Pod("u", 400)]), Chosen)
    assert here.place(Pod("v", 500)).node == "b"


class Wild:
    def __init__(self, room: Room, mark: float = 0.0) -> None:
        self.mark = mark

    def scores(self, pod: Pod, among: Bools, out: Floats) -> bool:
        out.fill(self.mark)
        return True


@pytest.mark.parametrize("mark", [140.0, -3.0, math.nan])
def test_a_score_beyond_0_to_100_is_an_error_that_names_the_plugin(mark: float) -> None:
    profile = Profile("p", (Use("wild", parameters=(("mark", mark),)),))
    here = Placer(room([node("a"), node("b")]), profile, {"wild": Wild})
    with pytest.raises(InvalidField, match=r"p\.wild: scored"):
        here.place(Pod("p"))


def test_a_gang_is_undone_where_a_plugin_fails_half_way() -> None:
    class Breaks(Wild):
        def scores(self, pod: Pod, among: Bools, out: Floats) -> bool:
            out.fill(-1.0 if pod.name == "second" else 1.0)
            return True

    profile = Profile("p", (Use("fit"), Use("breaks"), Use("volume")))
    plugins = {**PLUGINS, "breaks": Breaks, "volume": Volume}
    here = Placer(room([node("b"), node("c")]), profile, plugins)
    with pytest.raises(InvalidField):
        here.place_gang([Pod("first", 1000), Pod("second", 500)])
    assert not here.room.held
    # Its volumes are back, too: one on each node.
    assert {here.place(Pod(name)).node for name in ("third", "fourth")} == {"b", "c"}


def test_a_profile_that_does_not_look_at_room_still_exceeds_none() -> None:
    here = placer(room([node("a", 1000), node("b", 4000)]), only("image"))
    found = here.place(Pod("p", 2000, cores=2))
    assert (found.node, found.removed[0][:3]) == ("b", ("", "without CPU", 1))
    assert here.place(Pod("q", 3000)).reason == (
        "none of 2 nodes will do: 1 without CPU, 1 without CPU"
    )


def test_profiles_are_checked() -> None:
    with pytest.raises(InvalidField, match="weight"):
        Use("fit", -1.0)
    with pytest.raises(InvalidField, match="there twice"):
        Profile("p", (Use("fit"), Use("fit")))
    with pytest.raises(InvalidField, match=r"p\.fitt: no placement plugin.*use one of: affinity"):
        placer(room([]), Profile("p", (Use("fitt"),)))
    with pytest.raises(InvalidField, match=r"unexpected.*'strat'.*its parameters: strategy"):
        placer(room([]), only("fit", strat="most"))
    with pytest.raises(InvalidField, match=r"fit\.strategy"):
        placer(room([]), only("fit", strategy="fullest"))
    with pytest.raises(InvalidField, match="no policy is named 'nope'"):
        placement_plugins(["nope"])
    assert {use.plugin for use in DEFAULT.plugins} <= PLUGINS.keys()


def test_the_room_refuses_what_does_not_fit_and_keeps_its_books() -> None:
    here = room([node("a", 2000)])
    here.take(Pod("p", 1500, ports=(80,)), 0)
    with pytest.raises(AlreadyExists):
        here.take(Pod("p"), 0)
    with pytest.raises(Refused, match="a has not the CPU for q"):
        here.take(Pod("q", 1000), 0)
    with pytest.raises(Refused, match="port 80"):
        here.take(Pod("q", 100, ports=(80,)), 0)
    with pytest.raises(NotFound):
        here.give("q")
    with pytest.raises(NotFound):
        here.index_of("z")
    held = here.give("p")
    here.restore(held)
    with pytest.raises(AlreadyExists):
        here.restore(held)
    assert here.cpu[0] == 500
