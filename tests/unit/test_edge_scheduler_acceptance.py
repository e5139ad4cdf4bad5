"""The acceptance cases of edge-scheduler.md, as given there, and its states one by one."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import pytest
from placement_world import GIB, PLUGINS, node, placer, room

from tango.adapters.delay_files import read_delays, read_nodes
from tango.algorithms.placement.cluster import Cluster
from tango.algorithms.placement.delay_books import ALONE, BARRED, OUTSIDE, UNPROTECTED, WAITS
from tango.algorithms.placement.delay_bound import DelayBound
from tango.algorithms.placement.delay_labels import bound_of, is_cloud
from tango.algorithms.placement.delays import MatrixDelays
from tango.algorithms.placement.measured_delays import delays_of
from tango.algorithms.placement.placeholders import Need
from tango.algorithms.placement.placer import Placer
from tango.algorithms.placement.pod import Pod
from tango.algorithms.placement.room import Room
from tango.model.affinity import Taint
from tango.model.errors import AlreadyExists, InvalidField, NotFound
from tango.model.placement_profile import Profile, Use

PROFILE = Profile("edge", (Use("affinity"), Use("taints"), Use("delay"), Use("fit"), Use("cores")))
# In the order of the names: cloud-1, edge-1, edge-2, edge-3.
RTT_MS = [[0, 50, 50, 50], [50, 0, 10, 20], [50, 10, 0, 20], [50, 20, 20, 0]]


def edge(
    free: Sequence[int] = (8, 8, 8), rtt_ms: Sequence[Sequence[float]] = RTT_MS, **more: object
) -> DelayBound:
    nodes = [node(f"edge-{n}", 64000, size * GIB, **more) for n, size in enumerate(free, 1)]
    nodes.append(node("cloud-1", 64000, 64 * GIB, cloud=True))
    return DelayBound(placer(room(nodes, rtt_ms), PROFILE))


def pod(name: str, gib: int, near: str = "", ms: float = 0.0, **more: object) -> Pod:
    bound = {"near": near, "bound_s": ms / 1000} if near else {}
    return Pod(name, memory_bytes=gib * GIB, **bound, **more)  # type: ignore[arg-type]


def sizes(here: DelayBound) -> dict[str, int]:
    """Placeholders by node, in GiB."""
    names = here.room.cluster.names
    return {names[host]: size.memory_bytes // GIB for host, size in here.placeholders.sizes.items()}


def free_gib(here: DelayBound, name: str) -> int:
    return int(here.room.memory[here.room.index_of(name)]) // GIB


def where(here: DelayBound) -> dict[str, tuple[str, str]]:
    return {name: (one.node, one.backup) for name, one in here.bound.items()}


def where_goes(here: DelayBound, name: str, gib: int) -> tuple[str, str]:
    """A pod within 60 ms of edge-1: any node will do, the cloud is the roomiest."""
    found = here.schedule(pod(name, gib, "edge-1", 60)).bound
    return found.node, found.backup


def test_acceptance_pod1_6gi_within_25_ms_of_edge_1() -> None:
    here = edge()
    first = here.schedule(pod("pod1", 6, "edge-1", 25)).bound
    assert (first.node, first.backup, first.warning) == ("edge-1", "edge-2", "")
    assert sizes(here) == {"edge-2": 6}


def test_acceptance_pod2_6gi_without_a_delay_label_after_pod1() -> None:
    here = edge()
    here.schedule(pod("pod1", 6, "edge-1", 25))
    second = here.schedule(pod("pod2", 6)).bound
    assert (second.node, second.backup, second.warning) == ("cloud-1", "", "")
    assert free_gib(here, "cloud-1") == 58
    assert sizes(here) == {"edge-2": 6}


def test_acceptance_pod4_1gi_within_1_ms_of_pod1_after_both() -> None:
    here = edge()
    here.schedule(pod("pod1", 6, "edge-1", 25))
    here.schedule(pod("pod2", 6))
    third = here.schedule(pod("pod4", 1, "pod1", 1)).bound
    assert (third.node, third.warning) == ("edge-1", ALONE)
    assert free_gib(here, "edge-1") == 1


def test_acceptance_from_the_files_and_labels_of_kubernetes_edge_scheduler(tmp_path: Path) -> None:
    """The inputs as that scheduler is given them: two matrix files, nodes, labels of pods."""
    (tmp_path / "rtt.txt").write_text("0 10 20 50\n10 0 20 50\n20 20 0 50\n50 50 50 0\n")
    (tmp_path / "index.json").write_text('{"edge-1": 0, "edge-2": 1, "edge-3": 2, "cloud-1": 3}')
    nodes = [{"name": f"edge-{n}", "allocatable_memory": "8Gi", "cloud": False} for n in (1, 2, 3)]
    nodes.append({"name": "cloud-1", "allocatable_memory": "64Gi", "cloud": True})
    (tmp_path / "nodes.json").write_text(json.dumps(nodes))
    rows = read_nodes(tmp_path / "nodes.json")
    trips = read_delays(tmp_path / "rtt.txt", tmp_path / "index.json").trips
    read = delays_of(sorted(row.name for row in rows), trips)
    cluster = Cluster(rows, delays=read.delays)
    here = DelayBound(Placer(Room(cluster), PROFILE, PLUGINS))
    asked: list[tuple[str, int, dict[str, str]]] = [
        ("pod1", 6, {"delay_edge-1": "25"}),
        ("pod2", 6, {"app": "web"}),
        ("pod4", 1, {"delay_pod1": "1"}),
    ]
    for name, gib, labels in asked:
        near, bound_s = bound_of(labels)
        here.schedule(Pod(name, memory_bytes=gib * GIB, near=near, bound_s=bound_s))
    assert where(here) == {
        "pod1": ("edge-1", "edge-2"),
        "pod2": ("cloud-1", ""),
        "pod4": ("edge-1", ""),
    }
    assert sizes(here) == {"edge-2": 6}
    assert (free_gib(here, "cloud-1"), free_gib(here, "edge-1")) == (58, 1)
    assert here.bound["pod4"].warning == ALONE


@pytest.mark.parametrize(
    ("labels", "wanted"),
    [
        ({"delay_edge-1": "-1"}, "labels.delay_edge-1: '-1' is no delay; write milliseconds"),
        ({"delay_edge-1": "soon"}, "'soon' is no delay"),
        ({"delay_edge-1": "nan"}, "'nan' is no delay"),
        ({"delay_": "5"}, "names no node and no pod"),
        ({"delay_a": "5", "delay_b": "6"}, "labels.delay_b: is there beside delay_a; keep one"),
    ],
)
def test_a_wrong_delay_label_names_the_fix(labels: dict[str, str], wanted: str) -> None:
    with pytest.raises(InvalidField, match=wanted):
        bound_of(labels)


def test_labels_of_bounds_and_of_the_cloud() -> None:
    assert bound_of({"app": "x"}) == ("", math.inf)
    assert bound_of({"delay_edge-1": "0"}) == ("edge-1", 0.0)
    assert is_cloud({"kubernetes.io/role": "cloud"})
    assert not is_cloud({"kubernetes.io/role": "edge"})


@pytest.mark.parametrize(
    ("nodes", "wanted"),
    [
        ([], "is no list of nodes"),
        ([{"name": "a", "allocatable_memory": "8 apples"}], r"\[0\].allocatable_memory"),
        ([{"name": "a"}], r"\[0\].allocatable_memory"),
        ([{"allocatable_memory": "1Gi"}], r"\[0\].name: is no text"),
        ([{"name": "a", "allocatable_memory": "1Gi", "cloud": 1}], r"\[0\].cloud"),
        ([{"name": "a", "allocatable_memory": "1Gi", "x": 1}], r"\[0\].x: is not a known key"),
    ],
)
def test_a_wrong_file_of_nodes_names_the_row(tmp_path: Path, nodes: object, wanted: str) -> None:
    (tmp_path / "nodes.json").write_text(json.dumps(nodes))
    with pytest.raises(InvalidField, match=wanted):
        read_nodes(tmp_path / "nodes.json")


def test_acceptance_line_a_b_c_the_exact_radius_of_a_and_of_b() -> None:
    line_ms = [[0, 10, 20], [10, 0, 10], [20, 10, 0]]
    here = placer(room([node("a"), node("b"), node("c")], line_ms), PROFILE)
    for reference, radius in (("a", "ab"), ("b", "abc")):
        keep = here.candidates(pod("p", 1, reference, 10))
        assert "".join(n for n, stays in zip("abc", keep, strict=True) if stays) == radius


def test_the_order_of_nodes_given_does_not_matter() -> None:
    nodes = [node(f"edge-{n}", 64000, 8 * GIB) for n in (1, 2, 3)]
    nodes.append(node("cloud-1", 64000, 64 * GIB, cloud=True))
    ends = []
    for order in (nodes, nodes[::-1], nodes[2:] + nodes[:2]):
        here = DelayBound(placer(room(order, RTT_MS), PROFILE))
        for number in range(6):
            here.schedule(pod(f"p{number}", 2, f"edge-{number % 3 + 1}", 25))
        ends.append((where(here), sizes(here)))
    assert ends[0] == ends[1] == ends[2]


def test_pods_of_different_nodes_share_one_placeholder() -> None:
    here = edge()
    here.schedule(pod("a", 2, "edge-1", 25))
    assert sizes(here) == {"edge-2": 2}
    # Roomiest is edge-3: edge-2 covers nothing there yet, and needs no growth.
    assert here.schedule(pod("b", 2, "edge-1", 25)).bound.node == "edge-3"
    assert sizes(here) == {"edge-2": 2}
    # A third one: no node is without load now, and 2 + 2 exceed the size.
    third = here.schedule(pod("c", 2, "edge-1", 25)).bound
    assert (third.node, third.backup) == ("edge-1", "edge-3")
    assert sizes(here) == {"edge-2": 2, "edge-3": 2}


def test_a_node_that_a_placeholder_covers_nothing_of_comes_first() -> None:
    here = edge((8, 8, 4))
    assert where_goes(here, "a", 4) == ("cloud-1", "edge-1")
    assert where_goes(here, "b", 1) == ("edge-2", "edge-1")
    # edge-2 has more room than edge-3, and its cover would suffice.
    assert where_goes(here, "c", 1) == ("edge-3", "edge-1")
    assert where_goes(here, "d", 1) == ("edge-2", "edge-1")
    assert sizes(here) == {"edge-1": 4}


def test_a_placeholder_with_slack_covers_more_of_the_same_node() -> None:
    here = edge((8, 8, 4))
    here.schedule(pod("a", 4, "edge-1", 25))
    here.schedule(pod("b", 4, "edge-3", 15))  # edge-3 alone
    assert sizes(here) == {"edge-2": 4}
    here.delete("a")
    assert sizes(here) == {}
    here.schedule(pod("c", 3, "edge-1", 15))
    here.schedule(pod("d", 1, "edge-1", 0))
    assert here.bound["d"].warning == ALONE
    assert sizes(here) == {"edge-2": 3}


def test_a_placeholder_grows_where_no_node_is_without_one() -> None:
    here = edge((8, 8, 1))
    here.schedule(pod("a", 2, "edge-1", 15))
    assert where(here) == {"a": ("edge-1", "edge-2")}
    here.schedule(pod("b", 3, "edge-1", 15))
    # edge-1 and edge-2 are equally free: edge-1 by name, backup on edge-2, which has one already.
    assert where(here)["b"] == ("edge-1", "edge-2")
    assert sizes(here) == {"edge-2": 5}
    here.delete("b")
    assert sizes(here) == {"edge-2": 2}


def test_deleting_shrinks_to_the_invariant_and_drops_what_is_empty() -> None:
    here = edge()
    here.schedule(pod("a", 3, "edge-1", 25))
    here.schedule(pod("b", 2, "edge-1", 25))
    assert sizes(here) == {"edge-2": 3}
    here.delete("a")
    assert sizes(here) == {"edge-2": 2}
    here.delete("b")
    assert sizes(here) == {}
    assert not here.room.held
    with pytest.raises(NotFound):
        here.delete("b")


def test_a_full_radius_makes_room_by_moving_one_pod() -> None:
    here = edge((4, 4, 4))
    here.schedule(pod("a", 3, "edge-1", 0))
    here.schedule(pod("big", 3, "edge-3", 0))
    here.schedule(pod("mobile", 3, "edge-2", 60))
    assert where(here)["mobile"] == ("cloud-1", "edge-2")
    here.delete("mobile")
    free_range = here.schedule(pod("ranger", 4, "edge-2", 60)).bound
    assert (free_range.node, free_range.backup) == ("cloud-1", "edge-2")
    # Only edge-2 is within 0 ms of itself, and its placeholder cannot be moved: rejected.
    answer = here.schedule(pod("p", 4, "edge-2", 0))
    assert answer.reason == "none of 4 nodes will do: 3 beyond 0 ms of edge-2, 1 not enough memory"
    assert "p" not in here.bound
    # An unprotected pod that may go anywhere goes.
    here.delete("ranger")
    here.delete("a")
    here.schedule(pod("fill", 64))
    wide = here.schedule(pod("wide", 3, "edge-1", 15)).bound
    assert (wide.node, wide.backup) == ("edge-1", "edge-2")
    here.delete("fill")
    # wide's placeholder on edge-2 leaves 1; it cannot move there, and nothing else is in 15 ms.
    assert here.schedule(pod("q", 3, "edge-1", 0)).reason


def test_a_pod_moves_out_of_the_way_with_its_cover() -> None:
    here = edge((4, 4, 4))
    a = here.schedule(pod("a", 3, "edge-1", 25)).bound
    assert (a.node, a.backup) == ("edge-1", "edge-2")
    answer = here.schedule(pod("strict", 4, "edge-1", 0))
    assert (answer.bound.node, answer.bound.warning) == ("edge-1", ALONE)
    assert answer.moved == (("a", "edge-1", "edge-3"),)
    assert where(here)["a"] == ("edge-3", "edge-2")
    assert sizes(here) == {"edge-2": 3}


def test_a_pod_that_others_refer_to_is_not_moved_out_of_the_way() -> None:
    here = edge((4, 4, 4))
    here.schedule(pod("a", 2, "edge-1", 25))
    here.schedule(pod("friend", 1, "a", 1))
    assert (where(here)["a"][0], free_gib(here, "edge-1")) == ("edge-1", 1)
    assert here.schedule(pod("strict", 3, "edge-1", 0)).reason
    here.delete("friend")
    assert here.schedule(pod("strict", 3, "edge-1", 0)).moved == (("a", "edge-1", "edge-3"),)


def test_failure_of_a_node_restarts_covered_work_on_its_backup() -> None:
    here = edge()
    here.schedule(pod("a", 3, "edge-1", 25))
    changed = here.fail(["edge-1"])
    assert [one.pod.name for one in changed] == ["a"]
    # On the host of its placeholder, and covered anew by who is left.
    assert where(here) == {"a": ("edge-2", "edge-3")}
    assert sizes(here) == {"edge-3": 3}


def test_covered_work_restarts_in_its_placeholder_before_others_keep_their_cover() -> None:
    here = edge()
    here.schedule(pod("a", 6, "edge-1", 25))
    here.schedule(pod("b", 6, "edge-1", 25))
    here.schedule(pod("c", 2, "edge-2", 0))
    assert where(here) == {
        "a": ("edge-1", "edge-2"),
        "b": ("edge-3", "edge-2"),
        "c": ("edge-2", ""),
    }
    assert (free_gib(here, "edge-2"), sizes(here)) == (0, {"edge-2": 6})
    here.fail(["edge-1"])
    assert where(here) == {"a": ("edge-2", ""), "b": ("edge-3", ""), "c": ("edge-2", "")}
    assert {one.warning for one in here.bound.values()} == {UNPROTECTED, ALONE}
    assert sizes(here) == {}


def test_failure_of_the_host_of_a_placeholder_finds_new_cover() -> None:
    here = edge()
    here.schedule(pod("a", 3, "edge-1", 25))
    here.fail(["edge-2"])
    assert where(here) == {"a": ("edge-1", "edge-3")}


def test_failure_of_several_nodes_at_once() -> None:
    here = edge((8, 8, 8))
    here.schedule(pod("a", 5, "edge-1", 25))
    here.schedule(pod("b", 5, "edge-1", 25))
    assert where(here) == {"a": ("edge-1", "edge-2"), "b": ("edge-3", "edge-2")}
    changed = here.fail(["edge-1", "edge-3"])
    # The placeholder is made for one of them: a restarts there, b stays known and waits.
    assert {one.pod.name: (one.node, one.warning) for one in changed} == {
        "a": ("edge-2", BARRED),
        "b": ("", WAITS),
    }
    assert sizes(here) == {}
    back = here.join(["edge-3"])
    assert {one.pod.name for one in back} == {"a", "b"}
    assert where(here)["b"][0] == "edge-3"


def test_failure_of_the_reference_node_is_no_crash() -> None:
    here = edge()
    here.schedule(pod("a", 2, "edge-1", 25))
    here.schedule(pod("b", 2, "a", 25))
    here.fail(["edge-1"])
    assert all(one.node not in ("", "edge-1") for one in here.bound.values())
    later = here.schedule(pod("c", 1, "edge-1", 15)).bound
    assert (later.node, later.warning) == ("edge-2", BARRED)


def test_a_broken_bound_moves_the_pod_where_its_cover_still_suffices() -> None:
    here = edge()
    here.schedule(pod("a", 3, "edge-2", 15))
    assert where(here) == {"a": ("edge-1", "edge-2")}
    # edge-1 drifts away; edge-3 comes near.
    near = [[0, 50, 50, 50], [50, 0, 40, 40], [50, 40, 0, 10], [50, 40, 10, 0]]
    changed = here.delays_changed(MatrixDelays([[v / 1000 for v in row] for row in near]))
    assert [one.pod.name for one in changed] == ["a"]
    assert where(here) == {"a": ("edge-3", "edge-2")}
    assert sizes(here) == {"edge-2": 3}
    # Now edge-2 alone is left within the bound, which is where its placeholder is: it moves in
    # all the same, unprotected.
    far = [[0, 50, 50, 50], [50, 0, 40, 40], [50, 40, 0, 40], [50, 40, 40, 0]]
    here.delays_changed(MatrixDelays([[v / 1000 for v in row] for row in far]))
    assert where(here) == {"a": ("edge-2", "")}
    assert here.bound["a"].warning == ALONE
    assert sizes(here) == {}


def test_a_broken_bound_without_a_way_out_is_flagged_and_mended_later() -> None:
    here = edge((8, 8, 8))
    here.schedule(pod("a", 3, "edge-2", 15))
    here.schedule(pod("full", 5, "edge-2", 0))
    far = [[0, 50, 50, 50], [50, 0, 40, 40], [50, 40, 0, 40], [50, 40, 40, 0]]
    here.delays_changed(MatrixDelays([[v / 1000 for v in row] for row in far]))
    assert (here.bound["a"].node, here.bound["a"].warning) == ("edge-1", OUTSIDE)
    here.delays_changed(MatrixDelays([[v / 1000 for v in row] for row in RTT_MS]))
    assert (here.bound["a"].node, here.bound["a"].warning) == ("edge-1", "")


def test_known_faults_are_avoided() -> None:
    here = edge()
    # d = 0 is the reference itself; an unknown reference is an error that says so.
    assert here.schedule(pod("zero", 1, "edge-3", 0)).bound.node == "edge-3"
    with pytest.raises(InvalidField, match=r"pod.near: no node or pod is named edge-9; did you"):
        here.schedule(pod("lost", 1, "edge-9", 5))
    assert "lost" not in here.bound
    with pytest.raises(InvalidField, match="bound_s"):
        pod("p", 1, "edge-1", -1)
    with pytest.raises(AlreadyExists):
        here.schedule(pod("zero", 1))
    with pytest.raises(InvalidField, match="starts with placeholder/"):
        here.schedule(pod("placeholder/edge-1", 1))
    # CPU counts, in placeholders too.
    here.schedule(Pod("cpu", 40000, near="edge-1", bound_s=0.025))
    assert next(iter(here.placeholders.sizes.values())) == Need(40000, 0, 0)
    # Taints count: nothing may go there.
    tainted = edge(taints=(Taint("no"),))
    assert "tainted" in tainted.schedule(pod("a", 1, "edge-1", 25)).reason


def test_without_a_bound_and_without_room_in_the_cloud_it_is_rejected() -> None:
    here = edge()
    assert here.schedule(pod("a", 65)).reason == "it has no bound, and no cloud node has room"


def test_what_a_store_kept_is_resumed_as_it_was() -> None:
    here = edge()
    for number in range(6):
        here.schedule(pod(f"p{number}", 2, f"edge-{number % 3 + 1}", 25))
    here.schedule(pod("cloudy", 2))
    names = here.room.cluster.names
    kept = {names[host]: size for host, size in here.placeholders.sizes.items()}
    after = edge()
    after.resume(here.bound.values(), kept)
    assert (after.bound, sizes(after)) == (here.bound, sizes(here))
    assert after.room.memory.tolist() == here.room.memory.tolist()
    assert after.fail(["edge-1"]) == here.fail(["edge-1"])
