"""Whether a gang could run nowhere even if nothing else did, and how near the nearest node comes.

Only what is certain is said: a gang that only a cleverer packing could place is not told that it
never fits. Nodes that are known count, away or not: they may come back.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

from tango.controllers.central.edges import Sites
from tango.model.cluster import NodeView
from tango.model.cores import format_cores, mask_of
from tango.model.job import JobRecord
from tango.model.plan import BatchTask, Gang
from tango.model.units import format_cpu, format_memory

PREFIX = "NeverFits: "
# (millicores, bytes, cores), of a task or a node.
_Size = tuple[int, int, int]
# In the order in which people are told.
_NAMED = ((2, "cores"), (0, "CPU"), (1, "memory"))
# Of different sizes of a gang's tasks so many are counted out, the largest.
MAX_SIZES = 16


def never_fits(gang: Gang, record: JobRecord, sites: Sites, *, needs_node: bool = False) -> str:
    """Why this gang can run on no known node; empty where it can, or where no node is known.

    needs_node: the policy starts only tasks that name their node.
    """
    if needs_node and any(not task.node for task in gang.tasks):
        return f"{PREFIX}policy `node` starts only tasks that name their node"
    if not sites.shapes:
        return ""
    for task in gang.tasks:
        why = _named(task, sites) if task.node else _anywhere(task, sites)
        if why:
            name = record.spec.tasks[task.task_index].name
            if task.cores or task.node:
                who = f"task {name}: " if len(record.tasks) > 1 else ""
                return f"{PREFIX}{who}{why}"
            return f"{PREFIX}task {name} needs {why}"
    return _together(gang, sites) if len(gang.tasks) > 1 else ""


def _anywhere(task: BatchTask, sites: Sites) -> str:
    wanted = _size(task)
    if task.cores:
        fits = any(_holds(shape, wanted) for shape in sites.shapes)
        return "" if fits else _nearest(task, sites.views())
    if any(_holds((one.cpu_millis, one.memory_bytes, 0), wanted) for one in sites.largest):
        return ""
    shapes = " or ".join(
        f"{format_cpu(shape.cpu_millis)} CPU with {format_memory(shape.memory_bytes)}"
        for shape in sites.largest[:3]
    )
    need = f"{format_cpu(task.cpu_millis)} CPU and {format_memory(task.memory_bytes)}"
    return f"{need}, the largest node has {shapes}"


def _named(task: BatchTask, sites: Sites) -> str:
    """Of the nodes that have the name it gives: one a site at most."""
    views = [view for view in sites.views() if view.node == task.node]
    if not views:
        return f"there is no node {task.node}"
    wanted = _size(task)
    able = [view for view in views if _holds(_capacity(view), wanted)]
    if not able:
        return _nearest(task, views)
    named = mask_of(task.cpuset)
    if all(named & ~mask_of(view.cores) for view in able):
        known = format_cores(able[0].cores)
        return (
            f"tasks may have cores {known} of {task.node}, not all of {format_cores(task.cpuset)}"
        )
    return ""


def _nearest(task: BatchTask, views: Iterable[NodeView]) -> str:
    """The node that has the most of what it has least of: "nearest w1, 4 of 8 cores"."""
    wanted = _size(task)

    def share(view: NodeView) -> float:
        has = _capacity(view)
        return min(1.0 if not want else min(1.0, has[i] / want) for i, want in enumerate(wanted))

    best = min(views, key=lambda view: (-share(view), view.edge, view.node))
    has, least = _capacity(best), share(best)
    told = (
        (2, f"{has[2]} of {wanted[2]} cores"),
        (0, f"{format_cpu(has[0])} of {format_cpu(wanted[0])} CPU"),
        (1, f"{format_memory(has[1])} of {format_memory(wanted[1])}"),
    )
    short = next(text for i, text in told if wanted[i] and has[i] / wanted[i] == least)
    why = f" ({best.cores_note})" if not has[2] and wanted[2] and best.cores_note else ""
    return f"nearest {best.node}, {short}{why}"


def _together(gang: Gang, sites: Sites) -> str:
    """Each fits, but all of them do not: more than all nodes have, or more than have a place."""
    for node, tasks in _by_node(gang):
        shapes = sites.shapes
        if node:
            shapes = Counter(_capacity(view) for view in sites.views() if view.node == node)
        for i, name in _NAMED:
            if name == "CPU" and sites.elastic:
                continue  # more CPU may be held than there is
            total = sum(_size(task)[i] for task in tasks)
            if total > sum(shape[i] * count for shape, count in shapes.items()):
                where = f"node {node} has" if node else "all nodes have together"
                return f"{PREFIX}its {len(tasks)} tasks need more {name} than {where}"
            sizes = {_size(task)[i] for task in tasks} - {0}
            for least in sorted(sizes, reverse=True)[:MAX_SIZES]:
                wanted = sum(_size(task)[i] >= least for task in tasks)
                if wanted > sum(shape[i] // least * count for shape, count in shapes.items()):
                    return f"{PREFIX}there is no room for all of its {wanted} larger tasks at once"
    return ""


def _by_node(gang: Gang) -> Iterator[tuple[str, list[BatchTask]]]:
    """All tasks, and those of each node that some name."""
    yield "", list(gang.tasks)
    named: defaultdict[str, list[BatchTask]] = defaultdict(list)
    for task in gang.tasks:
        if task.node:
            named[task.node].append(task)
    yield from named.items()


def _size(task: BatchTask) -> _Size:
    return task.cpu_millis, task.memory_bytes, task.cores


def _capacity(view: NodeView) -> _Size:
    return view.capacity.cpu_millis, view.capacity.memory_bytes, len(view.cores)


def _holds(shape: _Size, wanted: _Size) -> bool:
    return shape[0] >= wanted[0] and shape[1] >= wanted[1] and shape[2] >= wanted[2]
