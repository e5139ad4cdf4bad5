"""The node of `tango bench colocation`: one core of its own, everything else on the others."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass

import psutil

from tango.adapters.cgroup_detect import detect
from tango.adapters.cgroup_driver import CgroupDriver
from tango.cli.benches import colocation_modes as modes
from tango.cli.benches.be_work import COUNT, count_in
from tango.cli.benches.figures import BenchFailed
from tango.cli.benches.process_cpu import keep_on
from tango.cli.benches.programs import program, stop_and_wait
from tango.model.cgroup import GroupTarget
from tango.model.errors import TangoError
from tango.model.job import JobSpec, TaskSpec
from tango.model.service import HealthCheck, ServiceSpec
from tango.sdk.client import Client
from tango.sdk.embedded import EmbeddedCluster
from tango.sdk.load import LoadRunner, ServiceLoad
from tango.workload.arrival import Arrival

SERVICE = "service"
CPU_MS, DEADLINE_MS = 2.0, 50.0
BE_TASKS = 2
START_S = 60.0
SETTLE_S = 1.0
_MIB = 2**20


@dataclass(frozen=True, slots=True)
class RunFigures:
    """One run of one mode. Latencies in ms; shares 0..1; be_work: blocks a second."""

    lc_p50_ms: float
    lc_p95_ms: float
    lc_p99_ms: float
    qos_rate: float
    be_work: float
    be_cpu_fraction: float
    cpu_utilisation: float


class Node:
    """The embedded node, its worker ours to restart, and its two sides' groups."""

    def __init__(self, cluster: EmbeddedCluster, static_lc_share: float) -> None:
        self._cluster = cluster
        self._static_lc_share = static_lc_share
        (self._config,) = (cluster.state_dir / "configs").glob("node-*.toml")
        name = self._config.stem.removeprefix("node-")
        found = detect(f"{cluster.cgroup_root}/{name}").cgroups
        if found is None:
            raise BenchFailed("this machine lets us use no control groups")
        self._groups: CgroupDriver = found
        self._counters = [cluster.state_dir / f"be-{index}" for index in range(BE_TASKS)]
        self._worker = contextlib.ExitStack()
        self._enforces = True
        self.capacity_millis = 1000

    async def set_up(self, client: Client) -> None:
        """The service and the BE work, both running."""
        python = _python()
        for counter in self._counters:
            counter.write_bytes(COUNT.pack(0))
        await client.apply(_service(python), wait_s=START_S)
        tasks = tuple(
            TaskSpec(
                f"be-{index}",
                (python, "-m", "tango.cli.benches.be_work", str(counter)),
                cpu_millis=300,
                memory_bytes=96 * _MIB,
            )
            for index, counter in enumerate(self._counters)
        )
        await client.submit(JobSpec("work", tasks))
        await self._until(lambda: len(self._be_pids()) == BE_TASKS, "the BE tasks to run")
        self._pin_daemons()

    async def enter(self, mode: str, client: Client) -> None:
        """Bring the node under a mode's rule; its worker is restarted where that needs it."""
        self._signal_be(signal.SIGCONT)
        enforces = mode == modes.TANGO
        if enforces != self._enforces:
            self._restart_worker(enforces)
            await self._answers(client)
            self._pin_daemons()
        if not enforces:
            self._enforces = False
            self._open()
            rule = modes.rule(mode, self.capacity_millis, self._static_lc_share)
            self._apply("lc", rule.lc)
            self._apply("be", rule.be)
        if mode == "alone":
            self._signal_be(signal.SIGSTOP)
        await asyncio.sleep(SETTLE_S)

    async def run(self, mode: str, client: Client, arrivals: Sequence[Arrival]) -> RunFigures:
        """Send the arrivals under the mode's rule."""
        load = ServiceLoad(SERVICE, arrivals, DEADLINE_MS / 1000, client.sites, timeout_s=2.0)
        runner = LoadRunner(client, [load])
        async with self._ruling(mode):
            before, begun = self._used(), time.monotonic()
            record = await runner.run()
            after, took_s = self._used(), time.monotonic() - begun
        tally = record.services[SERVICE].tally
        latency = tally.latency
        if not latency.count:
            raise BenchFailed(f"mode {mode}: no request was answered")
        p50, p95, p99 = latency.percentiles(50, 95, 99)
        lc_s, be_s, work = (now - then for now, then in zip(after, before, strict=True))
        capacity_s = took_s * self.capacity_millis / 1000
        return RunFigures(
            p50, p95, p99, tally.ended.completed / tally.sent, work / took_s,
            be_s / max(1e-9, capacity_s - lc_s), (lc_s + be_s) / capacity_s,
        )  # fmt: skip

    def close(self) -> None:
        """End the worker that this started; the cluster ends the rest."""
        self._signal_be(signal.SIGCONT)
        self._worker.close()

    # ---- rules

    @contextlib.asynccontextmanager
    async def _ruling(self, mode: str) -> AsyncGenerator[None, None]:
        """The mode's control loop, where it has one."""
        if mode != "koordinator":
            yield
            return
        loop = asyncio.ensure_future(self._koordinator())
        try:
            yield
        finally:
            loop.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await loop

    async def _koordinator(self) -> None:
        capacity = self.capacity_millis
        # As after a long time at this load, not after a start at the floor.
        before = capacity * modes.KOORDINATOR_THRESHOLD
        used_s, at = self._groups.usage("lc").cpu_s, time.monotonic()
        while True:
            self._apply("be", modes.quota(before))
            await asyncio.sleep(modes.KOORDINATOR_PERIOD_S)
            now_s, now = self._groups.usage("lc").cpu_s, time.monotonic()
            lc_millis = 1000 * (now_s - used_s) / (now - at)
            used_s, at = now_s, now
            before = modes.koordinator_quota(capacity, lc_millis, before)

    def _open(self) -> None:
        """Take back what Tango set below the two sides, so that only the mode's rule counts."""
        for group in self._groups.groups():
            if group.startswith(("lc/", "be/")):
                self._apply(group, modes.rule("none", self.capacity_millis, 0.5).lc)

    def _apply(self, group: str, target: GroupTarget) -> None:
        wrong = self._groups.apply(group, target)
        if wrong:
            raise BenchFailed(f"the kernel did not take {wrong}")

    # ---- what was used

    def _used(self) -> tuple[float, float, int]:
        """CPU seconds of both sides, and blocks of BE work."""
        return (
            self._groups.usage("lc").cpu_s,
            self._groups.usage("be").cpu_s,
            sum(count_in(counter) for counter in self._counters),
        )

    # ---- processes

    def _be_pids(self) -> list[int]:
        groups = [group for group in self._groups.groups() if group.startswith("be/")]
        return [pid for group in groups for pid in self._groups.procs(group)]

    def _signal_be(self, number: signal.Signals) -> None:
        for pid in self._be_pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _pin_daemons(self) -> None:
        """The daemons and this process keep off the node's core."""
        own = self._groups.read("").cpuset
        others = os.sched_getaffinity(0) - {int(core) for core in (own or "").split(",") if core}
        members = json.loads((self._cluster.state_dir / "processes.json").read_text())
        pids = [member["pid"] for member in members if psutil.pid_exists(member["pid"])]
        keep_on((*pids, os.getpid(), *(p.pid for p in psutil.Process().children())), others)

    def _restart_worker(self, enforces: bool) -> None:
        self._worker.close()
        members = json.loads((self._cluster.state_dir / "processes.json").read_text())
        (pid,) = (member["pid"] for member in members if member["name"] == self._config.stem)
        stop_and_wait(pid)
        config = self._config.with_name(f"{self._config.stem}-bench.toml")
        config.touch(mode=0o600)
        text = self._config.read_text()
        config.write_text(text if enforces else f"{text}enforce = false\n")
        log = self._worker.enter_context((self._cluster.state_dir / "worker.log").open("ab"))
        words = ("worker", "-c", str(config))
        self._worker.enter_context(program("tango.daemons", words, stderr=log))
        self._enforces = enforces

    async def _answers(self, client: Client) -> None:
        """Until the service answers through the worker that was just started."""
        limit = time.monotonic() + START_S
        while True:
            try:
                await client.call(SERVICE)
            except TangoError as error:
                if time.monotonic() > limit:
                    raise BenchFailed(f"the service does not answer: {error}") from None
                await asyncio.sleep(0.1)
            else:
                return

    async def _until(self, holds: Callable[[], bool], what: str) -> None:
        limit = time.monotonic() + START_S
        while not holds():
            if time.monotonic() > limit:
                raise BenchFailed(f"not within {START_S:.0f} s: {what}")
            await asyncio.sleep(0.05)


def _python() -> str:
    # Not resolved: through its link this environment's Python knows where its packages are.
    return os.path.abspath(sys.executable)  # noqa: PTH100


def _service(python: str) -> ServiceSpec:
    argv = (
        python, "-m", "tango.cli.samples.burner", "--port", "{port}", "--cpu-ms", f"{CPU_MS:g}",
    )  # fmt: skip
    return ServiceSpec(
        SERVICE,
        argv,
        memory_bytes=96 * _MIB,
        concurrency=16,
        cpu_per_request_millis=60,
        deadline_s=DEADLINE_MS / 1000,
        timeout_s=2.0,
        health=HealthCheck(interval_s=1.0),
    )
