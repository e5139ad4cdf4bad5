"""The node's tree of groups: an LC and a BE side, and what each group of it is given (pure).

    ""                          the node: its weight against the rest of the machine, its cores
    "lc"                        default weight
    "lc/<service>"              quota where replicas follow their requests: the sum of theirs
    "lc/<service>/<replica>"    memory as declared
    "be"                        the lowest weight the kernel offers; a cap where one is asked for
    "be/<attempt>"              memory as declared, and the cores that it was given, if any

No quota on the node nor on LC: it would throttle LC together with BE.
"""

from __future__ import annotations

import re
from typing import Final

from tango.model.cgroup import UNLIMITED, CgroupFeatures, GroupTarget
from tango.model.cores import format_cores
from tango.model.errors import InvalidField
from tango.model.job import TaskSpec
from tango.model.service import ServiceSpec

NODE: Final = ""
LC: Final = "lc"
BE: Final = "be"

DEFAULT_WEIGHT = 100
# cgroup v2's lowest; 2 shares on v1.
LOWEST_WEIGHT = 1

_PART = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")


def check_id(text: str, field: str) -> str:
    """The id itself if it can name a group and a process; InvalidField else."""
    if _PART.fullmatch(text) is None:
        fix = "use 1 to 128 of A-Z, a-z, 0-9, '.', '_' and '-', not beginning with '.'"
        raise InvalidField(field, f"{text[:140]!r} is not a valid id", fix)
    return text


def service_group(service: str) -> str:
    """The group of a service's replicas. InvalidField for a name that is none."""
    return f"{LC}/{check_id(service, 'service')}"


def replica_group(service: str, replica_id: str) -> str:
    """The group of one replica. InvalidField for names that are none."""
    return f"{service_group(service)}/{check_id(replica_id, 'replica_id')}"


def attempt_group(attempt_id: str) -> str:
    """The group of one task attempt. InvalidField for a name that is none."""
    return f"{BE}/{check_id(attempt_id, 'attempt_id')}"


def side_groups(
    cpu_weight: int, cpuset: str, features: CgroupFeatures
) -> tuple[tuple[str, GroupTarget], ...]:
    """The node's group and its two sides with their targets, parents first.

    cpu_weight: of the whole node (cgroup v2 scale). cpuset: its cores, "" for all.
    BE is asked for the lowest weight and, where the kernel knows it, for SCHED_IDLE against LC; a
    cap of an earlier worker goes.
    """
    return (
        (NODE, GroupTarget(weight=cpu_weight, cpuset=cpuset or None)),
        (LC, GroupTarget(weight=DEFAULT_WEIGHT)),
        (BE, GroupTarget(UNLIMITED, weight=LOWEST_WEIGHT, idle=True if features.idle else None)),
    )


def replica_memory(spec: ServiceSpec) -> GroupTarget:
    """A replica's memory: its own, and that of as many requests as it serves at once."""
    memory_bytes = spec.memory_bytes + spec.memory_per_request_bytes * spec.concurrency
    return GroupTarget(memory_max_bytes=memory_bytes if memory_bytes > 0 else UNLIMITED)


def attempt_target(spec: TaskSpec, cores: tuple[int, ...] = ()) -> GroupTarget:
    """A task's memory: what it declared; it is killed beyond that, not its neighbours. And the
    cores that it was given: it runs on no others."""
    memory_bytes = spec.memory_bytes if spec.memory_bytes > 0 else UNLIMITED
    return GroupTarget(memory_max_bytes=memory_bytes, cpuset=format_cores(cores) or None)
