"""Snapshots of a cluster: read, written, read again; every wrong row named with its line."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from tango.adapters.cluster_snapshots import load_snapshot, snapshot_text
from tango.algorithms.placement.cluster import ImageRow, NodeRow
from tango.algorithms.placement.cluster_snapshot import ClusterSnapshot, Placed, RoundTrips
from tango.algorithms.placement.pod import Pod
from tango.model.affinity import Requirement, Taint, Toleration
from tango.model.errors import InvalidField

BASE, TOP = ("sha256:" + digit * 64 for digit in "ab")
NGINX = "docker.io/library/nginx:latest"
TEXT = f"""\
kind: ClusterSnapshot
version: 1
nodes:
  - name: n1
    cpu: 4
    memory: 8Gi
    cores: 3
    site: a
    labels: {{zone: x, rack: 7}}
    taints: [{{key: gpu, value: "yes"}}]
    images: [nginx]
    layers: [{TOP}]
    bandwidth_bytes_per_s: 12.5e6
  - {{name: n2, cpu: 500m, memory: 1Gi, site: b, cordoned: true, cloud: true}}
images:
  - name: docker.io/library/nginx
    layers:
      - {{digest: {BASE}, bytes: 1000}}
round_trips:
  between: sites
  within_ms: 0.3
  pairs:
    - {{from: a, to: b, rtt_ms: 12.1}}
pods:
  - name: web
    on: n1
    cpu: 1500m
    memory: 64Mi
    cores: 1
    cpuset: [2]
    ports: [80]
    group: web
    images: ["nginx:latest"]
    near: n2
    bound_ms: 20.7
    node: n1
    requires: [{{key: zone, values: [x]}}, {{key: rack, operator: Gt, values: [6]}}]
    prefers: [{{key: ssd, operator: Exists, weight: 3}}]
    tolerations: [{{key: gpu, effect: NoSchedule}}, {{}}]
    priority: -5
  - {{name: idle, on: n2}}
"""


def written(tmp_path: Path, text: str, name: str = "cluster.yaml") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


EXPECTED = ClusterSnapshot(
    nodes=(
        NodeRow(
            "n1", 4000, 8 * 2**30, 3, "a", (("zone", "x"), ("rack", "7")),
            (Taint("gpu", "yes"),), (NGINX,), (TOP,), bandwidth_bytes_per_s=12.5e6,
        ),
        NodeRow("n2", 500, 2**30, site="b", cordoned=True, cloud=True),
    ),
    images=(ImageRow(NGINX, ((BASE, 1000),)),),
    round_trips=RoundTrips("sites", (("a", "b", 12.1),), 0.3),
    pods=(
        Placed(
            Pod(
                "web", 1500, 64 * 2**20, 1, (2,), (80,), "web", (NGINX,), "n2", 20.7 / 1000, "n1",
                (Requirement("zone", "In", ("x",)), Requirement("rack", "Gt", ("6",))),
                ((Requirement("ssd", "Exists"), 3.0),),
                (Toleration("gpu", None, "NoSchedule"), Toleration()),
                -5,
            ),
            "n1",
        ),
        Placed(Pod("idle"), "n2"),
    ),
)  # fmt: skip


def test_a_snapshot_says_what_is_there(tmp_path: Path) -> None:
    snapshot = load_snapshot(written(tmp_path, TEXT))
    assert snapshot == EXPECTED
    room = snapshot.room()
    assert (room.cpu.tolist(), room.cores.tolist()) == ([2500, 500], [2, 0])
    assert room.core_ids[0] == 0b011
    assert room.node_of("web") == "n1"
    assert room.open.tolist() == [True, False]
    assert room.layers.local((NGINX,)).tolist() == [1000, 0]
    assert room.delays is not None
    assert room.delays.row(0).tolist() == [0.0, 12.1 / 1000]


@pytest.mark.parametrize("name", ["cluster.json", "cluster.yaml"])
def test_what_is_written_is_read_as_it_was(tmp_path: Path, name: str) -> None:
    text = snapshot_text(EXPECTED)
    assert load_snapshot(written(tmp_path, text, name)) == EXPECTED
    assert json.loads(text)["version"] == 1


def test_between_nodes_the_greater_round_trip_counts_and_what_is_not_there_is_not_known() -> None:
    nodes = tuple(NodeRow(name, 1000, 2**30) for name in "cab")
    pairs = (("a", "b", 4.0), ("b", "a", 6.0), ("c", "c", 9.0))
    delays = ClusterSnapshot(nodes, round_trips=RoundTrips("nodes", pairs)).room().delays
    assert delays is not None
    assert delays.row(0).tolist() == [0.0, 0.006, math.inf]
    assert delays.row(2).tolist() == [math.inf, math.inf, 0.0]


def test_named_cores_are_taken_before_any_others() -> None:
    pods = (
        Placed(Pod("any", cores=2), "n"),
        Placed(Pod("named", cores=1, cpuset=(0,), node="n"), "n"),
    )
    room = ClusterSnapshot((NodeRow("n", 4000, 2**30),), pods=pods).room()
    assert (room.held["any"].cores, room.held["named"].cores) == ((1, 2), (0,))


def changed(old: str, new: str) -> str:
    assert TEXT.count(old) == 1, old
    return TEXT.replace(old, new)


@pytest.mark.parametrize(
    ("text", "line", "field", "said"),
    [
        (changed("kind: ClusterSnapshot", "kind: Job"), 1, "kind", "is 'Job'"),
        (changed("version: 1", "version: 2"), 2, "version", "is 2; this Tango reads 1"),
        (changed("    cpu: 4\n", ""), 4, "nodes[0].cpu", "is missing"),
        (changed("cpu: 4\n", "cpu: -4\n"), 5, "nodes[0].cpu", "-4 is not a CPU quantity"),
        (changed("cores: 3", "cores: three"), 7, "nodes[0].cores", "not a whole number"),
        (changed("cores: 3", "cors: 3"), 7, "nodes[0].cors", "did you mean 'cores'?"),
        (changed("{key: gpu, va", "{kye: gpu, va"), 10, "nodes[0].taints[0].key", "is missing"),
        (
            changed('value: "yes"}', "effect: Never}"),
            10,
            "nodes[0].taints[0].effect",
            "'Never' is unknown; use one of: NoSchedule",
        ),
        (changed("images: [nginx]", "images: ['A b']"), 11, "nodes[0].images[0]", "repository"),
        (changed(f"layers: [{TOP}]", "layers: [abc]"), 12, "nodes[0].layers[0]", "not a digest"),
        (changed("12.5e6", "0"), 13, "nodes[0].bandwidth_bytes_per_s", "0 is out of range"),
        (changed("name: n2", "name: ''"), 14, "nodes[1].name", "is empty; name it"),
        (changed("name: n2", "name: n1"), 14, "nodes[1].name", "is there already, at nodes[0]"),
        (changed("bytes: 1000", "bytes: -1"), 18, "images[0].layers[0].bytes", "-1 is out of"),
        (changed("between: sites", "between: racks"), 20, "round_trips.between", "nodes, sites"),
        (changed("to: b", "to: c"), 23, "round_trips.pairs[0].to", "no site is named 'c'"),
        (changed("rtt_ms: 12.1", "rtt_ms: -1"), 23, "round_trips.pairs[0].rtt_ms", "-1 is out"),
        (
            changed("from: a, to: b", "from: b, to: b"), 23, "round_trips.pairs[0].rtt_ms",
            "12.1 ms from 'b' to itself; leave the pair out",
        ),
        (
            changed("on: n2}", "on: n2, backup: n2}\nreservations: [{node: n2}]"), 41,
            "pods[1].backup", "n2 is the pod's own node; name another one",
        ),
        (
            changed("on: n2}", "on: n2, backup: n1}\nreservations: [{node: n2}]"), 41,
            "pods[1].backup", "nothing is reserved on n1; add n1 to `reservations`",
        ),
        (changed("    on: n1\n", "    on: n3\n"), 26, "pods[0].on", "no node is named 'n3'"),
        (changed("cpuset: [2]", "cpuset: [2, 2]"), 30, "pods[0].cpuset", "core 2 is there twice"),
        (changed("cpuset: [2]", "cpuset: 2-3"), 30, "pods[0].cpuset", "2 cores, and cores is 1"),
        (changed("cpuset: [2]", "cpuset: [x]"), 30, "pods[0].cpuset[0]", "not a whole number"),
        (changed("ports: [80]", "ports: [0]"), 31, "pods[0].ports[0]", "0 is out of range"),
        (changed("[80]", "[80, 80]"), 31, "pods[0].ports", "port 80 is there twice; give"),
        (changed("round_trips:", "round_trip:"), 19, "round_trip", "did you mean 'round_trips'?"),
        (changed("    node: n1\n", ""), 30, "pods[0].cpuset", "say which one with `node`"),
        (
            changed("near: n2", "near: n3"), 34, "pods[0].near",
            "no node or pod is named 'n3'; name a node, or a pod that is placed",
        ),
        (changed("bound_ms: 20.7", "bound_ms: -1"), 35, "pods[0].bound_ms", "use 0 to 86400000"),
        (changed("    near: n2\n", ""), 25, "pods[0].near", "is empty beside a bound"),
        (
            changed("{key: zone, values: [x]}", "{key: zone}"), 37, "pods[0].requires[0].values",
            "In needs a value",
        ),
        (
            changed("{key: gpu, effect: NoSchedule}", "{effect: Often}"), 39,
            "pods[0].tolerations[0].effect", "'Often' is unknown",
        ),
        (changed("cpu: 1500m", "cpu: 5"), 25, "pods[0]", "n1 has not the CPU for web"),
        (changed("name: idle", "name: web"), 41, "pods[1].name", "is there already"),
        (TEXT + "---\nkind: ClusterSnapshot\n", 43, "document", "has 2 documents"),
    ],
)  # fmt: skip
def test_every_wrong_row_has_its_place(
    tmp_path: Path, text: str, line: int, field: str, said: str
) -> None:
    path = written(tmp_path, text)
    with pytest.raises(InvalidField) as caught:
        load_snapshot(path)
    assert (caught.value.field, caught.value.where) == (field, f"{path}:{line}")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "cluster.json:1:2: document: is not JSON: "),
        ("[]", "document: is no object"),
        ('{"kind": "ClusterSnapshot", "kind": "Job"}', "the key 'kind' is given twice"),
        ('{"": 1}', "a key is empty"),
        ('{"kind": NaN}', "NaN is no number"),
        ("[" * 100_000, "nested too deeply"),
        ('{"kind": "ClusterSnapshot", "version": 1}', "nodes: is missing"),
        ('{"kind": "ClusterSnapshot", "version": 1, "nodes": [1]}', "nodes[0]: is the number 1"),
        ('{"kind": "ClusterSnapshot", "version": true, "nodes": []}', "version: is true"),
    ],
)
def test_wrong_json_is_named_too(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InvalidField) as caught:
        load_snapshot(written(tmp_path, text, "cluster.json"))
    assert said in str(caught.value)


def test_one_digest_has_one_size() -> None:
    images = (ImageRow("one", ((BASE, 1),)), ImageRow("two", ((TOP, 2), (BASE, 3))))
    with pytest.raises(InvalidField, match=r"images\[1\]\.layers\[1\]\.bytes: are 3"):
        ClusterSnapshot((), images).room()
