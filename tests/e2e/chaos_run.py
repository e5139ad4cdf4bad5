"""tools/chaos: `kill -9` of any daemon of a cluster under load, and what must hold all the same."""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import random
import secrets
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from chaos_keeper import Keeper
from chaos_ledger import Ledger
from chaos_load import Calls, Jobs
from chaos_verdict import (
    BASE_MILLIS,
    all_nodes_ready,
    check_calls,
    check_jobs,
    check_rest,
    eventually,
    payload_of,
    story,
)
from cluster_at_work import ClusterAtWork, service

from tango.model.service import QuotaMode
from tango.sdk.client import Client

SERVICE = "under-fire"
REPLICAS = 2
# Now and then everything may come back, and must: how long that takes is measured.
CALM_EVERY = 20
CALM_S = 30.0


async def attack(cluster: ClusterAtWork, options: argparse.Namespace) -> dict[str, Any]:
    """The run itself, up to the state of rest; what is found wrong is in "wrong"."""
    drawn = random.Random(options.seed)
    ledger = Ledger(cluster.state_dir / "ledger", cluster.state_dir / "locks")
    ledger.locks.mkdir()
    begun = time.monotonic()
    wrong: list[str] = []
    calm_s: list[float] = []
    async with Client(cluster.state_dir) as client:
        spec = service(
            SERVICE,
            replicas=REPLICAS,
            env=(("CHAOS", str(cluster.state_dir)),),
            quota=QuotaMode.FOLLOW,
            quota_base_millis=BASE_MILLIS,
        )
        await client.apply(spec, wait_s=30)
        keeper = Keeper(cluster, random.Random(drawn.random()), begun)
        calls = Calls(client, SERVICE, random.Random(drawn.random()))
        jobs = Jobs(client, ledger, random.Random(drawn.random()))
        stopping = asyncio.Event()
        keeping = asyncio.create_task(keeper.keep())
        calling = asyncio.create_task(calls.run(options.calls))
        submitting = asyncio.create_task(jobs.run(options.jobs, stopping))
        calm_at = CALM_EVERY
        while len(keeper.kills) < options.kills:
            await asyncio.sleep(drawn.expovariate(1 / options.pace))
            for kill in keeper.strike():
                if options.verbose:
                    print(kill, flush=True)
                if kill.target.startswith("site-"):
                    calls.edge_killed(kill.target)
            if len(keeper.kills) >= calm_at:
                calm_at += CALM_EVERY
                since = time.monotonic()
                late = await eventually(lambda: all_nodes_ready(client, cluster), CALM_S)
                calm_s.append(time.monotonic() - since)
                wrong += [f"{time.monotonic() - begun:.1f} s: not back: {each}" for each in late]
        attacked_s = time.monotonic() - begun
        calling.cancel()
        stopping.set()
        await asyncio.wait([calling])
        async with asyncio.timeout(60):
            await submitting
        found, concerned = await check_jobs(client, ledger, jobs)
        wrong += found + check_calls(calls)
        wrong += await check_rest(client, cluster, SERVICE, REPLICAS * len(client.sites))
        keeping.cancel()
        wrong += [f"nobody killed it: {each}" for each in keeper.died]
        records, counts = await client.jobs(limit=1000)
        await asyncio.wait([keeping])
    for name in dict.fromkeys(concerned[:5]):
        wrong += story(cluster, jobs.acknowledged.get(name, ""), ledger.of(name))
    attempts = Counter(line[0] for line in ledger.lines)
    return {
        "seed": options.seed,
        "kills": dict(Counter(kill.target for kill in keeper.kills)),
        "n_kills": len(keeper.kills),
        "n_kills_of_serving": sum(kill.serving for kill in keeper.kills),
        "attacked_s": round(attacked_s, 1),
        "back_s": [round(each, 1) for each in calm_s],
        "calls": dict(calls.codes),
        "slowest_answer_s": round(calls.slowest_s, 2),
        "answers_after_edge_kill": {
            "n": len(calls.cut_s),
            "slowest_s": round(max(calls.cut_s, default=0.0), 2),
        },
        "jobs": {
            "acknowledged": len(jobs.acknowledged),
            "runs": attempts["start"],
            "finished_runs": attempts["end"],
            "refused_submits": dict(jobs.refusals),
            "states": {state: n for state, n in _counts(counts).items() if n},
            "reasons": dict(Counter(one.reason for one in records if one.reason)),
        },
        "wrong": wrong,
        "last_kills": [str(kill) for kill in keeper.kills[-12:]] if wrong else [],
        "all_kills": [
            (kill.number, kill.at, kill.target, kill.serving, kill.down) for kill in keeper.kills
        ],
        "machine": platform.platform(),
    }


def _counts(counts: Any) -> dict[str, int]:
    return {name: getattr(counts, name) for name in counts.__dataclass_fields__}


def main() -> int:
    """0 when all held, 1 with the story when not."""
    parser = argparse.ArgumentParser(prog="tools/chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    parser.add_argument("--report", type=Path, help="JSON file for what was seen")
    parser.add_argument("--pace", type=float, default=0.4, help="mean seconds between blows")
    parser.add_argument("--calls", type=float, default=8.0, help="calls a second at each site")
    parser.add_argument("--jobs", type=float, default=6.0, help="jobs a second")
    parser.add_argument("--keep", action="store_true", help="leave the state directory")
    parser.add_argument("--verbose", action="store_true", help="print every kill")
    options = parser.parse_args()
    # However it ends, the cluster is stopped.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    top = Path(tempfile.mkdtemp(prefix="tango-chaos-"))
    cluster = ClusterAtWork(top / "state")
    begun = time.monotonic()
    cluster.start(sites=2, workers_per_site=1)
    try:
        result = asyncio.run(attack(cluster, options))
    finally:
        cluster.stop()
    left = cluster.left_behind()
    left += [f"process {pid}: {what}" for pid, what in payload_of(cluster.state_dir).items()]
    result["wrong"] += [f"left after down: {each}" for each in left]
    result["duration_s"] = round(time.monotonic() - begun, 1)
    if options.report is not None:
        options.report.write_text(json.dumps(result, indent=1))
    shown = {key: value for key, value in result.items() if key != "all_kills"}
    print(json.dumps(shown, indent=1))
    if result["wrong"]:
        print(f"FAILED with --seed {options.seed}; state kept in {top}", file=sys.stderr)
        return 1
    if not options.keep:
        shutil.rmtree(top)
    return 0


if __name__ == "__main__":
    sys.exit(main())
