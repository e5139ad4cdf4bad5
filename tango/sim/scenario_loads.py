"""[[services]], [[loads]] and [[jobs]] of a scenario file: what is offered, and where."""

from __future__ import annotations

import enum
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tango.adapters.documents import Section
from tango.model.errors import InvalidField
from tango.model.service import QuotaMode, ServiceSpec
from tango.sim.loads import (
    Distribution,
    JobLoad,
    JobShape,
    RequestLoad,
    SimService,
    TraceLoad,
)
from tango.sim.scenario import validate_shape
from tango.sim.scenario_fields import (
    Reading,
    known_names,
    milliseconds,
    placed,
    require_known,
)
from tango.sim.scenario_topology import Places
from tango.sim.scenario_traces import job_source, request_arrivals_of, told_of
from tango.sim.trace_pace import asked_words, mean_over
from tango.sim.trace_sources import TracedUsers
from tango.workload.job_patterns import JobPatternSpec
from tango.workload.patterns import MAX_RATE_PER_S, PatternSpec

_SPEC = ServiceSpec("default", ("simulated",))
_SERVICE = SimService(_SPEC, 0.001)
_SHAPE = JobShape(1.0)
_PATTERN = PatternSpec("steady", 1.0, 1.0)
_JOBS = JobPatternSpec("steady", 1.0, 1.0)
_HOUR_MS = 3_600_000.0


class Per(enum.Enum):
    """What a rate is of. SITE, NODE: of each one. TOTAL: of all sites together, by their shares of
    the users. TURNS: of all together, to one site after the other."""

    SITE = "site"
    NODE = "node"
    TOTAL = "total"
    TURNS = "turns"


@dataclass(frozen=True, slots=True)
class _Spread:
    """Which part of a load each site gets. sites: (name, part), the parts adding up to 1."""

    per: Per
    sites: tuple[tuple[str, float], ...]
    even: bool

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.sites)


def read_services(document: Section, places: Places) -> tuple[SimService, ...]:
    """[[services]]. Raises InvalidField with field, file and line."""
    seen: set[str] = set()
    found = []
    for table in document.sections("services"):
        service = _service(table, places)
        if service.spec.name in seen:
            raise table.error("name", f"{service.spec.name!r} is given twice", "rename one")
        seen.add(service.spec.name)
        found.append(service)
    return tuple(found)


def _service(section: Section, places: Places) -> SimService:
    deadline_s = milliseconds(section, "deadline_ms", None, 1, _HOUR_MS)
    default_timeout_s = min(max(10 * deadline_s, 1.0), _HOUR_MS / 1000)
    spec = ServiceSpec(
        name=section.string("name"),
        argv=_SPEC.argv,
        replicas=section.integer("replicas", _SPEC.replicas),
        memory_bytes=section.memory("memory", _SPEC.memory_bytes),
        cpu_per_request_millis=section.cpu("cpu_per_request", _SPEC.cpu_per_request_millis),
        memory_per_request_bytes=section.memory(
            "memory_per_request", _SPEC.memory_per_request_bytes
        ),
        concurrency=section.integer("concurrency", _SPEC.concurrency),
        deadline_s=deadline_s,
        timeout_s=milliseconds(section, "timeout_ms", default_timeout_s),
        priority=section.integer("priority", _SPEC.priority),
        idempotent=section.boolean("idempotent", _SPEC.idempotent),
        quota=section.choice("quota", QuotaMode, _SPEC.quota),
        quota_base_millis=section.cpu("quota_base", _SPEC.quota_base_millis),
        max_queue=section.integer("max_queue", _SPEC.max_queue),
    )
    with placed(section):
        spec.validate()
    replicas_at = section.items("replicas_at")
    for site, item in replicas_at:
        key = f"replicas_at.{site}"
        require_known(section, key, site, places.sites, "site")
        if not isinstance(item.value, int) or not 0 <= item.value <= 1000:
            raise section.error(key, f"{item.value!r} is no number of replicas", "use 0 to 1000")
    return SimService(
        spec,
        milliseconds(section, "cpu_ms", None, 0.001, _HOUR_MS),
        section.choice("distribution", Distribution, _SERVICE.distribution),
        section.integer("threads", _SERVICE.threads, low=1, high=1024),
        milliseconds(section, "start_ms", _SERVICE.start_s),
        known_names(section, "sites", places.sites, "site"),
        tuple((site, item.value) for site, item in replicas_at if isinstance(item.value, int)),
    )


def read_loads(
    document: Section, services: Sequence[SimService], places: Places, reading: Reading
) -> tuple[RequestLoad | TraceLoad, ...]:
    """[[loads]]; one with a rate of its own at each site becomes several."""
    if "loads" not in document:
        return ()
    by_name = {service.spec.name: service for service in services}
    found: list[RequestLoad | TraceLoad] = []
    for index, table in enumerate(document.sections("loads")):
        name = table.string("service")
        require_known(table, "service", name, tuple(by_name), "service")
        # Where users are is chance too: drawn with the seed, and the same for every policy.
        rng = random.Random(f"{reading.seed} spread {index}")
        service = by_name[name]
        spread = _spread(table, service, places, rng)
        deadline_s = milliseconds(table, "deadline_ms", 0.0, 1, _HOUR_MS)
        if "trace" in table:
            found.append(_traced(table, service, spread, deadline_s, places, reading))
        else:
            found += _patterns(table, service, spread, deadline_s, places, reading)
    return tuple(found)


def _spread(section: Section, service: SimService, places: Places, rng: random.Random) -> _Spread:
    per = section.choice("per", Per, Per.TURNS if "trace" in section else Per.SITE)
    having = service.sites or places.sites
    names = known_names(section, "sites", having, f"site with {service.spec.name}") or having
    skew = section.number("skew", 0.0, low=0, high=3)
    if skew and per is Per.TURNS:
        raise section.error("skew", "with turns each site has the same", "leave one of them out")
    nodes = {site.name: len(site.nodes) for site in places.topology.sites}
    parts = []
    for name in names:
        part = float(nodes[name]) if per is Per.NODE else 1.0
        if per is Per.TOTAL and places.shares:
            part = places.shares[name]
        parts.append(part * (rng.lognormvariate(0, skew) if skew else 1.0))
    total = sum(parts)
    if not total:
        raise section.error("sites", "have no users", "name others")
    sites = tuple((name, part / total) for name, part in zip(names, parts, strict=True) if part > 0)
    return _Spread(per, sites, len(set(parts)) == 1)


def _total_rate(
    section: Section, service: SimService, spread: _Spread, places: Places, load: float
) -> float | None:
    """Requests a second at all sites together; None where the file says neither."""
    if "rate" in section and "cpu_load" in section:
        raise section.error("cpu_load", "stands beside 'rate'", "leave one of them out")
    if "cpu_load" in section:
        cores = places.cpu_millis / 1000
        return section.number("cpu_load", low=0.0001, high=100) * load * cores / service.cpu_s
    if "rate" not in section:
        return None
    rate = section.number("rate", low=0.000001, high=MAX_RATE_PER_S * 100) * load
    match spread.per:
        case Per.SITE:
            return rate * len(spread.sites)
        case Per.NODE:
            chosen = set(spread.names)
            return rate * sum(len(s.nodes) for s in places.topology.sites if s.name in chosen)
        case _:
            return rate


def _patterns(
    section: Section,
    service: SimService,
    spread: _Spread,
    deadline_s: float,
    places: Places,
    reading: Reading,
) -> list[RequestLoad]:
    total = _total_rate(section, service, spread, places, reading.load)
    if total is None:
        try:
            total = section.number("rate")
        except InvalidField as error:
            fix = error.fix or "give requests a second, or cpu_load"
            raise section.error("rate", error.problem, fix).at(error.where) from None
    name = service.spec.name
    if spread.per is Per.TURNS:
        source = _pattern(section, total, reading.duration_s)
        return [RequestLoad(name, source, spread.names, each=False, deadline_s=deadline_s)]
    if spread.even:
        source = _pattern(section, total / len(spread.sites), reading.duration_s)
        return [RequestLoad(name, source, spread.names, each=True, deadline_s=deadline_s)]
    return [
        RequestLoad(
            name, _pattern(section, total * part, reading.duration_s), (site,), True, deadline_s
        )
        for site, part in spread.sites
    ]


def _pattern(section: Section, rate: float, duration_s: float) -> PatternSpec:
    with placed(section, name="pattern", rate_per_s="rate"):
        return PatternSpec(
            section.string("pattern", _PATTERN.name),
            rate,
            duration_s,
            section.boolean("evenly", _PATTERN.evenly),
            section.number("swing", _PATTERN.swing),
            section.number("period_s") if "period_s" in section else None,
            section.number("burst_factor", _PATTERN.burst_factor),
            section.number("burst_on_s", _PATTERN.burst_on_s),
            section.number("burst_off_s", _PATTERN.burst_off_s),
        )


def _traced(
    section: Section,
    service: SimService,
    spread: _Spread,
    deadline_s: float,
    places: Places,
    reading: Reading,
) -> TraceLoad:
    rate = _total_rate(section, service, spread, places, reading.load)
    over = mean_over(section)
    arrivals = request_arrivals_of(section, places, reading, rate, over)
    asked = "" if rate is None else asked_words(section, over, f"{rate:,.4g}/s")
    factor = section.number("deadline_factor", 0.0, low=0, high=1e6)
    if factor and deadline_s:
        raise section.error("deadline_factor", "stands beside 'deadline_ms'", "leave one out")
    weights = tuple(part for _, part in spread.sites)
    users = TracedUsers(
        told_of(section, service.spec.name, reading, asked),
        service.spec.name,
        spread.names,
        () if spread.per is Per.TURNS else weights,
        arrivals,
        service.cpu_s * factor,
        deadline_s or service.spec.deadline_s,
        sends_deadline=bool(deadline_s or factor),
    )
    return TraceLoad(users)


def read_jobs(document: Section, places: Places, reading: Reading) -> tuple[JobLoad, ...]:
    """[[jobs]]. Raises InvalidField with field, file and line."""
    if "jobs" not in document:
        return ()
    found = []
    for index, table in enumerate(document.sections("jobs")):
        name = table.string("name", f"job-{index + 1}")
        if "trace" in table:
            found.append(JobLoad(job_source(table, name, places, reading)))
            continue
        shape = _shape(table, name)
        found.append(JobLoad(_job_pattern(table, shape, places, reading), shape))
    return tuple(found)


def _shape(section: Section, name: str) -> JobShape:
    shape = JobShape(
        section.number("cpu_s", low=0.000001),
        section.integer("tasks", _SHAPE.tasks),
        section.cpu("cpu", _SHAPE.cpu_millis),
        section.memory("memory", _SHAPE.memory_bytes),
        section.number("used_share", _SHAPE.used_share),
        section.integer("priority", _SHAPE.priority),
        section.integer("retries", _SHAPE.retries),
        section.number("threads", _SHAPE.threads),
        section.choice("distribution", Distribution, _SHAPE.distribution),
        name,
    )
    keys = {"work_cpu_s": "cpu_s", "cpu_millis": "cpu", "memory_bytes": "memory"}
    with placed(section, **{f"shape.{field}": key for field, key in _keys(keys).items()}):
        validate_shape(shape)
    return shape


def _keys(others: Mapping[str, str]) -> dict[str, str]:
    """Keys of a shape's fields: their own names but for `others`."""
    same = ("name", "used_share", "threads", "tasks", "priority", "retries")
    return {**{field: field for field in same}, **others}


def _job_pattern(
    section: Section, shape: JobShape, places: Places, reading: Reading
) -> JobPatternSpec:
    pattern = section.string("pattern", _JOBS.name)
    count = section.number("count", _JOBS.a)
    given = [key for key in ("interval_s", "cpu_load") if key in section]
    if len(given) != 1:
        problem = "stand together" if given else "are both missing"
        raise section.error("interval_s", f"interval_s and cpu_load {problem}", "give one of them")
    if given == ["interval_s"]:
        interval_s = section.number("interval_s", low=0.001) / reading.load
    else:
        if pattern != "steady":
            raise section.error("cpu_load", "goes with steady only", "give interval_s")
        wanted = section.number("cpu_load", low=0.0001, high=100) * reading.load
        demand_s = count * shape.tasks * shape.work_cpu_s
        interval_s = demand_s / (wanted * places.cpu_millis / 1000)
    with placed(section, name="pattern", a="count", b="first"):
        return JobPatternSpec(
            pattern,
            interval_s,
            reading.duration_s,
            count,
            section.number("first", _JOBS.b),
            section.number("burst_lambda", _JOBS.burst_lambda),
            section.integer("lo", _JOBS.lo),
            section.integer("hi", _JOBS.hi),
        )
