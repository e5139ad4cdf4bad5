"""Why a gang waits, in a clause: no node has what it needs, or none will do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from tango.model.cores import format_cores
from tango.model.fixed_ports import ports_text
from tango.model.plan import BatchOffer, BatchTask, Gang
from tango.model.units import format_cpu, format_memory

# Of the reasons why nodes will not do so many are told, the most frequent.
MAX_WHYS = 3


def bars_of(task: BatchTask, offers: Iterable[BatchOffer]) -> tuple[int, Counter[str]]:
    """Of the nodes that count for a task (it may name one): how many, and why those that will not
    do bar it."""
    named = [one for one in offers if task.node in ("", one.node)]
    if task.terms is None and not any(one.taints for one in named):
        return len(named), Counter()
    return len(named), Counter(filter(None, (one.bars(task) for one in named)))


def told(bars: Counter[str]) -> str:
    """How many nodes are barred by what: "2 without zone In west, 1 tainted spot:NoSchedule, not
    tolerated"."""
    first = sorted(bars.items(), key=lambda item: (-item[1], item[0]))[:MAX_WHYS]
    rest = sum(bars.values()) - sum(count for _, count in first)
    more = [f"{rest} for other reasons"] if rest else []
    return ", ".join([f"{count} {why}" for why, count in first] + more)


def unplaced_reason(
    gang: Gang, task: BatchTask, free: str, offers: tuple[int, Counter[str]] | None = None
) -> str:
    """Why the gang waits. offers: what `bars_of` says of the task; None where all will do."""
    count, bars = offers if offers is not None else (1, Counter[str]())
    of = f" for task {task.task_index} of {len(gang.tasks)}" if len(gang.tasks) > 1 else ""
    if task.node and not count:
        return f"node {task.node} takes nothing now: it is away, dead, cordoned or draining"
    left = count - sum(bars.values())
    if bars and not left:
        if task.node:
            return f"node {task.node} will not do{of}: {next(iter(bars))}"
        return f"none of {count} nodes will do{of}: {told(bars)}"
    need = f"{format_cpu(task.cpu_millis)} CPU and {format_memory(task.memory_bytes)}"
    if task.cpuset:
        need = f"core {format_cores(task.cpuset)}, {need}"
    elif task.cores:
        need = f"{task.cores} whole core{'s' if task.cores > 1 else ''}, {need}"
    if task.ports:
        need = f"{ports_text(task.ports)}, {need}"
    who = f"node {task.node} has not" if task.node else "no node has"
    if bars and not task.node:
        who = f"none of the {left} nodes that will do has"
        who = who if left > 1 else "the one node that will do has not"
    return f"{who} {need} {free}{of}"
