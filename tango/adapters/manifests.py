"""Manifests: the services and jobs that people write in YAML, all of a file or none of it."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from pathlib import Path

from tango.adapters.documents import Section, read_document
from tango.adapters.node_terms import TERMS, read_prefers, read_requires, read_tolerations
from tango.adapters.yaml_documents import parse_yaml
from tango.model.errors import InvalidField
from tango.model.fixed_ports import MAX_PORT
from tango.model.job import (
    CPU_BY_CORES,
    FIX_WITHIN_MS,
    MAX_TASK_CORES,
    MAX_TASKS,
    JobSpec,
    Near,
    TaskSpec,
)
from tango.model.names import check_name
from tango.model.round_trips import MAX_RTT_S
from tango.model.service import Expose, HealthCheck, QuotaMode, ServiceSpec

MAX_MANIFESTS = 1000

_SERVICE = ServiceSpec("default", ("program",))
_TASK = TaskSpec("default", ("program",))
_JOB = JobSpec("default", (_TASK,))
_HOUR_MS = 3_600_000.0
# Keys of a task; at the top level of a job they are its one task.
_TASK_KEYS = (
    "argv", "env", "cpu", "memory", "deadline_s", "stop_grace_s", "cores", "node", "cpuset",
    "near", "backup", "images", "ports", *TERMS,
)  # fmt: skip


class Kind(enum.Enum):
    """What a manifest declares."""

    SERVICE = "Service"
    JOB = "Job"


@dataclass(frozen=True, slots=True)
class Manifest:
    """One document of a manifest file, validated.

    sites: where a service is wanted, empty for every site; always empty for a job.
    where: "file:line" of its first key.
    """

    spec: ServiceSpec | JobSpec
    sites: tuple[str, ...]
    where: str


def load_manifests(path: Path | str, *, stdin: bytes | str | None = None) -> tuple[Manifest, ...]:
    """Every manifest of a file, or of `stdin` where the path is "-".

    Raises InvalidField with field, file and line for the first thing that is wrong; nothing is
    returned unless all of it is right.
    """
    if str(path) == "-":
        if stdin is None:
            raise InvalidField("document", "no standard input was passed", "name a file", "-")
        return read_manifests(stdin, "<stdin>")
    return read_manifests(read_document(Path(path)), str(path))


def read_manifests(data: bytes | str, file: str) -> tuple[Manifest, ...]:
    """As load_manifests, from text; `file` is what errors call it."""
    documents = parse_yaml(data, file)
    if len(documents) > MAX_MANIFESTS:
        raise InvalidField("document", f"has {len(documents)} manifests", "at most 1000", file)
    found: dict[tuple[Kind, str], Manifest] = {}
    for document in documents:
        kind = _kind(document)
        manifest = _service(document) if kind is Kind.SERVICE else _job(document)
        known = found.setdefault((kind, manifest.spec.name), manifest)
        if known is not manifest:
            raise document.error(
                "name",
                f"{kind.value} {manifest.spec.name!r} is declared twice, first at {known.where}",
                "rename or remove one",
            )
    return tuple(found.values())


def _kind(document: Section) -> Kind:
    try:
        return document.choice("kind", Kind)
    except InvalidField as error:
        if error.problem == "is missing":
            fix = error.fix or "write 'kind: Service' or 'kind: Job'"
            raise document.error("kind", error.problem, fix) from None
        raise


def _service(document: Section) -> Manifest:
    deadline_ms = document.number("deadline_ms", _SERVICE.deadline_s * 1000)
    default_timeout_ms = min(max(10 * deadline_ms, 1000.0), _HOUR_MS)
    spec = ServiceSpec(
        name=document.string("name"),
        argv=document.strings("argv"),
        env=document.string_map("env"),
        replicas=document.integer("replicas", _SERVICE.replicas),
        memory_bytes=document.memory("memory", _SERVICE.memory_bytes),
        cpu_per_request_millis=document.cpu("cpu_per_request", _SERVICE.cpu_per_request_millis),
        memory_per_request_bytes=document.memory(
            "memory_per_request", _SERVICE.memory_per_request_bytes
        ),
        concurrency=document.integer("concurrency", _SERVICE.concurrency),
        deadline_s=deadline_ms / 1000,
        timeout_s=document.number("timeout_ms", default_timeout_ms) / 1000,
        priority=document.integer("priority", _SERVICE.priority),
        idempotent=document.boolean("idempotent", _SERVICE.idempotent),
        port=document.integer("port", _SERVICE.port),
        expose=document.choice("expose", Expose, _SERVICE.expose),
        health=_health(document.section("health")),
        quota=document.choice("quota", QuotaMode, _SERVICE.quota),
        quota_base_millis=document.cpu("quota_base", _SERVICE.quota_base_millis),
        stop_grace_s=document.number("stop_grace_s", _SERVICE.stop_grace_s),
        max_queue=document.integer("max_queue", _SERVICE.max_queue),
        images=document.strings("images", _SERVICE.images),
        requires=read_requires(document),
        prefers=read_prefers(document),
        tolerations=read_tolerations(document),
    )
    sites = _sites(document)
    document.finish()
    _validate(spec, document)
    return Manifest(spec, sites, document.where())


def _health(section: Section) -> HealthCheck:
    usual = _SERVICE.health
    return HealthCheck(
        path=section.string("path", usual.path),
        # In the unit of the file: HealthCheck knows these in seconds, and says so in its errors.
        interval_s=_seconds(section, "interval_ms", usual.interval_s, 50, _HOUR_MS),
        timeout_s=_seconds(section, "timeout_ms", usual.timeout_s, 10, 60_000),
        failures=section.integer("failures", usual.failures),
        start_timeout_s=_seconds(section, "start_timeout_ms", usual.start_timeout_s, 100, _HOUR_MS),
    )


def _seconds(section: Section, key: str, default_s: float, low_ms: float, high_ms: float) -> float:
    return section.number(key, default_s * 1000, low=low_ms, high=high_ms) / 1000


def _sites(document: Section) -> tuple[str, ...]:
    sites = document.strings("sites", ())
    if "sites" in document and not sites:
        raise document.error("sites", "is empty", "name a site, or leave it out for all of them")
    for index, site in enumerate(sites):
        field = f"sites[{index}]"
        if site in sites[:index]:
            raise document.error(field, f"{site!r} is given twice", "keep one")
        try:
            check_name(site, field)
        except InvalidField as error:
            raise error.at(document.where(field)) from None
    return sites


def _job(document: Section) -> Manifest:
    many = "tasks" in document
    tasks: tuple[TaskSpec, ...]
    if many:
        sections = document.sections("tasks")
        if len(sections) > MAX_TASKS:
            raise document.error("tasks", f"has {len(sections)}", f"at most {MAX_TASKS}")
        mixed = [key for key in _TASK_KEYS if document.has(key)]
        if mixed:
            raise document.error(
                mixed[0], "stands beside 'tasks'", "move it into each task that it is for"
            )
        tasks = tuple(
            _task(section, section.string("name", f"task-{index}"))
            for index, section in enumerate(sections)
        )
    else:
        tasks = (_task(document, "main"),)
    spec = JobSpec(
        name=document.string("name"),
        tasks=tasks,
        retries=document.integer("retries", _JOB.retries),
        backoff_s=document.number("backoff_s", _JOB.backoff_s),
        backoff_max_s=document.number("backoff_max_s", _JOB.backoff_max_s),
        priority=document.integer("priority", _JOB.priority),
    )
    document.finish()
    _validate(spec, document, drop="" if many else "tasks[0].")
    return Manifest(spec, (), document.where())


def _task(section: Section, name: str) -> TaskSpec:
    return TaskSpec(
        name=name,
        argv=section.strings("argv"),
        env=section.string_map("env"),
        cpu_millis=section.cpu("cpu", CPU_BY_CORES),
        memory_bytes=section.memory("memory", _TASK.memory_bytes),
        cores=section.integer("cores", _TASK.cores, low=0, high=MAX_TASK_CORES),
        node=section.string("node", _TASK.node),
        cpuset=section.core_ids("cpuset"),
        deadline_s=section.number("deadline_s", _TASK.deadline_s),
        stop_grace_s=section.number("stop_grace_s", _TASK.stop_grace_s),
        near=_near(section.section("near")) if "near" in section else None,
        backup=section.boolean("backup", _TASK.backup),
        images=section.strings("images", _TASK.images),
        requires=read_requires(section),
        prefers=read_prefers(section),
        tolerations=read_tolerations(section),
        ports=section.integers("ports", low=1, high=MAX_PORT),
    )


def _near(section: Section) -> Near:
    """{node: NAME, within_ms: 20}, {task: NAME, within_ms: 20}, {service: NAME, within_ms: 20}"""
    within_ms = section.number("within_ms", -1.0, low=0, high=MAX_RTT_S * 1000)
    if within_ms < 0:
        raise section.error("within_ms", "is missing", FIX_WITHIN_MS)
    return Near(
        node=section.string("node", ""),
        task=section.string("task", ""),
        within_s=within_ms / 1000,
        service=section.string("service", ""),
    )


def _validate(spec: ServiceSpec | JobSpec, document: Section, drop: str = "") -> None:
    """The spec's own checks, their errors with the place of the field in the file."""
    try:
        spec.validate()
    except InvalidField as error:
        field = error.field.removeprefix(drop)
        raise InvalidField(field, error.problem, error.fix, document.where(field)) from None
