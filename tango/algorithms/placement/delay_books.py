"""Where pods with a delay bound and their backups are: the books behind `delay_bound`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np

from tango.algorithms.placement.arrays import Bools
from tango.algorithms.placement.delay_looks import inside, looked
from tango.algorithms.placement.placeholders import PREFIX, Need, Placeholders, need_of
from tango.algorithms.placement.placer import Placer
from tango.algorithms.placement.pod import Pod
from tango.algorithms.placement.room import Held
from tango.model.bounds import BoundLook
from tango.model.errors import Refused

UNPROTECTED = "unprotected: no room for its backup within its bound"
ALONE = "unprotected: no other node within its bound"
BARRED = "unprotected: no other node within its bound takes it"
OUTSIDE = "outside its bound: no node within it has room"
WAITS = "waits for a node"
# Before a pod's name: what it still holds of the node that it leaves.
LEAVING = "leaving/"


def leaving(pod: Pod) -> Pod:
    """What the pod still holds of the node that it leaves."""
    return Pod(LEAVING + pod.name, pod.cpu_millis, pod.memory_bytes, pod.cores, ports=pod.ports)


@dataclass(frozen=True, slots=True)
class Bound:
    """A pod, its node and its backup's node; "" for none. warning: what is not as it should be."""

    pod: Pod
    node: str
    backup: str = ""
    warning: str = ""


class BoundBooks:
    """Pods and placeholders in one room. bound: all that are known, those that wait included.

    runs_on: nodes of pods that take a while to leave: moved, they hold their room there, too.
    """

    def __init__(self, placer: Placer) -> None:
        self.placer = placer
        self.room = placer.room
        self.placeholders = Placeholders(placer.room)
        self.bound: dict[str, Bound] = {}
        # On what grounds pods got what they have, the latest; None where nobody asks for it.
        self.looks: dict[str, BoundLook] | None = None
        self.runs_on: dict[str, int] = {}
        # Pods that only some nodes will do for, but for their backups.
        self.pins: dict[str, Bools] = {}

    def resume(
        self,
        bound: Iterable[Bound],
        sizes: Mapping[str, Need],
        cores: Mapping[str, Sequence[int]] | None = None,
    ) -> tuple[Bound, ...]:
        """What a store kept: `bound` and, by node, the placeholders' sizes. Once, before all else.

        cores: ids by pod, and by placeholder (PREFIX and its node). Pods that are in the room
        already, as running ones are, stay where they are. A node may have gone or shrunk since:
        what has not the room that it had waits, or is unprotected, until `mend` in DelayBound.
        Fixed ports that placeholders hold follow from the pods that they cover.
        Answers with those.
        """
        assert not self.bound, "resumed once, before all else"
        asked = sorted(bound, key=lambda one: one.pod.name)
        known, ids = self.room.cluster.index, cores or {}
        # Who insists on cores by id comes before those that take what is left.
        for one in sorted(asked, key=lambda one: not (ids.get(one.pod.name) or one.pod.cpuset)):
            pod = one.pod
            if pod.name not in self.room.held and one.node in known:
                self._retake(pod, known[one.node], ids.get(pod.name, ()))
        covered: dict[str, set[int]] = {}
        for one in asked:
            covered.setdefault(one.backup, set()).update(one.pod.ports)
        for name in sorted(sizes, key=lambda name: not ids.get(PREFIX + name)):
            if name not in known:
                continue
            # Somebody may have taken one meanwhile.
            ports = covered.get(name, set()) - self.room.ports_at(known[name])
            size = sizes[name]._replace(ports=frozenset(ports))
            if self.placeholders.may_grow(known[name], size):
                self.placeholders.resize(known[name], size, ids.get(PREFIX + name, ()))
        for one in asked:
            self.bound[one.pod.name] = self._resumed(one, known.get(one.backup))
        for host in sorted(self.placeholders.sizes):
            self.placeholders.shrink(host)
        return self._changed({one.pod.name: one for one in asked})

    def _retake(self, pod: Pod, node: int, cores: Sequence[int]) -> None:
        """On the cores that it had, where they are free."""
        with suppress(Refused):  # it waits
            if len(cores) == pod.cores:
                self.room.restore(Held(pod, node, tuple(cores)))
            else:
                self.room.take(pod, node)

    def _resumed(self, one: Bound, host: int | None) -> Bound:
        pod, place = one.pod, self.room.held.get(one.pod.name)
        if place is None:
            return Bound(pod, "", warning=WAITS)
        node = self.room.cluster.names[place.node]
        if host is not None and self.placeholders.suffices(host, place.node, need_of(pod)):
            self.placeholders.cover(pod, place.node, host)
            return replace(one, node=node)
        if one.backup:
            return Bound(pod, node, warning=UNPROTECTED)
        return replace(one, node=node)

    def _elsewhere(self, pod: Pod, node: int) -> Bools:
        """Nodes where a pod could go that is on this one."""
        held = self.room.give(pod.name)
        nodes = self.placer.candidates(pod)
        if not pod.near:
            nodes &= self.room.cluster.cloud
        self.room.restore(held)
        nodes[node] = False
        return self._pinned(pod, nodes)

    def _pinned(self, pod: Pod, nodes: Bools) -> Bools:
        pin = self.pins.get(pod.name)
        return nodes if pin is None else nodes & pin

    def _still_covered(self, one: Bound, target: int) -> bool:
        """Whether its backup would do there too; one that has none loses none."""
        host = self._host(one)
        if host is None:
            return True
        radius = self.placer.candidates(one.pod, full_too=True)
        return bool(radius[host]) and self.placeholders.suffices(host, target, need_of(one.pod))

    def cover_of(self, pod: Pod, node: int, others: Bools) -> int | None:
        """A placeholder that needs no growth, else a new one, else the roomiest that can grow."""
        need, hosts = need_of(pod), self._hosts(others)
        for host in hosts:
            if self.placeholders.suffices(host, node, need):
                return host
        new = [at for at in self.ranked(others) if at not in self.placeholders.sizes]
        for host in (*new, *sorted(hosts, key=self._rank)):
            size = self.placeholders.sizes.get(host, Need())
            size = size.most(self.placeholders.load(host, node).plus(need))
            if self.placeholders.may_grow(host, size):
                self.placeholders.resize(host, size)
                return host
        return None

    def _note(
        self, pod: Pod, node: int, ranked: Sequence[int], step: int = 0, *, grew: bool = False
    ) -> None:
        """Before the pod is put there, or gets a backup there."""
        if self.looks is not None:
            self.looks[pod.name] = looked(self.placer, pod, node, ranked, step, grew=grew)

    def _uncovered(self, names: Iterable[str]) -> None:
        for name in names:
            self.bound[name] = replace(self.bound[name], backup="", warning=UNPROTECTED)

    def put(self, pod: Pod, node: int, host: int | None) -> None:
        """Place the pod; the host covers it, and its size suffices."""
        self.bound[pod.name] = self._put(pod, node, host)

    def _put(self, pod: Pod, node: int, host: int | None = None, warning: str = "") -> Bound:
        names = self.room.cluster.names
        self.room.take(pod, node)
        if host is not None:
            self.placeholders.cover(pod, node, host)
        elif pod.near and pod.protected and not warning:
            warning = UNPROTECTED
        return Bound(pod, names[node], "" if host is None else names[host], warning)

    def move(self, one: Bound, node: int, host: int | None) -> None:
        """The pod is there from now on, covered by this host, which suffices, or by none."""
        name, pod = one.pod.name, one.pod
        left = self.room.give(name).node
        before = self.placeholders.uncover(name)
        self.bound[name] = self._put(pod, node, host)
        self.placeholders.shrink(before)
        if self.runs_on.get(name) == left and LEAVING + name not in self.room.held:
            self.room.take(leaving(pod), left)

    def _leave(self, name: str) -> None:
        if name in self.room.held:
            self.room.give(name)
        self.placeholders.shrink(self.placeholders.uncover(name))

    def _host(self, one: Bound) -> int | None:
        return self.placeholders.host_of.get(one.pod.name)

    def _node(self, name: str) -> int:
        return self.room.held[name].node

    def _alone(self, pod: Pod, node: int) -> str:
        """The warning of a pod that no other node will do for, be it empty: is there one at all?"""
        others = inside(self.placer, pod)
        others[node] = False
        return BARRED if others.any() else ALONE

    def _hosts(self, among: Bools) -> list[int]:
        return [host for host in sorted(self.placeholders.sizes) if among[host]]

    def _rank(self, node: int) -> tuple[int, int]:
        return -int(self.room.memory[node]), node

    def ranked(self, among: Bools) -> list[int]:
        """Most free memory first, ties by name."""
        return sorted(np.flatnonzero(among).tolist(), key=self._rank)

    def _changed(self, before: dict[str, Bound]) -> tuple[Bound, ...]:
        return tuple(one for one in self._all() if before.get(one.pod.name) != one)

    def _all(self) -> Iterator[Bound]:
        return (self.bound[name] for name in sorted(self.bound))
