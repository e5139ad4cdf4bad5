"""The plugins of placement, each alone on a cluster small enough to reckon by hand."""

from __future__ import annotations

import math

import pytest
from placement_world import GIB, MIB, node, only, placer, room

from tango.algorithms.placement.cluster import Cluster, ImageRow
from tango.algorithms.placement.delays import MatrixDelays, SiteDelays
from tango.algorithms.placement.nearest_miss import nearest_miss
from tango.algorithms.placement.pod import Pod
from tango.model.affinity import Requirement, Taint, Toleration
from tango.model.errors import InvalidField


def test_fit_spreads_or_packs() -> None:
    nodes = [node("a", 4000), node("b", 8000)]
    pod = Pod("p", 2000, 4 * GIB)
    least = placer(room(nodes), only("fit")).look(pod)
    most = placer(room(nodes), only("fit", strategy="most")).look(pod)
    assert (least.node, least.score, least.runner_up_score) == ("b", 62.5, 50.0)
    assert (most.node, most.score, most.runner_up_score) == ("a", 50.0, 37.5)


def test_a_port_is_taken_once_a_node_and_given_back() -> None:
    here = placer(room([node("a"), node("b")]), only("fit"))
    assert {here.place(Pod(f"p{n}", ports=(80, 443))).node for n in range(2)} == {"a", "b"}
    assert "2 port 443 is taken" in here.place(Pod("p2", ports=(443,))).reason
    assert here.place(Pod("p3", ports=(8080,))).node
    here.end("p1")
    assert here.place(Pod("p4", ports=(443,))).node == "b"


@pytest.mark.parametrize(
    ("requirement", "stay"),
    [
        (Requirement("zone", "In", ("x", "y")), "ab"),
        (Requirement("zone", "NotIn", ("x",)), "bcd"),
        (Requirement("zone", "Exists"), "ab"),
        (Requirement("zone", "DoesNotExist"), "cd"),
        (Requirement("rank", "Gt", ("2",)), "c"),
        (Requirement("rank", "Lt", ("3",)), "b"),
    ],
)
def test_affinity_has_the_operators_of_kubernetes(requirement: Requirement, stay: str) -> None:
    nodes = [
        node("a", labels=(("zone", "x"),)),
        node("b", labels=(("zone", "y"), ("rank", "2"))),
        node("c", labels=(("rank", "3"),)),
        node("d", labels=(("rank", "many"),)),
    ]
    here = placer(room(nodes), only("affinity"))
    kept = here.candidates(Pod("p", requires=(requirement,)))
    assert "".join(n for n, keep in zip("abcd", kept, strict=True) if keep) == stay


def test_affinity_to_one_node_and_preferences() -> None:
    nodes = [
        node("a"),
        node("b", labels=(("ssd", "1"),)),
        node("c", labels=(("ssd", "1"), ("z", ""))),
    ]
    here = placer(room(nodes), only("affinity"))
    assert here.look(Pod("p", node="b")).node == "b"
    assert here.look(Pod("p", node="z")).reason.endswith("3 not z, which it names")
    wants = ((Requirement("ssd", "Exists"), 3.0), (Requirement("z", "Exists"), 1.0))
    found = here.look(Pod("p", prefers=wants))
    assert (found.node, found.score, found.runner_up, found.runner_up_score) == ("c", 100, "b", 75)


def test_taints_keep_pods_away_that_do_not_tolerate_them() -> None:
    nodes = [
        node("a", taints=(Taint("gpu", "yes"),)),
        node("b", taints=(Taint("old", "", "PreferNoSchedule"),)),
        node("c", taints=(Taint("out", "", "NoExecute"),)),
    ]
    here = placer(room(nodes), only("taints"))
    assert here.look(Pod("p")).node == "b"
    assert here.look(Pod("p")).removed[0][:3] == ("taints", "tainted, and not tolerated", 2)
    assert here.look(Pod("p", tolerations=(Toleration("gpu", "yes"),))).node == "a"
    assert here.look(Pod("p", tolerations=(Toleration("gpu", "no"),))).node == "b"
    assert here.look(Pod("p", tolerations=(Toleration("out", None, "NoSchedule"),))).node == "b"
    all_of_them = here.look(Pod("p", tolerations=(Toleration(),)))
    assert (all_of_them.removed, all_of_them.score) == ((), 100.0)
    assert here.look(Pod("p", tolerations=(Toleration("out"),))).scores == (
        ("taints", 1.0, 100.0, 0.0),
    )


def test_a_group_spreads_over_sites_then_over_nodes() -> None:
    nodes = [node(f"{site}{n}", site=site) for site in "xyz" for n in range(2)]
    here = placer(room(nodes), only("spread"))
    went = [here.place(Pod(f"p{n}", group="g")).node for n in range(6)]
    assert sorted(site for site, _ in went[:3]) == sorted(site for site, _ in went[3:]) == [*"xyz"]
    assert len(set(went)) == 6
    assert here.look(Pod("q", group="h")).node == "x0"
    here.end("p1")
    assert here.look(Pod("r", group="g")).node == went[1]


def test_spread_can_bound_a_site_and_a_node() -> None:
    nodes = [node("a", site="x"), node("b", site="x"), node("c", site="y")]
    by_site = placer(room(nodes), only("spread", most_per_site=1))
    assert [by_site.place(Pod(f"p{n}", group="g")).node for n in range(3)] == ["a", "c", ""]
    by_node = placer(room(nodes), only("spread", most_per_node=1))
    assert {by_node.place(Pod(f"p{n}", group="g")).node for n in range(4)} == {"a", "b", "c", ""}


def test_an_image_that_is_there_or_on_its_way_scores() -> None:
    here = placer(room([node("a"), node("b", images=("i",))]), only("image"))
    assert here.place(Pod("p", images=("i", "j"))).scores == (("image", 1.0, 50.0, 0.0),)
    assert here.look(Pod("q", images=("j",))).node == "b"
    assert here.look(Pod("r", images=("k",))).score == 0.0
    assert here.look(Pod("s")).scores == ()


IMAGES = (
    ImageRow("one", (("base", 30 * MIB), ("x", 10 * MIB))),
    ImageRow("two", (("base", 30 * MIB), ("y", 30 * MIB))),
)


def test_layers_score_their_share_each_digest_once() -> None:
    nodes = [node("a", images=("one",)), node("b", layers=("y",)), node("c")]
    here = placer(room(nodes, images=IMAGES), only("layers"))
    found = here.place(Pod("p", images=("two",)))
    assert (found.node, found.score, found.runner_up_score) == ("a", 50.0, 50.0)
    layers = here.room.layers
    assert layers.local(("two",)).tolist() == [60 * MIB, 30 * MIB, 0]
    both = ("one", "two")
    assert (layers.total(both), layers.local(both).tolist()) == (70 * MIB, [70 * MIB, 30 * MIB, 0])
    assert here.look(Pod("q", images=("nobody knows",))).scores == ()


def test_layers_on_their_way_count_and_go_again_when_it_came_to_nothing() -> None:
    here = room([node("a"), node("b")], images=IMAGES)
    local = here.layers.local(("two",))
    here.take(Pod("p", images=("one",)), 1)
    here.take(Pod("q", images=("two",)), 1)
    assert local.tolist() == [0, 60 * MIB]
    here.undo("q")
    assert local.tolist() == [0, 30 * MIB]
    here.undo("p")
    assert local.tolist() == [0, 0]


LINE_MS = [[0, 10, 30], [10, 0, 10], [30, 10, 0]]


def test_delay_is_bound_to_a_node_or_to_where_a_pod_is() -> None:
    here = placer(room([node("a"), node("b"), node("c")], LINE_MS), only("delay"))
    found = here.place(Pod("p", near="a", bound_s=0.02))
    assert (found.node, found.score, found.runner_up, found.runner_up_score) == ("a", 100, "b", 50)
    here.room.take(Pod("q"), 2)
    assert here.look(Pod("r", near="q", bound_s=0.005)).node == "c"
    unbound = here.look(Pod("r", near="q"))
    assert (unbound.node, unbound.runner_up_score) == ("c", pytest.approx(100 * 2 / 3))


def test_a_delay_of_zero_and_references_that_nobody_knows() -> None:
    here = placer(room([node("a"), node("b"), node("c")], LINE_MS), only("delay"))
    nothing = here.look(Pod("p", near="b", bound_s=0.0))
    assert (nothing.node, nothing.runner_up) == ("b", "")
    lost = here.look(Pod("p", near="zz", bound_s=1.0))
    assert (lost.node, lost.removed[0][1]) == (
        "",
        "out of the question: no node or pod is named zz",
    )
    blind = placer(room([node("a")]), only("delay"))
    assert "no delays are known" in blind.look(Pod("p", near="a", bound_s=1.0)).reason
    assert blind.look(Pod("p", near="a")).node == "a"


def test_cores_pack_or_go_in_order_and_named_ones_must_be_free() -> None:
    nodes = [node("a", 8000), node("b", 4000)]
    best = placer(room(nodes), only("cores"))
    assert (best.place(Pod("p", cores=3)).node, best.room.held["p"].cores) == ("b", (0, 1, 2))
    first = placer(room(nodes), only("cores", strategy="first-fit"))
    assert first.place(Pod("p", cores=3)).node == "a"
    named = Pod("q", cores=2, cpuset=(2, 5), node="a")
    assert "where core 2,5 is not free" in first.place(named).reason
    assert best.place(named).cores == (2, 5)
    assert best.place(Pod("r", cores=3)).cores == (0, 1, 3)
    assert "2 not enough free cores" in best.look(Pod("s", cores=4)).reason
    best.end("q")
    assert best.look(Pod("s", cores=4)).node == "a"


@pytest.mark.parametrize(
    "wrong",
    [
        {"bound_s": -0.001, "near": "a"},
        {"bound_s": math.nan, "near": "a"},
        {"bound_s": 1.0},
        {"near": "p"},
        {"cores": 1, "cpuset": (0,)},
        {"cores": 1, "cpuset": (0, 1), "node": "a"},
        {"cores": 2, "cpuset": (1, 1), "node": "a"},
        {"cores": -1},
        {"memory_bytes": -1},
        {"ports": (0,)},
        {"ports": (80, 80)},
        {"name": ""},
    ],
)
def test_a_pod_that_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidField, match=r"^pod\."):
        Pod(**{"name": "p", **wrong})  # type: ignore[arg-type]


def test_other_input_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(InvalidField, match="a is there twice"):
        Cluster([node("a"), node("a")])
    with pytest.raises(InvalidField, match="of 2 nodes, and there are 1"):
        Cluster([node("a")], delays=MatrixDelays([[0, 1], [1, 0]]))
    with pytest.raises(InvalidField, match="has a value below 0"):
        MatrixDelays([[0, -1], [1, 0]])
    with pytest.raises(InvalidField, match="shape"):
        MatrixDelays([[0, 1]])
    with pytest.raises(InvalidField, match="beyond the matrix"):
        SiteDelays([0, 1], [[0.0]])
    with pytest.raises(InvalidField, match="Gt needs one whole number"):
        Requirement("a", "Gt", ("x",))
    with pytest.raises(InvalidField, match="takes no values"):
        Requirement("a", "Exists", ("x",))
    with pytest.raises(InvalidField, match="effect"):
        Taint("a", "", "Never")  # type: ignore[arg-type]
    with pytest.raises(InvalidField, match="key"):
        Toleration("", "x")


def test_delays_by_site_and_both_directions() -> None:
    assert MatrixDelays([[5, 1], [3, 0]]).row(0).tolist() == [0, 3]
    delays = SiteDelays([0, 0, 1], [[0, 0.02], [0.02, 0]], 0.001)
    assert delays.row(0).tolist() == [0, 0.001, 0.02]
    assert delays.row(2).tolist() == [0.02, 0.02, 0]
    with pytest.raises(ValueError, match="read-only"):
        delays.row(0)[0] = 1.0


@pytest.mark.parametrize(
    ("wants", "told"),
    [
        ({"cores": 8}, "nearest b, 4 of 8 cores"),
        ({"cpu_millis": 5500}, "nearest b, 4 of 5500m CPU"),
        ({"cpu_millis": 3500, "memory_bytes": 9 * GIB}, "nearest a, 8.0 GiB of 9.0 GiB"),
        ({"ports": (80,), "node": "b"}, "nearest b, without port 80"),
        ({"cores": 1, "cpuset": (7,), "node": "a"}, "nearest a, without the cores that it names"),
        ({"node": "z"}, "none of 2 nodes will do: 2 not z, which it names"),
    ],
)
def test_the_nearest_miss(wants: dict[str, object], told: str) -> None:
    nodes = [node("a", 3500, 8 * GIB), node("b", 4000, 2 * GIB)]
    here = placer(room(nodes))
    here.room.take(Pod("taken", ports=(80,)), 1)
    pod = Pod("p", **wants)  # type: ignore[arg-type]
    assert not here.look(pod).node
    assert nearest_miss(here, pod) == told
