"""QoS re-assurance on a real cluster of two nodes: what is injected, and what follows from it.

Phases: with a far target, from which the real one is set (the p95 then has a slack of 0.2), work as
declared, a quarter more, as declared, node a1 at half speed (its replica stands
still half of the time, as on a machine that is paused or overheats), as declared. Open-loop load of
10 requests a second.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from tango.adapters.cgroup_detect import detect
from tango.model.cgroup import GroupTarget
from tango.model.service import HealthCheck, QuotaMode, ServiceSpec
from tango.sdk.client import Client
from tango.sdk.embedded import EmbeddedCluster

NAME, NODE = "assured", "a1"
BURNER = "tango.cli.samples.burner"
NEED_MILLIS, CPU_MS, RATE = 300, 20.0, 10.0
CALIBRATION_S, USUAL_SLACK, FAR_MS = 8.0, 0.2, 4000.0
SAMPLE_S = 0.25
# Longer than a few periods of the quota, or it would make up for it.
STILL_S = 0.06


@dataclass
class Phase:
    """work: of each request, 1.0 as declared. slow: the node runs at half of what it needs."""

    name: str
    seconds: float
    work: float = 1.0
    slow: bool = False


@dataclass
class Record:
    """What was seen, in seconds from the start."""

    calls: list[tuple[float, float, str, str]] = field(default_factory=list)
    qos: list[tuple[float, str, int, float, bool, str]] = field(default_factory=list)
    phases: list[tuple[float, str]] = field(default_factory=list)
    target_ms: float = FAR_MS


def spec() -> ServiceSpec:
    """A service whose latency goes as 1 / CPU: its quota follows its one request.

    With more of them at once the quota would be that of the most in the last second.
    """
    return ServiceSpec(
        NAME,
        (sys.executable, "-m", BURNER, "--cpu-ms", str(CPU_MS)),
        replicas=2,
        concurrency=1,
        cpu_per_request_millis=NEED_MILLIS,
        deadline_s=FAR_MS / 1000,
        timeout_s=5.0,
        quota=QuotaMode.FOLLOW,
        quota_base_millis=100,  # at less the period is longer, and a burst takes a whole request
        health=HealthCheck(timeout_s=3.0, failures=10),
    )  # fmt: skip


async def load(client: Client, phases: list[Phase], record: Record) -> None:
    """Open-loop calls through all phases; views of the service beside them."""
    begun = time.monotonic()
    drawn = random.Random(7)
    running: set[asyncio.Task[None]] = set()

    async def one(work: float) -> None:
        sent = time.monotonic()
        reply = await calls.call(
            client.request(
                NAME,
                headers=(("x-work", str(work)),),
                deadline_ms=record.target_ms,
                timeout_ms=5000,
            )
        )
        latency_ms = (time.monotonic() - sent) * 1000
        record.calls.append((sent - begun, latency_ms, reply.node, reply.outcome.value))

    async def watch() -> None:
        while True:
            for view in await client.services():
                for qos in view.qos:
                    record.qos.append(
                        (
                            time.monotonic() - begun,
                            qos.node,
                            qos.cpu_per_request_millis,
                            qos.slack,
                            qos.saturated,
                            qos.why,
                        )
                    )
            await asyncio.sleep(SAMPLE_S)

    async with client.calls() as calls:
        watcher = asyncio.create_task(watch())
        (view,) = await client.services()
        (pid,) = [one.status.pid for one in view.replicas if one.node == NODE]
        slow = asyncio.Event()
        halving = asyncio.create_task(halved(pid, slow))
        at = begun
        for phase in phases:
            record.phases.append((time.monotonic() - begun, phase.name))
            print(f"{time.monotonic() - begun:6.1f} s  {phase.name}", flush=True)
            slow.set() if phase.slow else slow.clear()
            end = at + phase.seconds
            while at < end:
                # One in each 1/RATE, anywhere in it: the loop is shown, not a queue's noise.
                await asyncio.sleep(max(0.0, at + drawn.random() / RATE - time.monotonic()))
                at += 1 / RATE
                task = asyncio.create_task(one(phase.work))
                running.add(task)
                task.add_done_callback(running.discard)
            if record.target_ms == FAR_MS:
                usual = sorted(call[1] for call in record.calls)
                # The target leaves the usual p95 in the middle of the rest band.
                record.target_ms = usual[int(0.95 * len(usual))] / (1 - USUAL_SLACK)
                print(f"        target: {record.target_ms:.0f} ms")
        slow.clear()
        await asyncio.gather(*running, return_exceptions=True)
        for task in (watcher, halving):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def halved(pid: int, slow: asyncio.Event) -> None:
    """While `slow` is set the process stands still for half of the time."""
    while True:
        await slow.wait()
        os.kill(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(STILL_S)
        finally:
            os.kill(pid, signal.SIGCONT)
        await asyncio.sleep(STILL_S)


def put_first(cluster: EmbeddedCluster) -> None:
    """Before everything else on this machine: what is shown is the loop, not other work's noise."""
    found = detect(cluster.cgroup_root)
    if found.cgroups is None:
        sys.exit(f"no control groups here: {found.reason}")
    with found.cgroups as cgroups:
        cgroups.apply("", GroupTarget(weight=10_000))
    members = json.loads((cluster.state_dir / "processes.json").read_text())
    for pid in (0, *(member["pid"] for member in members)):
        with contextlib.suppress(PermissionError, ProcessLookupError):
            os.setpriority(os.PRIO_PROCESS, pid, -15)


def summary(record: Record, phases: list[Phase]) -> list[dict[str, object]]:
    """Of each phase: latency at its begin and end, CPU per request, share of requests on NODE."""
    rows: list[dict[str, object]] = []
    ends = [at for at, _ in record.phases[1:]] + [float("inf")]
    for (begin, name), end in zip(record.phases, ends, strict=True):
        calls = [call for call in record.calls if begin <= call[0] < end]
        last = [call for call in calls if call[0] >= calls[-1][0] - 5.0]
        seen = [one for one in record.qos if begin <= one[0] < end and one[1] == NODE]
        in_time = sum(call[3] == "completed" for call in calls)
        back = [one[0] - begin for one in seen if one[3] >= 0.1 and one[0] > begin + 1.5]
        rows.append(
            {
                "phase": name,
                "requests": len(calls),
                "in_time": in_time / len(calls),
                "in_time_last_5_s": sum(call[3] == "completed" for call in last) / len(last),
                "cpu_per_request_millis": [seen[0][2], seen[-1][2]] if seen else [],
                "saturated": any(one[4] for one in seen),
                "share_of_a1_last_5_s": sum(call[2] == NODE for call in last) / len(last),
                "back_above_alpha_s": round(back[0], 2) if back else None,
            }
        )
    return rows


def draw(record: Record, path: Path) -> None:
    """Latencies over the target, and CPU per request by node."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (above, below) = plt.subplots(2, 1, figsize=(11, 7), sharex=True)
    for node, colour in (("a1", "tab:blue"), ("a2", "tab:orange")):
        calls = [call for call in record.calls if call[2] == node]
        above.plot([c[0] for c in calls], [c[1] for c in calls], ".", ms=3, c=colour, label=node)
        seen = [one for one in record.qos if one[1] == node]
        below.step([s[0] for s in seen], [s[2] for s in seen], where="post", c=colour, label=node)
        for one in seen:
            if one[4]:
                below.plot(one[0], one[2], "v", c="tab:red", ms=4)
    above.axhline(record.target_ms, c="tab:red", lw=1, label="target")
    above.set_ylim(0, 4 * record.target_ms)
    above.set_ylabel("latency of a request, ms")
    below.axhline(NEED_MILLIS, c="grey", lw=1, label="declared")
    below.set_ylabel("CPU per request, millicores (red: saturated)")
    below.set_xlabel("seconds")
    for number, (at, name) in enumerate(record.phases):
        for axes in (above, below):
            axes.axvline(at, c="grey", lw=0.5, ls=":")
        # The first one is short: its name would run into the next.
        above.text(at + 0.5, (3.7 if number else 3.4) * record.target_ms, name, fontsize=8)
    above.legend(loc="center left", fontsize=8)
    below.legend(loc="center left", fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    """Run, print a row for each phase, write report and plot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plot", type=Path, default=Path("reassurance.png"))
    parser.add_argument("--report", type=Path)
    parser.add_argument("--seconds", type=float, default=45.0, help="of each phase")
    args = parser.parse_args()
    phases = [
        Phase("far target", CALIBRATION_S),
        Phase("as declared", args.seconds),
        Phase("+25 % work", args.seconds, work=1.25),
        Phase("as declared again", args.seconds),
        Phase("a1 at half speed", args.seconds, slow=True),
        Phase("as declared at last", args.seconds),
    ]
    record = Record()
    with tempfile.TemporaryDirectory(prefix="tango-qos-") as folder:
        cluster = EmbeddedCluster(Path(folder) / "state")
        cluster.start(sites=1, workers_per_site=2)
        put_first(cluster)
        try:
            asyncio.run(_run(cluster.state_dir, phases, record))
        finally:
            cluster.stop()
    rows = summary(record, phases)
    for row in rows:
        print(json.dumps(row))
    if args.report:
        args.report.write_text(json.dumps({"phases": rows, "qos": record.qos}, indent=1) + "\n")
    draw(record, args.plot)
    print(f"plot: {args.plot}")


async def _run(state: Path, phases: list[Phase], record: Record) -> None:
    async with Client(state) as client:
        await client.apply(spec(), wait_s=30)
        await load(client, phases, record)


if __name__ == "__main__":
    main()
