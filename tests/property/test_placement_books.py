"""After any sequence of events: capacity kept, gangs whole, cores booked once, nothing leaked."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tango.adapters.policies import placement_plugins, policy_names
from tango.algorithms.placement.cluster import Cluster, ImageRow, NodeRow
from tango.algorithms.placement.decision import Chosen, named
from tango.algorithms.placement.placer import Placer
from tango.algorithms.placement.pod import Pod
from tango.algorithms.placement.preemption import preemption
from tango.algorithms.placement.room import Room
from tango.model.errors import Refused
from tango.model.placement_profile import DEFAULT

PLUGINS = placement_plugins(policy_names("tango.placement"))
SETTINGS = settings(max_examples=150, deadline=None)
IMAGES = tuple(
    ImageRow(f"i{n}", (("base", 100), (f"l{n}", 10 * n), (f"m{n % 2}", 7))) for n in range(4)
)


@st.composite
def nodes(draw: st.DrawFn, most: int = 5) -> list[NodeRow]:
    return [
        NodeRow(
            f"n{number}",
            1000 * draw(st.integers(0, 6)),
            draw(st.integers(0, 10)),
            site=f"s{number % 2}",
            images=tuple(draw(st.sets(st.sampled_from(["i0", "i1"])))),
        )
        for number in range(draw(st.integers(0, most)))
    ]


@st.composite
def gang(draw: st.DrawFn, name: str) -> tuple[Pod, ...]:
    return tuple(
        Pod(
            f"{name}.{number}",
            memory_bytes=draw(st.integers(0, 6)),
            cores=(cores := draw(st.integers(0, 4))),
            cpu_millis=1000 * cores + draw(st.sampled_from([0, 300])),
            ports=tuple(draw(st.sets(st.sampled_from([80, 443]), max_size=1))),
            group=draw(st.sampled_from(["", "g", "h"])),
            images=tuple(draw(st.sets(st.sampled_from(["i0", "i1", "i2", "?"]), max_size=2))),
            priority=draw(st.integers(0, 3)),
        )
        for number in range(draw(st.integers(1, 3)))
    )


def check(room: Room) -> None:
    """What is free is what there is less what is held, reckoned afresh from who is where."""
    for index, row in enumerate(room.cluster.nodes):
        here = [held for held in room.held.values() if held.node == index]
        assert set(room.pods_at[index]) == {held.pod.name for held in here}
        assert room.cpu[index] == row.cpu_millis - sum(h.pod.cpu_millis for h in here) >= 0
        assert room.memory[index] == row.memory_bytes - sum(h.pod.memory_bytes for h in here) >= 0
        ids = [core for held in here for core in held.cores]
        assert len(set(ids)) == len(ids), "a core is booked twice"
        assert all(len(held.cores) == held.pod.cores for held in here)
        free = set(range(row.cpu_millis // 1000)) - set(ids)
        assert len(free) == row.cpu_millis // 1000 - len(ids) == room.cores[index]
        assert room.core_ids[index] == sum(1 << core for core in free)
        ports = [port for held in here for port in held.pod.ports]
        assert len(set(ports)) == len(ports)
        for port in (80, 443):
            taken = room.port_taken(port)
            assert bool(taken is not None and taken[index]) == (port in ports)
    for name in ("g", "h"):
        members = [held.node for held in room.held.values() if held.pod.group == name]
        counted = room.group(name)
        assert (counted is None) == (not members)
        if counted is not None:
            assert counted.nodes.tolist() == [members.count(n) for n in range(room.cluster.size)]


def local(room: Room) -> dict[str, list[int]]:
    return {image.name: room.layers.local((image.name,)).tolist() for image in IMAGES}


@given(nodes(), st.data())
@SETTINGS
def test_gangs_come_and_go(rows: list[NodeRow], data: st.DataObject) -> None:
    placer = Placer(Room(Cluster(rows, images=IMAGES)), DEFAULT, PLUGINS)
    room = placer.room
    for number in range(data.draw(st.integers(1, 8))):
        if room.held and data.draw(st.booleans()):
            placer.end(data.draw(st.sampled_from(sorted(room.held))))
        else:
            pods = data.draw(gang(f"j{number}"))
            before, layers = set(room.held), local(room)
            found = placer.place_gang(pods)
            if isinstance(found, Chosen):
                assert set(room.held) == before
                assert local(room) == layers
                assert preempted_makes_room(placer, pods)
            else:
                assert set(room.held) == before | {pod.name for pod in pods}
                for one in found:
                    explained(placer, one)
        check(room)
    for name in sorted(room.held):
        placer.end(name)
    check(room)
    assert room.cpu.tolist() == [row.cpu_millis for row in rows]
    fresh = Room(Cluster(rows, images=IMAGES))
    assert all(
        a >= b
        for name in local(room)
        for a, b in zip(local(room)[name], local(fresh)[name], strict=True)
    )


def explained(placer: Placer, one: Chosen) -> None:
    """Every node is removed once, or is a candidate; the winner is no worse than the runner-up."""
    names = placer.room.cluster.names
    removed = [node for *_, bits in one.removed for node in named(bits, names)]
    assert [count for *_, count, _ in one.removed] == [
        len(named(bits, names)) for *_, bits in one.removed
    ]
    assert len(set(removed)) == len(removed)
    assert one.node not in removed
    assert one.runner_up not in removed
    assert bool(one.runner_up) == (len(names) - len(removed) > 1)
    assert 0 <= one.runner_up_score <= one.score <= 100.000001
    assert all(0 <= mark <= 100.000001 for *_, a, b in one.scores for mark in (a, b))


def preempted_makes_room(placer: Placer, pods: tuple[Pod, ...]) -> bool:
    """If somebody is preempted, the gang fits then; with any one of the victims back it does not
    at its places; and asking changed nothing."""
    room = placer.room
    before = dict(room.held)
    found = preemption(placer, pods)
    assert room.held == before
    check(room)
    if found is None:
        return True
    assert found.victims
    held = {name: room.give(name) for name in found.victims}
    least = min(pod.priority for pod in pods)
    most = max(pod.priority for pod in pods)
    assert all(one.pod.priority < most for one in held.values()), (least, most)
    by_name = {pod.name: pod for pod in pods}
    for name, node in found.places:
        room.take(by_name[name], room.index_of(node))
    for one in held.values():
        try:
            room.restore(one)
        except Refused:
            continue
        raise AssertionError(f"{one.pod.name} could have stayed")
    for name, _ in reversed(found.places):
        room.undo(name)
    for one in held.values():
        room.restore(one)
    return True
