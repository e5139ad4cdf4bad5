"""Pods with delay bounds moved on wish, in books that stay whole as with any step of `delay_bound`.

Capacity, the placeholder invariant and the bound hold after each, and a pod that moves holds its
room at both ends until it has left.
"""

from __future__ import annotations

from tango.algorithms.placement.delay_books import LEAVING
from tango.algorithms.placement.delay_bound import DelayBound
from tango.algorithms.placement.placeholders import NOTHING, need_of
from tango.model.improvement import Wish


def moved(here: DelayBound, wish: Wish) -> bool:
    """The pod moves to the node and is covered by the host, which grows where it must. False, and
    nothing has changed, where that cannot be."""
    one, index = here.bound[wish.task], here.room.cluster.index
    node, host = index.get(wish.node), index.get(wish.backup)
    if node is None or not here.placer.candidates(one.pod)[node]:
        return False
    if wish.backup and (host is None or not _made_ready(here, wish.task, node, host)):
        return False
    here.move(one, node, host)
    return True


def arrived(here: DelayBound) -> None:
    """What was moved has left: it holds its room at its target alone."""
    for name in [name for name in here.room.held if name.startswith(LEAVING)]:
        here.room.give(name)
    for name in here.runs_on:
        if here.bound[name].node:
            here.runs_on[name] = here.room.index_of(here.bound[name].node)


def _made_ready(here: DelayBound, name: str, node: int, host: int) -> bool:
    """The host's placeholder is large enough for one more pod of the node, or made so."""
    pod, places = here.bound[name].pod, here.placeholders
    if host == node or not here.placer.candidates(pod, full_too=True)[host]:
        return False
    size = places.load(host, node).plus(need_of(pod)).most(places.sizes.get(host, NOTHING))
    if not places.may_grow(host, size):
        return False
    if size != places.sizes.get(host):
        places.resize(host, size)
    return True
