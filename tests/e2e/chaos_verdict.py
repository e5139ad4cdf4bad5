"""What must hold once the killing is over: of jobs, calls, reservations, processes and groups."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil
from chaos_ledger import Ledger
from chaos_load import Calls, Jobs
from cluster_at_work import ClusterAtWork

from tango.model.errors import TangoError
from tango.model.job import JobRecord, JobState
from tango.sdk.client import Client

ALL_ENDED_S = 120.0
AT_REST_S = 20.0
UNENDED = (JobState.PENDING, JobState.SCHEDULED, JobState.RUNNING)


async def eventually(check: Callable[[], Awaitable[list[str]]], patience_s: float) -> list[str]:
    """What is still wrong after that time, [] as soon as nothing is."""
    end = time.monotonic() + patience_s
    while True:
        try:
            wrong = await check()
        except TangoError as error:
            wrong = [f"cannot ask: {error}"]
        if not wrong or time.monotonic() > end:
            return wrong
        await asyncio.sleep(0.1)


async def all_nodes_ready(client: Client, cluster: ClusterAtWork) -> list[str]:
    """Daemons that are down, and nodes that are not ready."""
    nodes = {node.node: node for node in await client.nodes()}
    expected = [one.name.removeprefix("node-") for one in cluster.daemons() if one.kind == "worker"]
    wrong = [f"{name} is down" for name in cluster.dead()]
    wrong += [f"node {n} is not ready" for n in expected if n not in nodes or not nodes[n].ready]
    wrong += [f"edge {e.edge} is not connected" for e in await client.edges() if not e.connected]
    return wrong


async def check_jobs(client: Client, ledger: Ledger, jobs: Jobs) -> tuple[list[str], list[str]]:
    """(What is wrong, the names of the jobs concerned)."""

    async def none_left() -> list[str]:
        records, _ = await client.jobs(*UNENDED, limit=1000)
        return [f"job {one.job_id} is {one.state.value}: {one.reason}" for one in records]

    wrong = await eventually(none_left, ALL_ENDED_S)
    records: dict[str, JobRecord] = {}
    concerned: list[str] = []
    for name, job_id in jobs.acknowledged.items():
        try:
            records[name] = await client.job(job_id)
        except TangoError as error:
            wrong.append(f"LOST: {name} was acknowledged as {job_id}: {error}")
            concerned.append(name)
            continue
        if not records[name].state.ended:
            concerned.append(name)
        if records[name].submission_id != name:
            wrong.append(f"{job_id} belongs to {records[name].submission_id}, not to {name}")
    wrong += [f"another job for the same submission: {each}" for each in jobs.changed]
    ledger.read()
    for found in (ledger.ran_twice(), ledger.untrue(records, jobs.fails)):
        wrong += [f"{name} ({jobs.acknowledged.get(name)}): {what}" for name, what in found.items()]
        concerned += found
    unknown = {line[1] for line in ledger.lines} - set(jobs.tried)
    return wrong + [f"a run of {name}, which nobody submitted" for name in unknown], concerned


def check_calls(calls: Calls) -> list[str]:
    """Callers that were left without an answer."""
    return [f"no answer for the caller of {each}" for each in calls.unanswered]


async def check_rest(
    client: Client, cluster: ClusterAtWork, service: str, replicas: int
) -> list[str]:
    """Reservations, queues, groups and processes once nothing is asked of the cluster."""

    async def at_rest() -> list[str]:
        wrong = await all_nodes_ready(client, cluster)
        for node in await client.nodes():
            held = (node.lc_held_millis, node.be_held_millis, node.be_memory_bytes, node.be_tasks)
            if any(held):
                wrong.append(f"node {node.node} holds {held}")
            if node.report and node.report.problem:
                wrong.append(f"node {node.node}: {node.report.problem}")
            wrong += [
                f"not met: {each}" for each in (node.report.mismatches if node.report else ())
            ]
        central = {node.node: node for edge in await client.edges() for node in edge.nodes}
        wrong += [
            f"central holds {n.be_held_millis}m" for n in central.values() if n.be_held_millis
        ]
        pids: set[int] = set()
        for view in await client.services():
            if view.queued or view.in_flight:
                wrong.append(f"{view.edge}: {view.queued} queued, {view.in_flight} in flight")
            if view.ready != view.spec.replicas:
                wrong.append(f"{view.edge}: {view.ready} replicas ready")
            counts = view.counts
            ended = counts.completed + counts.late + counts.rejected + counts.failed
            if counts.sent != ended:
                wrong.append(f"{view.edge}: {counts.sent} sent, {ended} ended")
            pids |= {replica.status.pid for replica in view.replicas}
        payload = payload_of(cluster.state_dir)
        wrong += [f"{pid} runs and is no replica's: {what}" for pid, what in payload.items()
                  if pid not in pids]  # fmt: skip
        if len(pids) != replicas:
            wrong.append(f"{service}: {len(pids)} processes of {replicas} replicas")
        wrong += [
            f"group left: {path}"
            for path in cluster.groups("")
            for path in (*path.glob("be/*/*/"), *path.glob("*/be/*/"))
        ]
        wrong += base_quotas(cluster, service, replicas)
        return wrong

    return await eventually(at_rest, AT_REST_S)


def base_quotas(cluster: ClusterAtWork, service: str, replicas: int) -> list[str]:
    """Replicas' groups whose quota in the kernel's file is not the base of an idle replica."""
    wrong = []
    roots = cluster.groups("")
    v1 = [p for root in roots for p in root.glob(f"*/lc/{service}/*/cpu.cfs_quota_us")]
    v2 = [p for root in roots for p in root.glob(f"*/lc/{service}/*/cpu.max")]
    if roots and len(v1 + v2) != replicas:
        wrong.append(f"{len(v1 + v2)} groups with a quota, and {replicas} replicas")
    for path in v1 + v2:
        period = path.with_name("cpu.cfs_period_us").read_text() if path in v1 else ""
        quota, per = [*path.read_text().split(), period][:2]
        millis = -1 if quota in ("max", "-1") else int(quota) * 1000 // int(per)
        if millis != BASE_MILLIS:
            wrong.append(f"{path}: {millis}m, not {BASE_MILLIS}m")
    return wrong


BASE_MILLIS = 100


def payload_of(state_dir: Path) -> dict[int, str]:
    """First processes of replicas and tasks of this cluster that live: pid -> command line."""
    found = {}
    for process in psutil.process_iter():
        try:
            environ = process.environ()
            words = process.cmdline()[2:] if "TANGO_ATTEMPT" in environ else []
            ours = environ.get("CHAOS") == str(state_dir) or str(state_dir) in " ".join(words)
            if ours and process.status() != psutil.STATUS_ZOMBIE:
                found[process.pid] = " ".join(process.cmdline())[:100]
        except psutil.Error:
            continue
    return found


def story(cluster: ClusterAtWork, job_id: str, lines: list[str], most: int = 60) -> list[str]:
    """All that the daemons' logs and the ledger say of one job, by time."""
    found = []
    logs = [*(cluster.state_dir / "logs").glob("*.log")]
    logs += cluster.state_dir.glob("node-*/supervisor/supervisor.log")
    for log in logs:
        name = log.parent.parent.name if log.name == "supervisor.log" else log.stem
        for line in log.read_text(errors="replace").splitlines():
            if job_id and job_id in line:
                try:
                    at = float(json.loads(line).get("ts", 0))
                except (ValueError, AttributeError):
                    at = 0.0
                found.append((at, f"  {name}: {line[:300]}"))
    return [*(f"  ledger: {line}" for line in lines), *(text for _, text in sorted(found)[:most])]
