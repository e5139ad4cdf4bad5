"""Which cores tasks may have for themselves on this node: read from its group, never assumed."""

from __future__ import annotations

from tango.adapters.cgroup_values import parse_cpus
from tango.model.cgroup import GroupTarget
from tango.model.cores import format_cores
from tango.model.settings import WorkerSettings
from tango.ports import Cgroups

Cores = tuple[tuple[int, ...], str]


def task_cores(settings: WorkerSettings, cgroups: Cgroups | None, reason: str) -> Cores:
    """The ids, in order, and why there are no others. reason: why there are no control groups."""
    if settings.task_cores == "none":
        return (), "its configuration says task_cores = none"
    if cgroups is None:
        return (), f"no control groups: {reason}"
    if not settings.enforce:
        return (), "enforce = false: nothing is pinned"
    if "cpuset" not in cgroups.features().controllers:
        return (), "the cpuset controller cannot be used here"
    try:
        cgroups.create("")
        if settings.cpuset:
            # As the controller does once more: an earlier worker may have had others.
            cgroups.apply("", GroupTarget(cpuset=settings.cpuset))
        found = parse_cpus(cgroups.read("").cpuset or "") or frozenset()
    except OSError as error:
        return (), f"its cores cannot be read: {error}"
    wanted = parse_cpus(settings.task_cores) if settings.task_cores else found
    missing = (wanted or frozenset()) - found
    note = f"core {format_cores(missing)} of task_cores is not the node's" if missing else ""
    return tuple(sorted(found & (wanted or frozenset()))), note
