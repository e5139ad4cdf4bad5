"""A running cluster as a snapshot: who holds what on which node, by what the masters tell."""

from __future__ import annotations

from dataclasses import replace

from tango.adapters.cluster_snapshots import read_snapshot, snapshot_text
from tango.adapters.json_documents import parse_json
from tango.algorithms.placement.cluster_snapshot import Reservation, RoundTrips
from tango.model.cluster import NodeCapacity, NodeReport, NodeView, SideUsage
from tango.model.job import JobRecord, JobSpec, JobState, TaskRecord, TaskSpec
from tango.model.layers import HeldImage, ImageLayers, Layer, NodeImages
from tango.model.peers import PeerView
from tango.model.service import ReplicaState, ReplicaStatus, ServiceSpec
from tango.model.views import (
    ImagesView,
    ImageView,
    ReplicaView,
    RequestCounts,
    ServiceView,
    SiteImages,
)
from tango.sdk.cluster_snapshot import snapshot_of

MIB = 2**20


def node(name: str, edge: str = "s1", **more: object) -> NodeView:
    capacity = NodeCapacity(2000, 1024 * MIB)
    return NodeView(name, edge, ready=True, capacity=capacity, **more)  # type: ignore[arg-type]


def job(job_id: str, *tasks: tuple[str, str, int], state: JobState = JobState.RUNNING) -> JobRecord:
    """tasks: (edge, node, CPU)."""
    specs = tuple(
        TaskSpec(f"t{at}", ("x",), cpu_millis=cpu, memory_bytes=100 * MIB)
        for at, (_, _, cpu) in enumerate(tasks)
    )
    records = tuple(TaskRecord(state, edge=edge, node=where) for edge, where, _ in tasks)
    return JobRecord(job_id, "", JobSpec("j", specs, priority=3), JobState.RUNNING, records, 0.0)


def service(edge: str, *nodes: str, port: int = 0) -> ServiceView:
    spec = ServiceSpec("web", ("x",), memory_bytes=64 * MIB, port=port)
    replicas = tuple(
        ReplicaView(ReplicaStatus(f"web-{at}", "web", 1, ReplicaState.READY), where)
        for at, where in enumerate(nodes)
    )
    return ServiceView(spec, 1, edge, replicas, 1, 0, 0, RequestCounts())


def test_tasks_replicas_and_requests_hold_what_the_node_says_is_held() -> None:
    views = (
        node("n1", labels=(("zone", "a"),), be_held_millis=300, be_memory_bytes=100 * MIB,
             lc_held_millis=250, lc_memory_bytes=64 * MIB),
        node("n2"),
    )  # fmt: skip
    found = snapshot_of(views, (job("j-1", ("s1", "n1", 300)),), (service("s1", "n1", ""),), ())
    assert [(one.node, one.pod.name) for one in found.pods] == [
        ("n1", "j-1/t0"), ("n1", "s1/web-0"), ("n1", "n1/held")
    ]  # fmt: skip
    room = found.room()
    assert (room.cpu.tolist(), room.memory.tolist()) == ([1450, 2000], [860 * MIB, 1024 * MIB])
    assert found.pods[0].pod.priority == 3
    assert found.pods[1].pod.group == "web"
    assert (found.nodes[0].site, found.nodes[0].labels) == ("s1", (("zone", "a"),))
    assert read_snapshot(parse_json(snapshot_text(found), "x.json")) == found


def test_a_task_that_has_ended_or_a_node_that_is_unknown_holds_nothing() -> None:
    jobs = (job("j-1", ("s1", "n1", 300), state=JobState.SUCCEEDED), job("j-2", ("s1", "gone", 1)))
    assert snapshot_of((node("n1"),), jobs, (service("s2", "n1"),), ()).pods == ()


def test_more_may_be_held_than_there_is_and_then_nothing_is_free() -> None:
    view = node("n1", be_held_millis=2500, be_memory_bytes=200 * MIB)
    jobs = (job("j-1", ("s1", "n1", 1500), ("s1", "n1", 1000)),)
    room = snapshot_of((view,), jobs, (), ()).room()
    assert (room.cpu.tolist(), room.memory.tolist()) == ([0], [824 * MIB])


def test_a_fixed_port_is_held_once() -> None:
    views = (node("n1", lc_memory_bytes=128 * MIB),)
    room = snapshot_of(views, (), (service("s1", "n1", "n1", port=80),), ()).room()
    taken = room.port_taken(80)
    assert taken is not None
    assert taken.tolist() == [True]


def test_ports_of_tasks_and_those_that_are_kept_are_taken() -> None:
    of_task = job("j-1", ("s1", "n1", 100))
    spec = replace(of_task.spec.tasks[0], ports=(9090, 443))
    of_task = replace(of_task, spec=replace(of_task.spec, tasks=(spec,)))
    view = node(
        "n1", be_ports=(443, 9090), lc_ports=(80, 8080), reserved_bytes=MIB, reserved_ports=(7, 80)
    )
    found = snapshot_of((view,), (of_task,), (service("s1", "n1", port=8080),), ())
    assert [one.pod.ports for one in found.pods] == [(9090, 443), (8080,), (80,)]
    # A port that is kept and taken is whose it is.
    assert found.reservations == (Reservation("n1", 0, MIB, (7,)),)
    assert found.room().ports_at(0) == {7, 80, 443, 8080, 9090}
    assert read_snapshot(parse_json(snapshot_text(found), "x.json")) == found


def test_what_takes_nothing_new_is_cordoned() -> None:
    usage = SideUsage()
    views = (
        node("n1", cordoned=True),
        node("n2", report=NodeReport("n2", 0.0, usage, usage, problem="no cgroups")),
        node("n3", report=NodeReport("n3", 0.0, usage, usage, memory_short_bytes=1)),
        node("n4", report=NodeReport("n4", 0.0, usage, usage)),
        NodeView("n5", "s1", ready=False, capacity=NodeCapacity(1, 1)),
    )
    found = snapshot_of(views, (), (), ())
    assert [one.cordoned for one in found.nodes] == [True, True, True, False, True]


def test_two_nodes_of_one_name_are_told_apart_and_round_trips_are_of_sites() -> None:
    views = (node("n1", "s1"), node("n1", "s2"), node("n2", "s2"))
    peers = (
        PeerView("s1", "s2", "", connected=True, rtt_ms=4.5),
        PeerView("s2", "s1", "", connected=True),
        PeerView("s1", "s9", "", connected=True, rtt_ms=1.0),
    )
    jobs = (job("j", ("s2", "n1", 100), ("s2", "n2", 100)),)
    found = snapshot_of(views, jobs, (), peers)
    assert [one.name for one in found.nodes] == ["s1/n1", "s2/n1", "n2"]
    assert [one.node for one in found.pods] == ["s2/n1", "n2"]
    assert found.round_trips == RoundTrips("sites", (("s1", "s2", 4.5),))
    assert found.room().delays is not None


def digest(letter: str) -> str:
    return f"sha256:{letter * 64}"


def test_images_are_those_that_nodes_hold_and_registries_know() -> None:
    base, old, new = (Layer(digest(letter), 10 * MIB) for letter in "abc")
    app, x = "host:5000/app", "host:5000/x:1"
    before = ImageLayers(digest("1"), (base, old), digest("1"))
    after = ImageLayers(digest("2"), (base, new), digest("2"))
    only = ImageLayers(digest("3"), (base, new), digest("3"))
    built = "docker.io/library/built:here"
    told = (
        NodeImages("n1", (HeldImage((f"{app}:v1", f"{app}@{before.digest}")),), 1e6),
        NodeImages("n2", (HeldImage((f"{app}:v1", f"{app}@{after.digest}")),)),
        NodeImages("n3", (HeldImage((built, "No Name")),), problem="away"),
        # Its digest is known by another name only.
        NodeImages("n4", (HeldImage((), digest=before.digest),)),
    )
    images = ImagesView(
        (SiteImages("s1", told),),
        (
            ImageView(f"{app}:v1", after, 1.0),
            ImageView(f"{app}@{before.digest}", before, 1.0),
            ImageView(x, only),
            ImageView("host:5000/nobody:1", None, None, "does not have it"),
        ),
    )
    views = tuple(node(f"n{number}") for number in range(1, 6))
    found = snapshot_of(views, (), (), (), images)
    has = {row.name: (row.images, row.layers) for row in found.nodes}
    pinned = f"{app}@{before.digest}"
    assert has == {
        "n1": ((pinned,), ()),
        "n2": ((f"{app}:v1",), ()),
        "n3": ((built,), ()),
        "n4": ((pinned,), ()),
        "n5": ((), ()),
    }, "a tag that has moved on is not there any more"
    assert found.nodes[0].bandwidth_bytes_per_s == 1e6
    assert [row.name for row in found.images] == sorted((f"{app}:v1", pinned, x))
    room = found.room()
    assert room.layers.local((f"{app}:v1",)).tolist() == [n * MIB for n in (10, 20, 0, 10, 0)]
    assert room.layers.local((x,)).tolist() == [n * MIB for n in (10, 20, 0, 10, 0)]
    assert read_snapshot(parse_json(snapshot_text(found), "x.json")) == found
    assert snapshot_of(views, (), (), ()).images == ()


def test_a_backup_is_said_only_with_the_room_that_is_kept_for_it() -> None:
    kept = {"reserved_millis": 300, "reserved_bytes": 100 * MIB}
    views = (
        node("n1", be_held_millis=300, be_memory_bytes=100 * MIB, **kept),
        node("n2", lc_held_millis=2000, lc_memory_bytes=1024 * MIB, **kept),
        node("n3"),
    )
    record = job("j-1", ("s1", "n1", 300))
    for host, expected in (("s1/n2", "n2"), ("s1/n3", ""), ("s1/n1", "")):
        told = replace(record, tasks=(replace(record.tasks[0], backup=host),))
        found = snapshot_of(views, (told,), (), ())
        assert found.pods[0].backup == expected, "read at two moments"
        assert found.reservations[1] == Reservation("n2", 0, 0), "LC is in the place of all of it"
        assert read_snapshot(parse_json(snapshot_text(found), "x.json")) == found


def test_what_is_reserved_for_backups_is_kept_as_far_as_it_is_there() -> None:
    views = (
        node("n1", be_held_millis=300, be_memory_bytes=100 * MIB),
        node("n2", reserved_millis=300, reserved_bytes=100 * MIB),
        node("n3", reserved_millis=300, reserved_bytes=100 * MIB, lc_held_millis=1900,
             lc_memory_bytes=1024 * MIB),
    )  # fmt: skip
    record = job("j-1", ("s1", "n1", 300))
    record = replace(record, tasks=(replace(record.tasks[0], backup="s1/n2"),))
    found = snapshot_of(views, (record,), (), ())
    assert [(one.node, one.backup) for one in found.pods] == [("n1", "n2"), ("n3", "")]
    assert found.reservations == (
        Reservation("n2", 300, 100 * MIB),
        Reservation("n3", 100, 0),  # LC is in the place of the rest
    )
    room = found.room()
    assert room.cpu.tolist() == [1700, 1700, 0]
    assert room.memory.tolist() == [924 * MIB, 924 * MIB, 0]
    assert read_snapshot(parse_json(snapshot_text(found), "x.json")) == found
