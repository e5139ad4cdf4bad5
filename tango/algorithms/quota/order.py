"""The order in which a group and its children are written, so that no child is above its parent.

cgroup v1 refuses a child's quota above its parent's, v2 takes it: the order is ours to keep.
"""

from __future__ import annotations

from collections.abc import Iterable

from tango.model.cgroup import UNLIMITED, GroupTarget

Write = tuple[str, GroupTarget]
Change = tuple[str, GroupTarget | None, GroupTarget]


def ordered_writes(parent: Change, children: Iterable[Change]) -> list[Write]:
    """Writes of (group, old target, new target) that change something, in a safe order.

    A parent that grows goes first, one that shrinks last; children that shrink go before those that
    grow, each kind by name. Old None is a new group, which the kernel makes without a quota. Where
    the new children fit under the new parent, and the old ones under the old, so does every state
    in between.
    """
    changed = sorted(
        ((group, old, new) for group, old, new in children if old != new),
        key=lambda change: (_grows(change), change[0]),
    )
    writes = [(group, new) for group, _, new in changed]
    group, old, new = parent
    if old == new:
        return writes
    if _grows(parent):
        return [(group, new), *writes]
    return [*writes, (group, new)]


def _grows(change: Change) -> bool:
    _, old, new = change
    return _height(new) >= _height(old)


def _height(target: GroupTarget | None) -> float:
    quota = target.quota_millis if target is not None else None
    return float("inf") if quota is None or quota == UNLIMITED else quota
