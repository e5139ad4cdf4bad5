"""Pods within a delay bound, with shared backup room so that one node may fail: the edge scheduler.

A re-implementation of kubernetes-edge-scheduler (SIGCOMM'19 demo; Toka, J. Grid Computing 2021) on
this project's filters, so that CPU, cores, ports, labels and taints count as well. A state machine:
every method leaves the placeholder invariant and the room's books whole (`placeholders`, `room`).
Nodes are ranked by free memory, then by name, so nothing depends on the order of input.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tango.algorithms.placement.arrays import Bools
from tango.algorithms.placement.delay_books import (
    OUTSIDE,
    UNPROTECTED,
    WAITS,
    Bound,
    BoundBooks,
)
from tango.algorithms.placement.delays import Delays
from tango.algorithms.placement.placeholders import PREFIX, Need, need_of
from tango.algorithms.placement.pod import Pod
from tango.model.errors import AlreadyExists, InvalidField, NotFound

PINNED = "the nodes that it is pinned to will not do"


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a request. reason: why the pod was rejected, "" if it was not.

    moved: (pod, from, to) of others that made room.
    """

    bound: Bound
    moved: tuple[tuple[str, str, str], ...] = ()
    reason: str = ""


class DelayBound(BoundBooks):
    """placer: with the filters `delay` and `fit`, and others as wanted; its scores do not count.

    makes_room: whether a pod that runs is moved out of the way of one that finds no room.
    stays_without: filters that do not move what is there already, such as those of labels and
    taints: what changes of these is for newcomers.
    """

    makes_room = True
    stays_without: tuple[str, ...] = ()

    # ---- what is asked for

    def schedule(self, pod: Pod) -> Answer:
        """Place a new pod; rejected ones are forgotten.

        Raises AlreadyExists, and InvalidField where its reference is neither a node nor a pod that
        is known here.
        """
        self.check(pod)
        near = pod.near
        if near and self.room.place_of(near) is None and near not in self.bound:
            raise self.unknown(near)
        return self.admit(pod)

    def check(self, pod: Pod) -> None:
        """Raises AlreadyExists, and InvalidField for a name that is not free."""
        if pod.name in self.bound or pod.name in self.room.cluster.index:
            raise AlreadyExists(f"{pod.name} is there already")
        if pod.name.startswith(PREFIX):
            raise InvalidField("pod.name", f"starts with {PREFIX}", "choose another name")

    def unknown(self, near: str) -> InvalidField:
        """What is wrong with a reference, and which name was meant, perhaps."""
        known = (*self.room.cluster.names, *sorted(self.bound))
        meant = difflib.get_close_matches(near, known, 1)
        fix = f"did you mean {meant[0]!r}?" if meant else "name a node, or a pod that is there"
        return InvalidField("pod.near", f"no node or pod is named {near}", fix)

    def admit(self, pod: Pod) -> Answer:
        """As `schedule`, of a pod that was checked; who waits for an unknown one is rejected."""
        answer = self._schedule(pod)
        if not answer.reason:
            self.bound[pod.name] = answer.bound
        return answer

    def wait(self, pod: Pod) -> None:
        """The pod is known from now on and has no node yet; `mend` looks for one."""
        self.bound[pod.name] = Bound(pod, "", warning=WAITS)

    def delete(self, name: str) -> None:
        """The pod ends; its placeholder shrinks. Raises NotFound."""
        if self.bound.pop(name, None) is None:
            raise NotFound(f"no pod is named {name}")
        self._leave(name)

    def delays_changed(self, delays: Delays) -> tuple[Bound, ...]:
        """Pods outside their bound move, backups outside it are replaced. Answers with those.

        Raises InvalidField for delays of another number of nodes.
        """
        if delays.size != self.room.cluster.size:
            problem = f"are of {delays.size} nodes, and there are {self.room.cluster.size}"
            raise InvalidField("delays", problem, "give one row a node")
        self.room.delays = delays
        return self.mend()

    def join(self, nodes: Iterable[str]) -> tuple[Bound, ...]:
        """Nodes are back, empty: pods that wait, and those unprotected, look again."""
        for index in [self.room.index_of(name) for name in nodes]:
            self.room.open[index] = self.room.cluster.schedulable[index]
        return self.mend()

    def fail(self, nodes: Iterable[str]) -> tuple[Bound, ...]:
        """These nodes are gone, all at once. Answers with every pod that this changed.

        Covered pods restart on their placeholder's host while its size lasts (it is made for one
        node at a time), the others wherever there is room within their bound. Who finds nothing
        stays known and waits. Then all look for cover again.
        """
        dead = {self.room.index_of(name) for name in nodes}
        self.room.open[sorted(dead)] = False
        before = dict(self.bound)
        for node in sorted(dead):
            self._uncovered(self.placeholders.drop(node))
        fallen = sorted(
            (
                one
                for one in self.bound.values()
                if one.node and self.room.index_of(one.node) in dead
            ),
            key=lambda one: (-one.pod.priority, one.pod.name),
        )
        hosts = {one.pod.name: self._release(one.pod.name) for one in fallen}
        for one in fallen:
            self._restart(one.pod, hosts[one.pod.name])
        for host in sorted(self.placeholders.sizes):
            self.repair(host)
        self.mend()
        return self._changed(before)

    def mend(self) -> tuple[Bound, ...]:
        """Bring every pod nearer to what it should be; answers with those that changed.

        Moving one may break another's bound to it, so this goes round until nothing changes.
        """
        before = dict(self.bound)
        for _ in range(len(self.bound) + 1):
            state = dict(self.bound)
            for name in sorted(self.bound, key=self._urgency):
                self._mend(self.bound[name])
            if state == self.bound:
                break
        return self._changed(before)

    # ---- placing

    def _schedule(self, pod: Pod) -> Answer:
        if not pod.near:
            cloud = self.ranked(self.placer.candidates(pod) & self.room.cluster.cloud)
            if not cloud:
                reason = "it has no bound, and no cloud node has room"
                return Answer(Bound(pod, ""), reason=reason)
            return Answer(self._put(pod, cloud[0]))
        radius = self.placer.candidates(pod, full_too=True)
        roomy = self.placer.candidates(pod)
        fitting = self.ranked(self._pinned(pod, roomy))
        moved: tuple[tuple[str, str, str], ...] = ()
        if not fitting:
            moved = self._make_room(pod, radius) if self.makes_room else ()
            roomy = self.placer.candidates(pod)
            fitting = self.ranked(self._pinned(pod, roomy))
            if not fitting:
                # Others may do, where it is pinned.
                reason = self.placer.look(pod).reason or PINNED
                return Answer(Bound(pod, ""), reason=reason)
        if not pod.protected:
            self._note(pod, fitting[0], fitting)
            return Answer(self._put(pod, fitting[0]), moved)
        if np.count_nonzero(radius) == 1:
            self._note(pod, fitting[0], fitting)
            return Answer(self._put(pod, fitting[0], warning=self._alone(pod, fitting[0])), moved)
        need = need_of(pod)
        # A node that the placeholder covers nothing of yet, before one that it does.
        for fresh in (True, False):
            for host in self._hosts(radius):
                for node in fitting:
                    known = any(self.placeholders.load(host, node))
                    if known != fresh and self.placeholders.suffices(host, node, need):
                        self._note(pod, node, fitting, 3 if fresh else 4)
                        return Answer(self._put(pod, node, host), moved)
        node = fitting[0]
        rest = [one for one in self.ranked(roomy) if one != node]
        grew = bool(rest) and all(one in self.placeholders.sizes for one in rest)
        self._note(pod, node, fitting, 5 if rest else 0, grew=grew)
        return Answer(self._put(pod, node, self._made_cover(node, need, rest)), moved)

    def _made_cover(self, node: int, need: Need, ranked: Sequence[int]) -> int | None:
        """A placeholder on one of these, which have the room, for this much more of the node."""
        sizes = self.placeholders.sizes
        host = next((node for node in ranked if node not in sizes), None)
        if host is None:
            host = next(iter(ranked), None)
        if host is not None:
            more = self.placeholders.load(host, node).plus(need)
            self.placeholders.resize(host, sizes.get(host, Need()).most(more))
        return host

    def _make_room(self, pod: Pod, radius: Bools) -> tuple[tuple[str, str, str], ...]:
        """Move one pod off a node of the radius, so that `pod` fits there; () if none can go."""
        names = self.room.cluster.names
        wanted = {one.pod.near for one in self.bound.values()} | {pod.near}
        for node in self.ranked(radius):
            here = [name for name in self.room.pods_at[node] if name in self.bound]
            for name in sorted(here, key=lambda name: (self.bound[name].pod.memory_bytes, name)):
                one = self.bound[name]
                if name in wanted or not self._fits_without(pod, node, name):
                    continue
                for target in self.ranked(self._elsewhere(one.pod, node)):
                    if self._still_covered(one, target):
                        self.move(one, target, self._host(one))
                        return ((name, names[node], names[target]),)
        return ()

    def _fits_without(self, pod: Pod, node: int, name: str) -> bool:
        held = self.room.give(name)
        fits = bool(self.placer.candidates(pod)[node])
        self.room.restore(held)
        return fits

    # ---- what is wrong with a pod, and what can be done

    def _urgency(self, name: str) -> tuple[bool, int, str]:
        """Those that wait for a node come before those that only want a backup."""
        one = self.bound[name]
        return bool(one.node), -one.pod.priority, name

    def _mend(self, one: Bound) -> None:
        pod = one.pod
        if not one.node:
            answer = self._schedule(pod)
            self.bound[pod.name] = one if answer.reason else answer.bound
        elif pod.near and self.room.place_of(pod.near) is not None:
            node, radius = self.room.index_of(one.node), self.placer.candidates(pod, full_too=True)
            if not self._may_stay(pod, node, radius) and self.room.open[node]:
                self._move_inside(one, node)
            else:
                self._recover(one, node, radius)

    def _may_stay(self, pod: Pod, node: int, radius: Bools) -> bool:
        less = self.stays_without
        return bool(radius[node]) or bool(
            less and self.placer.candidates(pod, full_too=True, without=less)[node]
        )

    def _move_inside(self, one: Bound, node: int) -> None:
        """To the first node of its radius whose cover still suffices, else to any, else nowhere."""
        ranked = self.ranked(self._elsewhere(one.pod, node))
        if not ranked:
            self.bound[one.pod.name] = replace(one, warning=OUTSIDE)
            return
        covered = (n for n in ranked if self._host(one) is not None and self._still_covered(one, n))
        target = next(covered, None)
        self._note(one.pod, ranked[0] if target is None else target, ranked)
        if target is not None:
            self.move(one, target, self._host(one))
        else:
            self.move(one, ranked[0], None)

    def _recover(self, one: Bound, node: int, radius: Bools) -> None:
        """A pod where it should be: is its backup, too?"""
        host = self._host(one)
        if not one.pod.protected or (host is not None and radius[host]):
            self.bound[one.pod.name] = replace(one, warning="")
            return
        self.placeholders.shrink(self.placeholders.uncover(one.pod.name))
        others = radius.copy()
        others[node] = False
        sizes = dict(self.placeholders.sizes)
        found = self.cover_of(one.pod, node, others)
        if found is not None:
            grew = found in sizes and sizes[found] != self.placeholders.sizes[found]
            known = any(self.placeholders.load(found, node))
            step = 5 if sizes.get(found) != self.placeholders.sizes[found] else 4 if known else 3
            self._note(one.pod, node, (), step, grew=grew)
            self.placeholders.cover(one.pod, node, found)
        if found is not None:
            backup, warning = self.room.cluster.names[found], ""
        else:
            backup, warning = "", UNPROTECTED if others.any() else self._alone(one.pod, node)
        self.bound[one.pod.name] = replace(one, backup=backup, warning=warning)

    # ---- failure

    def _release(self, name: str) -> int | None:
        """Off its node; the host that covered it keeps the room until the restart."""
        self.room.give(name)
        return self.placeholders.uncover(name)

    def _restart(self, pod: Pod, host: int | None) -> None:
        """On the backup's host, in the placeholder's own room; else it waits for `mend`."""
        self.wait(pod)
        if host is None or host not in self.placeholders.sizes:
            return
        need, size = need_of(pod), self.placeholders.sizes[host]
        if not need.within(size):
            return
        self.placeholders.resize(host, size.minus(need))
        if self.room.lack(pod, host):
            self.placeholders.resize(host, size)
        else:
            self.bound[pod.name] = self._put(pod, host, warning=UNPROTECTED)

    def repair(self, host: int) -> None:
        """Grow to what is required now, or cover fewer pods: the lowest priority first."""
        places, size = self.placeholders, self.placeholders.sizes[host]
        while not places.required(host).within(size):
            grown = size.most(places.required(host))
            if places.may_grow(host, grown):
                places.resize(host, grown)
                break
            names = places.covered(host)
            over = [n for n in names if not places.load(host, self._node(n)).within(size)]
            name = min(over, key=lambda name: (self.bound[name].pod.priority, name))
            places.uncover(name)
            self._uncovered((name,))
        places.shrink(host)
