"""Pods with delay bounds placed all at once, where they are known beforehand: the offline plan.

Toka, J. Grid Computing 2021: placeholders first, each on the node that could back up most pods that
have none yet, as large as the largest of them; then the pods, fewest options first; then repairs.
The result is a `DelayBound` that goes on as any other; `delay_replan` applies it to running pods.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tango.algorithms.placement.arrays import Bools
from tango.algorithms.placement.delay_bound import Answer, DelayBound
from tango.algorithms.placement.placeholders import NOTHING, need_of
from tango.algorithms.placement.placer import leaders_first
from tango.algorithms.placement.pod import Pod
from tango.model.errors import InvalidField


def place_offline(here: DelayBound, pods: Sequence[Pod]) -> tuple[Answer, ...]:
    """Place them in books without pods; answers with those that were rejected, and why.

    Pods that are bound to a pod, or to nothing, or want no backup, come last, one after another as
    if online.
    Raises InvalidField where two have one name, and for a reference that is nowhere.
    """
    names = {pod.name for pod in pods}
    if len(names) != len(pods):
        raise InvalidField("pods", "two of them have one name", "names are unique")
    for pod in pods:
        here.check(pod)
        if pod.near and pod.near not in names and here.room.place_of(pod.near) is None:
            raise here.unknown(pod.near)
    return plan_offline(here, pods, {})


def plan_offline(
    here: DelayBound, pods: Sequence[Pod], stay: Mapping[str, str]
) -> tuple[Answer, ...]:
    """As `place_offline`, of pods that are known to be sound.

    stay: where pods are already; they stay there where the backup that they get allows it.
    """
    assert not here.bound, "the offline plan starts from empty books"
    index = here.room.cluster.index
    known = (pod for pod in pods if pod.near in index and pod.protected)
    bound = sorted(known, key=lambda pod: pod.name)
    radius = {pod.name: here.placer.candidates(pod, full_too=True) for pod in bound}
    backup = _placeholders(here, bound, radius)
    options = {pod.name: np.count_nonzero(here.placer.candidates(pod)) for pod in bound}
    late = [
        pod
        for pod in sorted(bound, key=lambda pod: (options[pod.name], pod.name))
        if not _placed(here, pod, backup.get(pod.name), index.get(stay.get(pod.name, "")))
    ]
    for host in sorted(here.placeholders.sizes):
        here.repair(host)
    online = [pod for pod in pods if pod.near not in index or not pod.protected]
    asked = (*late, *leaders_first(online, {pod.name for pod in online}))
    rejected = tuple(answer for pod in asked if (answer := here.admit(pod)).reason)
    here.mend()
    return rejected


def _placeholders(
    here: DelayBound, pods: Sequence[Pod], radius: dict[str, Bools]
) -> dict[str, int]:
    """Pod -> the host that shall back it up, of those with room for the pod; made as large."""
    room, found = here.room, dict[str, int]()
    # A pod alone in its radius can have no backup.
    left = [pod for pod in pods if np.count_nonzero(radius[pod.name]) > 1]
    free = np.ones(room.cluster.size, np.bool_)
    fits = {pod.name: here.placer.candidates(pod) for pod in left}
    while left and free.any():
        counts = np.sum([fits[pod.name] for pod in left], axis=0)
        counts[~free] = 0
        if not counts.any():
            break
        most = np.flatnonzero(counts == counts.max()).tolist()
        host = max(most, key=lambda node: (int(room.memory[node]), -node))
        backed = [pod for pod in left if fits[pod.name][host]]
        size = NOTHING
        for pod in backed:
            size = size.most(need_of(pod))
        free[host] = False
        if here.placeholders.may_grow(host, size):
            here.placeholders.resize(host, size)
            found.update((pod.name, host) for pod in backed)
            left = [pod for pod in left if pod.name not in found]
    return found


def _placed(here: DelayBound, pod: Pod, host: int | None, stay: int | None) -> bool:
    """Where it is, or on the roomiest node, so that its backup suffices or can be made to.

    False if there is no such node.
    """
    need = need_of(pod)
    nodes = [node for node in here.ranked(here.placer.candidates(pod)) if node != host]
    if stay in nodes:
        nodes.remove(stay)
        nodes.insert(0, stay)
    if host is not None:
        for node in nodes:
            if here.placeholders.suffices(host, node, need):
                here.put(pod, node, host)
                return True
        for node in nodes:
            size = here.placeholders.load(host, node).plus(need)
            size = size.most(here.placeholders.sizes[host])
            if here.placeholders.may_grow(host, size):
                here.placeholders.resize(host, size)
                here.put(pod, node, host)
                return True
    return False
