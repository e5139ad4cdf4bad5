"""What users are told of tasks with bounds and backups: what is wrong, and what became of them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from tango.controllers.central.bound_nodes import BoundNodes
from tango.model.bounds import BoundTask
from tango.model.errors import InvalidField
from tango.model.job import JobSpec
from tango.model.placements import BoundRecord

NO_RULE = "needs numpy, which the central master does not have"
NO_RULE_FIX = "install the extra `solver` there (in a clone: pip install '.[solver]')"


def refuse(spec: JobSpec) -> None:
    """Raise InvalidField for the first bound or backup: nobody can place it."""
    for index, task in enumerate(spec.tasks):
        if task.near is not None or task.backup:
            field = "near" if task.near is not None else "backup"
            raise InvalidField(f"tasks[{index}].{field}", NO_RULE, NO_RULE_FIX)


def check_nodes(spec: JobSpec, nodes: BoundNodes, *, settled: bool) -> None:
    """Raise InvalidField for a node that none of these, or more than one, is.

    settled: all nodes are known; before that there is no telling, and the job waits.
    """
    for index, task in enumerate(spec.tasks):
        if task.near is None or not task.near.node:
            continue
        name, field = task.near.node, f"tasks[{index}].near.node"
        full = nodes.full(name)
        if len(full) > 1:
            problem = f"{name!r} is the name of several nodes"
            raise InvalidField(field, problem, f"write one of: {', '.join(full)}")
        known = nodes.names() if settled and not full else ()
        if known:
            names = sorted({*known, *(one.partition("/")[2] for one in known)})
            meant = difflib.get_close_matches(name, names, 1)
            fix = f"did you mean {meant[0]!r}?" if meant else "`tango get nodes` lists those known"
            raise InvalidField(field, f"no node is named {name!r}", fix)


def what_became(
    known: BoundTask | None,
    before: BoundRecord | None,
    now: BoundRecord,
    failed: Iterable[str],
    *,
    wished: bool = False,
) -> str:
    """What became of a task, in one clause, and what is not as it should be; "" for nothing new."""
    if before == now and known is not None:
        return ""
    if known is None or before is None:
        said = f"placed on {now.node}" if now.node else ""
    elif before.node in failed and now.node:
        where = f"its backup {now.node}" if now.node == before.backup else now.node
        said = f"{before.node} failed or is drained: runs again on {where}"
    elif before.node != now.node and now.node:
        why = "by a better plan" if wished else "outside its bound"
        said = f"{why}: moves from {known.at or before.node} to {now.node}"
    elif not now.node:
        said = f"{before.node} failed" if before.node else ""
    else:
        said = "backup gone" if before.backup and not now.backup else ""
    return ", ".join(filter(None, (said, now.warning))) or (
        "" if before is not None and before.backup == now.backup else f"stays on {now.node}"
    )
