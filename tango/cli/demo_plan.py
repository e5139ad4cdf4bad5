"""What `tango demo` runs, sized to the machine: two services, their load, batch jobs."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

from tango.adapters.trace_files import TraceSummary, check_azure_llm, read_azure_llm
from tango.model.job import JobSpec, TaskSpec
from tango.model.service import HealthCheck, ServiceSpec
from tango.model.settings import CentralSettings, EdgeSettings
from tango.sdk.embedded_plan import EmbeddedPlan
from tango.sdk.load_sender import ServiceLoad
from tango.workload.arrival import Arrival
from tango.workload.patterns import PatternSpec, arrivals

SITES = 2
REPLICAS = 2
# CPU that a request burns, and what the sample server adds to it; both in ms.
LIGHT_CPU_MS, HEAVY_CPU_MS, SERVER_CPU_MS = 2.0, 8.0, 0.5
LIGHT_DEADLINE_MS, HEAVY_DEADLINE_MS = 50.0, 150.0
# Shares of all nodes' CPU that the services get to do on average; batch jobs take what is left.
LIGHT_SHARE, HEAVY_SHARE = 0.10, 0.17
# One client process, and the daemons on their reserve, carry this much with ease.
MOST_LIGHT_PER_S, MOST_HEAVY_PER_S = 150.0, 60.0
# A node takes about so many tasks while no request is served.
TASKS_PER_NODE = 5
JOBS_QUEUED = 4
# CPU seconds that a job takes, and per MiB of its kinds of work (measured at 2 to 3 GHz).
JOB_CPU_S = (0.2, 0.8)
ZLIB_CPU_S_PER_MIB, SHA256_CPU_S_PER_MIB = 0.055, 0.003
_MIB = 2**20


@dataclass(frozen=True, slots=True)
class DemoPlan:
    """services, and the mean rate of each in requests/s over all sites; jobs_open: how many jobs
    are kept running or queued."""

    services: tuple[ServiceSpec, ...]
    rates_per_s: tuple[float, ...]
    task_cpu_millis: int
    jobs_open: int


def demo_plan(cluster: EmbeddedPlan) -> DemoPlan:
    """Sized so that several requests fit on a node at once, and batch jobs queue."""
    total_millis = sum(node.cpu_millis for node in cluster.nodes)
    smallest_millis = min(node.cpu_millis for node in cluster.nodes)
    light_per_s = total_millis * LIGHT_SHARE / (LIGHT_CPU_MS + SERVER_CPU_MS)
    heavy_per_s = total_millis * HEAVY_SHARE / (HEAVY_CPU_MS + SERVER_CPU_MS)
    task_millis = min(1000, max(1, smallest_millis // TASKS_PER_NODE))
    slots = sum(node.cpu_millis // task_millis for node in cluster.nodes)
    return DemoPlan(
        (
            _service("light", LIGHT_CPU_MS, min(100, smallest_millis // 6), LIGHT_DEADLINE_MS),
            _service("heavy", HEAVY_CPU_MS, min(150, smallest_millis // 4), HEAVY_DEADLINE_MS),
        ),
        (min(MOST_LIGHT_PER_S, light_per_s), min(MOST_HEAVY_PER_S, heavy_per_s)),
        task_millis,
        slots + JOBS_QUEUED,
    )


def _service(name: str, cpu_ms: float, held_millis: int, deadline_ms: float) -> ServiceSpec:
    argv = (
        _python(),
        "-m",
        "tango.cli.samples.burner",
        "--port",
        "{port}",
        "--cpu-ms",
        f"{cpu_ms}",
    )
    return ServiceSpec(
        name,
        argv,
        replicas=REPLICAS,
        memory_bytes=96 * _MIB,
        cpu_per_request_millis=max(1, held_millis),
        deadline_s=deadline_ms / 1000,
        timeout_s=2.0,
        health=HealthCheck(interval_s=1.0),
        stop_grace_s=2.0,
    )


def _python() -> str:
    # Not resolved: through its link this environment's Python knows where its packages are.
    return os.path.abspath(sys.executable)  # noqa: PTH100


# ---- load


@dataclass(frozen=True, slots=True)
class DemoTrace:
    """A trace that was read once already. speed_up brings it to the rate that the demo is for."""

    path: Path
    found: TraceSummary
    speed_up: float


def demo_trace(path: Path, rate_per_s: float, duration_s: float) -> DemoTrace:
    """How fast to replay a trace so that it brings rate_per_s, or, if it is too short for that, so
    that it lasts for the whole demo. Raises InvalidField for a broken trace."""
    found = check_azure_llm(path)
    if found.span_s <= 0:
        return DemoTrace(path, found, 1.0)
    speed_up = min(rate_per_s / found.mean_rate_per_s, found.span_s / duration_s)
    return DemoTrace(path, found, speed_up)


def demo_loads(
    plan: DemoPlan, sites: tuple[str, ...], duration_s: float, seed: int, trace: DemoTrace | None
) -> list[ServiceLoad]:
    """`light` follows a day's curve, `heavy` comes in bursts, or follows the trace."""
    light, heavy = plan.services
    light_per_s, heavy_per_s = plan.rates_per_s
    rng = random.Random(seed)
    day = PatternSpec("diurnal", light_per_s, duration_s)
    light_arrivals = arrivals(day, random.Random(rng.random()))
    heavy_arrivals: Iterable[Arrival]
    if trace is None:
        # Short states, so that a short demo too has several of them, and about the mean rate.
        bursts = PatternSpec(
            "bursty", heavy_per_s, duration_s, burst_on_s=0.7, burst_off_s=2.1, burst_factor=2.5
        )
        heavy_arrivals = arrivals(bursts, random.Random(rng.random()))
    else:
        heavy_arrivals = read_azure_llm(trace.path, speed_up=trace.speed_up, duration_s=duration_s)
    return [
        ServiceLoad(spec.name, source, spec.deadline_s, sites, timeout_s=spec.timeout_s)
        for spec, source in ((light, light_arrivals), (heavy, heavy_arrivals))
    ]


def load_words(plan: DemoPlan, trace: DemoTrace | None) -> list[str]:
    """What will be sent, for people, a line each."""
    light, heavy = plan.services
    heavy_rate = (
        f"about {plan.rates_per_s[1]:.0f} requests/s in bursts"
        if trace is None
        else f"as in {trace.path.name}, {trace.speed_up:.3g} times as fast"
    )
    return [
        f"  {name}: {cpu_ms:g} ms of CPU a request, due within {deadline_ms:g} ms, {rate}"
        for name, cpu_ms, deadline_ms, rate in (
            (
                light.name, LIGHT_CPU_MS, LIGHT_DEADLINE_MS,
                f"about {plan.rates_per_s[0]:.0f} requests/s that follow a day's curve",
            ),
            (heavy.name, HEAVY_CPU_MS, HEAVY_DEADLINE_MS, heavy_rate),
        )
    ]  # fmt: skip


# ---- jobs


def demo_job(number: int, cpu_millis: int, rng: random.Random) -> JobSpec:
    """The next batch job: compresses or hashes Python's own library, under a second of CPU."""
    cpu_s = rng.uniform(*JOB_CPU_S)
    compresses = rng.random() < 0.5
    per_mib = ZLIB_CPU_S_PER_MIB if compresses else SHA256_CPU_S_PER_MIB
    mode = "compress" if compresses else "hash"
    argv = (
        _python(), "-m", "tango.cli.samples.crunch",
        "--mode", mode, "--mebibytes", f"{cpu_s / per_mib:.1f}",
    )  # fmt: skip
    task = TaskSpec(mode, argv, cpu_millis=cpu_millis, memory_bytes=96 * _MIB, stop_grace_s=1.0)
    return JobSpec(f"{mode}-{number}", (task,))


def default_policies() -> dict[str, str]:
    """An embedded cluster runs the policies that the daemons' settings name by default."""
    return {
        "traffic": _default(EdgeSettings, "traffic_policy"),
        "batch": _default(CentralSettings, "batch_policy"),
    }


def _default(settings: type, name: str) -> str:
    return next(str(field.default) for field in fields(settings) if field.name == name)
