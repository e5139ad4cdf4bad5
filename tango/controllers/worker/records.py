"""What a process record carries of a replica or an attempt, so that a restarted worker adopts it.

Everything but argv and env of a service is in the record's meta: health checks, quotas and drains
go on before the edge is back; a restart needs its targets, or those that the worker has kept. The
runtime adds "port".
"""

from __future__ import annotations

from dataclasses import dataclass

from tango.algorithms.quota.sides import attempt_group, replica_group
from tango.model.cores import format_cores, parse_cores
from tango.model.errors import InvalidField
from tango.model.fixed_ports import format_ports, parse_ports
from tango.model.job import TaskSpec
from tango.model.process import ProcessRecord
from tango.model.service import HealthCheck, QuotaMode, ServiceSpec

Meta = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class ReplicaRecord:
    """A replica's process as it was found. spec has no argv and no env."""

    record: ProcessRecord
    replica_id: str
    generation: int
    spec: ServiceSpec
    restarts: int
    port: int

    @property
    def group(self) -> str:
        """Its group, where there are any."""
        return replica_group(self.spec.name, self.replica_id)


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """An attempt's process as it was found. spec has no argv and no env."""

    record: ProcessRecord
    attempt_id: str
    spec: TaskSpec
    priority: int = 0
    cores: tuple[int, ...] = ()

    @property
    def group(self) -> str:
        """Its group, where there are any."""
        return attempt_group(self.attempt_id)


def replica_meta(replica_id: str, generation: int, spec: ServiceSpec, restarts: int) -> Meta:
    """Meta of a replica's process; read back by `read_record`."""
    health = spec.health
    port = (("port", str(spec.port)),) if spec.port else ()
    return (
        ("kind", "replica"),
        ("service", spec.name),
        ("generation", str(generation)),
        ("replica_id", replica_id),
        ("restarts", str(restarts)),
        ("cpu", str(spec.cpu_per_request_millis)),
        ("memory", str(spec.memory_bytes)),
        ("memory_per_request", str(spec.memory_per_request_bytes)),
        ("concurrency", str(spec.concurrency)),
        ("quota", spec.quota.value),
        ("quota_base", str(spec.quota_base_millis)),
        ("stop_grace", repr(spec.stop_grace_s)),
        ("timeout", repr(spec.timeout_s)),
        ("health_path", health.path),
        ("health_interval", repr(health.interval_s)),
        ("health_timeout", repr(health.timeout_s)),
        ("health_failures", str(health.failures)),
        ("start_timeout", repr(health.start_timeout_s)),
        *port,
    )


def attempt_meta(
    attempt_id: str, spec: TaskSpec, priority: int = 0, cores: tuple[int, ...] = ()
) -> Meta:
    """Meta of an attempt's process; read back by `read_record`."""
    return (
        ("kind", "attempt"),
        ("attempt_id", attempt_id),
        ("task", spec.name),
        ("cpu", str(spec.cpu_millis)),
        ("memory", str(spec.memory_bytes)),
        ("deadline", repr(spec.deadline_s)),
        ("priority", str(priority)),
        ("stop_grace", repr(spec.stop_grace_s)),
        *((("cores", format_cores(cores)),) if cores else ()),
        *((("ports", format_ports(spec.ports)),) if spec.ports else ()),
    )


def read_record(record: ProcessRecord) -> ReplicaRecord | AttemptRecord | None:
    """What the process is; None where its meta does not say (another version's, or not ours)."""
    meta = dict(record.meta)
    try:
        if meta.get("kind") == "replica":
            return _read_replica(record, meta)
        if meta.get("kind") == "attempt":
            return _read_attempt(record, meta)
    except (InvalidField, KeyError, ValueError):
        return None
    return None


def _read_replica(record: ProcessRecord, meta: dict[str, str]) -> ReplicaRecord:
    replica_group(meta["service"], meta["replica_id"])
    health = HealthCheck(
        path=meta["health_path"],
        interval_s=float(meta["health_interval"]),
        timeout_s=float(meta["health_timeout"]),
        failures=int(meta["health_failures"]),
        start_timeout_s=float(meta["start_timeout"]),
    )
    spec = ServiceSpec(
        name=meta["service"],
        argv=(),
        memory_bytes=int(meta["memory"]),
        cpu_per_request_millis=int(meta["cpu"]),
        memory_per_request_bytes=int(meta["memory_per_request"]),
        concurrency=int(meta["concurrency"]),
        health=health,
        quota=QuotaMode(meta["quota"]),
        quota_base_millis=int(meta["quota_base"]),
        stop_grace_s=float(meta["stop_grace"]),
        timeout_s=float(meta.get("timeout", "5.0")),
    )
    return ReplicaRecord(
        record=record,
        replica_id=meta["replica_id"],
        generation=int(meta["generation"]),
        spec=spec,
        restarts=int(meta["restarts"]),
        port=int(meta.get("port", "0")),
    )


def _read_attempt(record: ProcessRecord, meta: dict[str, str]) -> AttemptRecord:
    attempt_group(meta["attempt_id"])
    cores = parse_cores(meta["cores"], "cores") if "cores" in meta else ()
    spec = TaskSpec(
        name=meta["task"],
        argv=(),
        cpu_millis=int(meta["cpu"]),
        memory_bytes=int(meta["memory"]),
        deadline_s=float(meta["deadline"]),
        stop_grace_s=float(meta["stop_grace"]),
        cores=len(cores),
        ports=parse_ports(meta.get("ports", "")),
    )
    priority = int(meta.get("priority", "0"))
    return AttemptRecord(record, meta["attempt_id"], spec, priority, cores)
