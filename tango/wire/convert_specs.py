"""Converts what users declare, pb2 <-> model: ServiceSpec, HealthCheck, TaskSpec, JobSpec.

From pb: a field that is left out, or 0 where 0 makes no sense, takes the model's default; fields
that the proto marks `optional` (replicas, max_queue, grace, backoff) keep an explicit 0. An enum
that is unspecified takes the default, an unknown one is an InvalidField. Nothing is validated here:
`convert_requests` does so for what comes from users.
"""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any

from tango.model.errors import InvalidField
from tango.model.job import FIX_WITHIN_MS, JobSpec, Near, TaskSpec
from tango.model.service import Expose, HealthCheck, QuotaMode, ServiceSpec
from tango.v1 import types_pb2 as pb
from tango.wire.convert_affinity import (
    prefers_from_pb,
    prefers_to_pb,
    requirement_to_pb,
    requires_from_pb,
    toleration_to_pb,
    tolerations_from_pb,
)
from tango.wire.convert_fields import (
    fits_the_wire,
    inverse,
    ms_from_seconds,
    optional,
    pairs_from_map,
    seconds_from_ms,
)


def _defaults(model: type[Any]) -> dict[str, Any]:
    return {f.name: f.default for f in fields(model) if f.default is not MISSING}


_SERVICE = _defaults(ServiceSpec)
_HEALTH = HealthCheck()
_TASK = _defaults(TaskSpec)
_JOB = _defaults(JobSpec)

_EXPOSE = {Expose.LOOPBACK: pb.EXPOSE_LOOPBACK, Expose.NODE: pb.EXPOSE_NODE}
_QUOTA = {QuotaMode.NONE: pb.QUOTA_MODE_NONE, QuotaMode.FOLLOW: pb.QUOTA_MODE_FOLLOW}
_EXPOSE_BACK = inverse(_EXPOSE)
_QUOTA_BACK = inverse(_QUOTA)


def health_check_to_pb(health: HealthCheck) -> pb.HealthCheck:
    """Every field is set."""
    return pb.HealthCheck(
        path=health.path,
        interval_s=health.interval_s,
        timeout_s=health.timeout_s,
        failures=health.failures,
        start_timeout_s=health.start_timeout_s,
    )


def health_check_from_pb(message: pb.HealthCheck) -> HealthCheck:
    """Empty and 0 take the defaults."""
    return HealthCheck(
        path=message.path or _HEALTH.path,
        interval_s=message.interval_s or _HEALTH.interval_s,
        timeout_s=message.timeout_s or _HEALTH.timeout_s,
        failures=message.failures or _HEALTH.failures,
        start_timeout_s=message.start_timeout_s or _HEALTH.start_timeout_s,
    )


def service_spec_to_pb(spec: ServiceSpec, where: str = "spec") -> pb.ServiceSpec:
    """Raises InvalidField where a value does not fit the wire (negative, beyond 64 bits)."""
    with fits_the_wire(where):
        return pb.ServiceSpec(
            name=spec.name,
            argv=spec.argv,
            env=dict(spec.env),
            replicas=spec.replicas,
            memory_bytes=spec.memory_bytes,
            cpu_per_request_millis=spec.cpu_per_request_millis,
            memory_per_request_bytes=spec.memory_per_request_bytes,
            concurrency=spec.concurrency,
            deadline_ms=ms_from_seconds(spec.deadline_s),
            timeout_ms=ms_from_seconds(spec.timeout_s),
            priority=spec.priority,
            idempotent=spec.idempotent,
            port=spec.port,
            expose=_EXPOSE[spec.expose],
            health=health_check_to_pb(spec.health),
            quota=_QUOTA[spec.quota],
            quota_base_millis=spec.quota_base_millis,
            stop_grace_s=spec.stop_grace_s,
            max_queue=spec.max_queue,
            images=spec.images,
            requires=[requirement_to_pb(one) for one in spec.requires],
            prefers=prefers_to_pb(spec.prefers),
            tolerations=[toleration_to_pb(one) for one in spec.tolerations],
        )


def service_spec_from_pb(message: pb.ServiceSpec, where: str = "spec") -> ServiceSpec:
    """Raises InvalidField for an enum value that this version does not know."""
    default = _SERVICE
    return ServiceSpec(
        name=message.name,
        argv=tuple(message.argv),
        env=pairs_from_map(message.env),
        replicas=message.replicas if message.HasField("replicas") else default["replicas"],
        memory_bytes=message.memory_bytes or default["memory_bytes"],
        cpu_per_request_millis=(
            message.cpu_per_request_millis or default["cpu_per_request_millis"]
        ),
        memory_per_request_bytes=message.memory_per_request_bytes,
        concurrency=message.concurrency or default["concurrency"],
        deadline_s=seconds_from_ms(message.deadline_ms) or default["deadline_s"],
        timeout_s=seconds_from_ms(message.timeout_ms) or default["timeout_s"],
        priority=message.priority,
        idempotent=message.idempotent,
        port=message.port,
        expose=optional(
            _EXPOSE_BACK, message.expose, default["expose"], f"{where}.expose", pb.Expose.keys()
        ),
        health=health_check_from_pb(message.health),
        quota=optional(
            _QUOTA_BACK, message.quota, default["quota"], f"{where}.quota", pb.QuotaMode.keys()
        ),
        quota_base_millis=message.quota_base_millis or default["quota_base_millis"],
        stop_grace_s=(
            message.stop_grace_s if message.HasField("stop_grace_s") else default["stop_grace_s"]
        ),
        max_queue=message.max_queue if message.HasField("max_queue") else default["max_queue"],
        images=tuple(message.images),
        requires=requires_from_pb(message.requires, where),
        prefers=prefers_from_pb(message.prefers, where),
        tolerations=tolerations_from_pb(message.tolerations, where),
    )


def task_spec_to_pb(spec: TaskSpec, where: str = "spec") -> pb.TaskSpec:
    """Raises InvalidField where a value does not fit the wire."""
    with fits_the_wire(where):
        return pb.TaskSpec(
            name=spec.name,
            argv=spec.argv,
            env=dict(spec.env),
            cpu_millis=spec.cpu_millis,
            memory_bytes=spec.memory_bytes,
            deadline_s=spec.deadline_s,
            stop_grace_s=spec.stop_grace_s,
            cores=spec.cores,
            node=spec.node,
            cpuset=spec.cpuset,
            near=None if spec.near is None else near_to_pb(spec.near),
            backup=spec.backup,
            images=spec.images,
            requires=[requirement_to_pb(one) for one in spec.requires],
            prefers=prefers_to_pb(spec.prefers),
            tolerations=[toleration_to_pb(one) for one in spec.tolerations],
            ports=spec.ports,
        )


def near_to_pb(near: Near) -> pb.Near:
    """Field by field."""
    return pb.Near(
        node=near.node,
        task=near.task,
        within_ms=ms_from_seconds(near.within_s),
        service=near.service,
    )


def near_from_pb(message: pb.Near, where: str = "near") -> Near:
    """JobSpec.validate() says what of it makes no sense.

    Raises InvalidField where within_ms is left out.
    """
    if not message.HasField("within_ms"):
        raise InvalidField(f"{where}.within_ms", "is missing", FIX_WITHIN_MS)
    within_s = seconds_from_ms(message.within_ms)
    return Near(message.node, message.task, within_s, message.service)


def task_spec_from_pb(message: pb.TaskSpec, where: str = "spec") -> TaskSpec:
    """cpu_millis and memory_bytes of 0 take the defaults; deadline_s, cores of 0 are none.

    Raises InvalidField for a condition on nodes that this version does not know, or that is none.
    """
    default = _TASK
    return TaskSpec(
        name=message.name,
        argv=tuple(message.argv),
        env=pairs_from_map(message.env),
        cpu_millis=message.cpu_millis or default["cpu_millis"],
        memory_bytes=message.memory_bytes or default["memory_bytes"],
        deadline_s=message.deadline_s,
        stop_grace_s=(
            message.stop_grace_s if message.HasField("stop_grace_s") else default["stop_grace_s"]
        ),
        cores=message.cores,
        node=message.node,
        cpuset=tuple(message.cpuset),
        near=near_from_pb(message.near, f"{where}.near") if message.HasField("near") else None,
        backup=message.backup,
        images=tuple(message.images),
        requires=requires_from_pb(message.requires, where),
        prefers=prefers_from_pb(message.prefers, where),
        tolerations=tolerations_from_pb(message.tolerations, where),
        ports=tuple(message.ports),
    )


def job_spec_to_pb(spec: JobSpec, where: str = "spec") -> pb.JobSpec:
    """Raises InvalidField where a value does not fit the wire."""
    tasks = [
        task_spec_to_pb(task, f"{where}.tasks[{index}]") for index, task in enumerate(spec.tasks)
    ]
    with fits_the_wire(where):
        return pb.JobSpec(
            name=spec.name,
            tasks=tasks,
            retries=spec.retries,
            backoff_s=spec.backoff_s,
            backoff_max_s=spec.backoff_max_s,
            priority=spec.priority,
        )


def job_spec_from_pb(message: pb.JobSpec, where: str = "spec") -> JobSpec:
    """A backoff that is left out takes the default; 0 is none. Raises InvalidField."""
    default = _JOB
    return JobSpec(
        name=message.name,
        tasks=tuple(
            task_spec_from_pb(task, f"{where}.tasks[{index}]")
            for index, task in enumerate(message.tasks)
        ),
        retries=message.retries,
        backoff_s=message.backoff_s if message.HasField("backoff_s") else default["backoff_s"],
        backoff_max_s=(
            message.backoff_max_s if message.HasField("backoff_max_s") else default["backoff_max_s"]
        ),
        priority=message.priority,
    )
