"""Whether a gang could run nowhere even if nothing else did, and how near the nearest node comes.

Only what is certain is said: a gang that only a cleverer packing could place is not told that it
never fits. Nodes that are known count, away or not: they may come back.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping

from tango.controllers.central.edges import Sites
from tango.controllers.central.shapes import Size, size_of
from tango.model.affinity import NodeTerms, barred, missed, untolerated
from tango.model.cluster import NodeView
from tango.model.cores import format_cores, mask_of
from tango.model.job import JobRecord
from tango.model.plan import BatchTask, Gang
from tango.model.units import format_cpu, format_memory

PREFIX = "NeverFits: "
_NEEDS = "needs "
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
    if not sites.has_nodes:
        return ""
    for task in gang.tasks:
        why = _named(task, sites) if task.node else _anywhere(task, sites)
        if why:
            name = record.spec.tasks[task.task_index].name
            if why.startswith(_NEEDS):
                return f"{PREFIX}task {name} {why}"
            who = f"task {name}: " if len(record.tasks) > 1 else ""
            return f"{PREFIX}{who}{why}"
    if len(gang.tasks) > 1:
        return _on_one_port(gang, sites) or _together(gang, sites)
    return ""


def _anywhere(task: BatchTask, sites: Sites) -> str:
    wanted = _size(task)
    shapes = sites.shapes.open_to(task.terms)
    if not shapes.sizes:
        return _nearest_bar(task, sites.views())
    if task.cores:
        fits = any(_holds(size, wanted) for size in shapes.sizes)
        return "" if fits else _nearest(task, _able(task, sites.views()))
    if any(_holds((one.cpu_millis, one.memory_bytes, 0), wanted) for one in shapes.largest):
        return ""
    has = " or ".join(
        f"{format_cpu(shape.cpu_millis)} CPU with {format_memory(shape.memory_bytes)}"
        for shape in shapes.largest[:3]
    )
    need = f"{format_cpu(task.cpu_millis)} CPU and {format_memory(task.memory_bytes)}"
    some = shapes.sizes != sites.shapes.of_all().sizes
    return f"{_NEEDS}{need}, the largest node {'that will do ' if some else ''}has {has}"


def _named(task: BatchTask, sites: Sites) -> str:
    """Of the nodes that have the name it gives: one a site at most."""
    views = [view for view in sites.views() if view.node == task.node]
    if not views:
        return f"there is no node {task.node}"
    wanted = _size(task)
    open_to_it = list(_able(task, views))
    if not open_to_it:
        return _nearest_bar(task, views)
    able = [view for view in open_to_it if _holds(size_of(view), wanted)]
    if not able:
        return _nearest(task, open_to_it)
    named = mask_of(task.cpuset)
    if all(named & ~mask_of(view.cores) for view in able):
        known = format_cores(able[0].cores)
        return (
            f"tasks may have cores {known} of {task.node}, not all of {format_cores(task.cpuset)}"
        )
    return ""


def _able(task: BatchTask, views: Iterable[NodeView]) -> Iterator[NodeView]:
    """Those that do not bar the task."""
    return (view for view in views if not barred(task.terms, view.labels, view.taints))


def _nearest_bar(task: BatchTask, views: Iterable[NodeView]) -> str:
    """The node that the fewest labels and taints bar it from, and the first of these."""

    def distance(view: NodeView) -> tuple[int, int, str, str]:
        labels = sum(1 for _ in missed(task.terms, view.labels))
        taints = sum(1 for _ in untolerated(task.terms, view.taints))
        # A taint may be tolerated by a word; what is not there is not.
        return labels + taints, labels, view.edge, view.node

    best = min(views, key=distance)
    rest = distance(best)[0] - 1
    more = f" and {rest} more" if rest else ""
    return f"nearest {best.node}, {barred(task.terms, best.labels, best.taints)}{more}"


def _nearest(task: BatchTask, views: Iterable[NodeView]) -> str:
    """The node that has the most of what it has least of: "nearest w1, 4 of 8 cores"."""
    wanted = _size(task)

    def share(view: NodeView) -> float:
        has = size_of(view)
        return min(1.0 if not want else min(1.0, has[i] / want) for i, want in enumerate(wanted))

    best = min(views, key=lambda view: (-share(view), view.edge, view.node))
    has, least = size_of(best), share(best)
    told = (
        (2, f"{has[2]} of {wanted[2]} cores"),
        (0, f"{format_cpu(has[0])} of {format_cpu(wanted[0])} CPU"),
        (1, f"{format_memory(has[1])} of {format_memory(wanted[1])}"),
    )
    short = next(text for i, text in told if wanted[i] and has[i] / wanted[i] == least)
    why = f" ({best.cores_note})" if not has[2] and wanted[2] and best.cores_note else ""
    return f"nearest {best.node}, {short}{why}"


def _on_one_port(gang: Gang, sites: Sites) -> str:
    """Tasks of one fixed port want a node each, and there are fewer that will do."""
    by_port: defaultdict[int, list[BatchTask]] = defaultdict(list)
    for task in gang.tasks:
        for port in task.ports:
            by_port[port].append(task)
    for port, tasks in sorted(by_port.items()):
        able = sum(any(_does(task, view) for task in tasks) for view in sites.views())
        if able < len(tasks):
            nodes = f"{able} node{'' if able == 1 else 's'}"
            return (
                f"{PREFIX}{len(tasks)} of its tasks have the fixed port {port}, so each wants a "
                f"node of its own, and {nodes} would do"
            )
    return ""


def _does(task: BatchTask, view: NodeView) -> bool:
    """Whether the node would take the task if nothing else were there."""
    if task.node not in ("", view.node) or barred(task.terms, view.labels, view.taints):
        return False
    return _holds(size_of(view), _size(task))


def _together(gang: Gang, sites: Sites) -> str:
    """Each fits, but all of them do not: more than all nodes have, or more than have a place."""
    for where, tasks, sizes in _groups(gang, sites):
        for i, name in _NAMED:
            if name == "CPU" and sites.elastic:
                continue  # more CPU may be held than there is
            total = sum(_size(task)[i] for task in tasks)
            if total > sum(size[i] * count for size, count in sizes.items()):
                return f"{PREFIX}its {len(tasks)} tasks need more {name} than {where}"
            asked = {_size(task)[i] for task in tasks} - {0}
            for least in sorted(asked, reverse=True)[:MAX_SIZES]:
                wanted = sum(_size(task)[i] >= least for task in tasks)
                if wanted > sum(size[i] // least * count for size, count in sizes.items()):
                    return f"{PREFIX}there is no room for all of its {wanted} larger tasks at once"
    return ""


def _groups(gang: Gang, sites: Sites) -> Iterator[tuple[str, list[BatchTask], Mapping[Size, int]]]:
    """(whose room, tasks, sizes of nodes): all tasks, those of the same terms, those of a node."""
    by_terms: defaultdict[NodeTerms | None, list[BatchTask]] = defaultdict(list)
    by_node: defaultdict[str, list[BatchTask]] = defaultdict(list)
    for task in gang.tasks:
        by_terms[task.terms].append(task)
        if task.node:
            by_node[task.node].append(task)
    everywhere = sites.shapes.of_all().sizes
    yield "all nodes have together", list(gang.tasks), everywhere
    for terms, tasks in by_terms.items():
        sizes = sites.shapes.open_to(terms).sizes
        if sizes != everywhere:
            yield "all nodes that will do have together", tasks, sizes
    for node, tasks in by_node.items():
        views = [view for view in sites.views() if view.node == node]
        yield f"node {node} has", tasks, Counter(size_of(view) for view in views)


def _size(task: BatchTask) -> Size:
    return task.cpu_millis, task.memory_bytes, task.cores


def _holds(shape: Size, wanted: Size) -> bool:
    return shape[0] >= wanted[0] and shape[1] >= wanted[1] and shape[2] >= wanted[2]
