"""LRScheduler as plugins of the framework: the acceptance cases of layer-scheduler.md, by name."""

from __future__ import annotations

import numpy as np
import pytest
from placement_world import GIB, PLUGINS, node, only, placer, room

from tango.algorithms.placement.cluster import ImageRow, NodeRow
from tango.algorithms.placement.download import expected_s
from tango.algorithms.placement.layers import (
    balanced_allocation,
    raw_score,
    score_node,
    total_score,
)
from tango.algorithms.placement.plugin import Score, made
from tango.algorithms.placement.pod import Pod
from tango.algorithms.placement.room import Room
from tango.model.errors import InvalidField
from tango.model.layers import Layer
from tango.model.placement_profile import Profile, Use

SIZES = (29_150_411, 41_829_255, 601, 955, 773, 1_400, 869)
LAYERS = tuple((f"sha256:{number:064x}", size) for number, size in enumerate(SIZES))
DIGESTS = tuple(digest for digest, _ in LAYERS)
IMAGE = ImageRow("app", LAYERS)
MIB = 2**20
POD = Pod("pod", cpu_millis=400, memory_bytes=300 * MIB, images=("app",))
FULL = Profile(
    "lr",
    (Use("fit", 0.0), Use("lr-scheduler", 2.0), Use("balanced", 1.0)),
)


def world() -> Room:
    """One node in each state of the table, and one that has but the tiny layers."""
    made = room(
        [
            node("all-idle", layers=DIGESTS),
            node("all-busy", layers=DIGESTS),
            node("first-idle", layers=DIGESTS[:1]),
            node("none"),
            node("tiny", layers=DIGESTS[2:]),
        ],
        images=[IMAGE],
    )
    made.take(Pod("load", 2100, 3 * GIB), made.index_of("all-busy"))
    return made


def marks(made_for: Room, profile: Profile, pod: Pod) -> dict[str, float]:
    """Each node's score by the one plugin of the profile."""
    ((_, plugin),) = made(profile, made_for, PLUGINS)
    assert isinstance(plugin, Score)
    out = np.full(made_for.cluster.size, np.nan)
    assert plugin.scores(pod, made_for.open, out)
    return dict(zip(made_for.cluster.names, out.tolist(), strict=True))


@pytest.mark.parametrize(
    ("state", "raw", "score"),
    [
        pytest.param("all-idle", 50, 100, id="all layers, idle"),
        pytest.param("first-idle", 20, 40, id="first layer only, idle"),
        pytest.param("none", 0, 0, id="no layer"),
        pytest.param("tiny", 0, 0, id="only the five tiny ones"),
        pytest.param("all-busy", 50, 25, id="all layers, 2100m CPU and 3Gi used"),
    ],
)
def test_each_row_of_the_table(state: str, raw: int, score: int) -> None:
    here = world()
    local, total = here.layers.local(("app",)), here.layers.total(("app",))
    assert total == 70_984_264
    assert raw_score(int(local[here.index_of(state)]), total) == raw
    assert marks(here, only("lr-scheduler"), POD)[state] == score


def test_an_idle_node_with_part_of_the_image_beats_a_busy_node_with_all_of_it() -> None:
    here = placer(world(), FULL)
    here.room.open[here.room.index_of("all-idle")] = False
    chosen = here.look(POD)
    assert (chosen.node, chosen.runner_up) == ("first-idle", "all-busy")
    idle = total_score(40, balanced_allocation(400 / 4000, 300 / 8192))
    busy = total_score(25, balanced_allocation(2500 / 4000, (300 + 3072) / 8192))
    assert (chosen.score * 3, chosen.runner_up_score * 3) == pytest.approx((idle, busy))


def test_unknown_image_score_0_never_an_error() -> None:
    nobody = Pod("p", 400, 300 * MIB, images=("nobody-knows",))
    assert set(marks(world(), only("lr-scheduler"), nobody).values()) == {0.0}
    assert placer(world(), FULL).look(nobody).node
    assert placer(world(), only("lr-scheduler")).look(Pod("p")).scores == ()
    assert placer(world(), only("download")).look(nobody).scores == ()


def test_several_pods_do_not_herd_to_the_one_warm_node() -> None:
    nodes = [node("warm", images=("app",)), node("cold-1"), node("cold-2")]
    others = Profile("lr", (Use("fit"), *FULL.plugins[1:]))
    here = placer(room(nodes, images=[IMAGE]), others)
    pods = [Pod(f"p{n}", 400, 300 * MIB, images=("app",)) for n in range(15)]
    # Each sixth would bring a node to 60 % of its CPU: the weight of its layers falls. The first
    # pod elsewhere brings the layers along.
    went = [here.place(pod).node for pod in pods]
    assert went == ["warm"] * 5 + ["cold-1"] * 5 + ["cold-2"] * 5


def test_the_plugin_gives_what_the_formula_gives_node_by_node() -> None:
    here = world()
    layers = tuple(Layer(*one) for one in LAYERS)
    held = {"all": DIGESTS, "first": DIGESTS[:1], "none": (), "tiny": DIGESTS[2:]}
    for name, mark in marks(here, only("lr-scheduler"), POD).items():
        used = 2100 if name == "all-busy" else 0
        memory = 3 * GIB if name == "all-busy" else 0
        cpu, ram = (used + 400) / 4000, (memory + 300 * MIB) / (8 * GIB)
        found = score_node(layers, set(held[name.partition("-")[0]]), cpu, ram)
        assert mark == found.score
        assert marks(here, only("balanced"), POD)[name] == balanced_allocation(cpu, ram)


def test_the_expected_download_time_where_bandwidth_is_known() -> None:
    nodes = [
        NodeRow("fast", 4000, 8 * GIB, bandwidth_bytes_per_s=12.5e6),
        NodeRow("here", 4000, 8 * GIB, images=("app",)),
        NodeRow("slow", 4000, 8 * GIB, bandwidth_bytes_per_s=1e6),
        NodeRow("unknown", 4000, 8 * GIB, layers=DIGESTS[:1]),
    ]
    here = room(nodes, images=[IMAGE])
    seconds = expected_s(here, POD).tolist()
    assert seconds[:3] == [70_984_264 / 12.5e6, 0.0, 70_984_264 / 1e6]
    assert np.isnan(seconds[3])
    assert marks(here, only("download"), POD) == pytest.approx(
        {"fast": 100 - seconds[0] / 0.6, "here": 100, "slow": 0, "unknown": 0}
    )
    assert marks(here, only("download", slow_s=100.0), POD)["slow"] == pytest.approx(29.015736)
    # Without bandwidth "unknown" is the better of the two; by time nobody can say so.
    assert placer(here, only("layers")).look(POD).runner_up == "unknown"
    assert placer(here, only("download")).look(POD).runner_up == "fast"


@pytest.mark.parametrize("wrong", [0.0, -1.0, float("nan")])
def test_times_and_bandwidths_that_are_none_are_refused(wrong: float) -> None:
    with pytest.raises(InvalidField, match=r"download\.slow_s"):
        placer(world(), only("download", slow_s=wrong))
    with pytest.raises(InvalidField, match=r"nodes\.a\.bandwidth"):
        room([node("a", bandwidth_bytes_per_s=wrong)])


def test_a_node_without_capacity_counts_as_full() -> None:
    here = room([NodeRow("a", 0, 0, layers=DIGESTS)], images=[IMAGE])
    assert marks(here, only("lr-scheduler"), Pod("p", images=("app",))) == {"a": 25.0}
    assert marks(here, only("balanced"), Pod("p")) == {"a": 100.0}
