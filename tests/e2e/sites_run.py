"""Two sites apart under overload, measured: what spills, what is rejected, how it recovers.

    tools/sites --seconds 30 --report FILE.json

One run: the saturation goodput of both sites together for calls that all arrive at the first; three
times that for --seconds; half of it until all is in time again; then the same arrivals while the
delay rises to 200 ms there and back, and falls again. Exit status 0 only if the bounds hold.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from cluster_at_work import PATIENCE_S, SITE, running, service
from sites_apart import OTHER, Apart, sites_apart

from tango.model.request import CallReply, Code, Outcome

NAME = "spill"
SLOTS = 6
WORK_MS = 80
DEADLINE_S = 0.26
NEAR_S, FAR_S = 0.020, 0.100
STEP_S = 5.0
BUCKET_S = 0.25
GOODPUT_SHARE = 0.9
REJECT_P99_MS = 50.0
RECOVERY_S = 5.0


@dataclass
class Part:
    """Calls at a steady rate: what became of them. ends: (sent at, s after the start; reply)."""

    rate: float
    seconds: float
    ends: list[tuple[float, float, CallReply]] = field(default_factory=list)

    @property
    def goodput(self) -> float:
        """Calls completed in time per second, of those sent after the first second."""
        after = min(1.0, self.seconds / 4)
        good = sum(reply.outcome is Outcome.COMPLETED for at, _, reply in self.ends if at >= after)
        return good / (self.seconds - after)

    def figures(self) -> dict[str, Any]:
        outcomes = {outcome.value: 0 for outcome in Outcome}
        for _, _, reply in self.ends:
            outcomes[reply.outcome.value] += 1
        rejected = sorted(
            s * 1000 for _, s, reply in self.ends if reply.outcome is Outcome.REJECTED
        )
        at_edge = sorted(
            reply.total_ms for _, _, reply in self.ends if reply.outcome is Outcome.REJECTED
        )
        return {
            "rate": round(self.rate, 1),
            "seconds": self.seconds,
            "goodput": round(self.goodput, 1),
            "served_by_other": sum(
                reply.site == OTHER and reply.code is Code.OK for _, _, reply in self.ends
            ),
            "rejected_p50_ms": _percentile(rejected, 0.5),
            "rejected_p99_ms": _percentile(rejected, 0.99),
            "rejected_at_edge_p99_ms": _percentile(at_edge, 0.99),
            **outcomes,
        }


def _percentile(values: list[float], share: float) -> float | None:
    """Nearest rank."""
    return round(values[min(len(values) - 1, int(share * len(values)))], 2) if values else None


async def load(apart: Apart, rate: float, seconds: float) -> Part:
    """Open loop: calls at SITE at their time, whatever became of those before."""
    loop = asyncio.get_running_loop()
    part = Part(rate, seconds)
    waiting: set[asyncio.Future[CallReply]] = set()
    async with apart.client.edge(SITE).calls() as stream:
        begun = loop.time()
        count = int(rate * seconds)
        for number in range(count):
            due = begun + number / rate
            early = due - loop.time()
            if early > 0:
                await asyncio.sleep(early)
            request = apart.client.request(NAME, path=f"/wait?ms={WORK_MS}")
            sent_at = loop.time()
            future = stream.start(request)
            waiting.add(future)

            def ended(done: asyncio.Future[CallReply], sent_at: float = sent_at) -> None:
                waiting.discard(done)
                part.ends.append((sent_at - begun, loop.time() - sent_at, done.result()))

            future.add_done_callback(ended)
        while waiting:
            await asyncio.wait(tuple(waiting), timeout=PATIENCE_S)
    assert len(part.ends) == count, "every call ends once"
    return part


def recovery_s(part: Part) -> float | None:
    """When the last call was sent that did not end in time, by the end of its bucket."""
    bad = [at for at, _, reply in part.ends if reply.outcome is not Outcome.COMPLETED]
    if not bad:
        return 0.0
    last = (int(max(bad) / BUCKET_S) + 1) * BUCKET_S
    return None if last >= part.seconds else last


async def measure(apart: Apart, seconds: float) -> dict[str, Any]:
    nominal = 2 * SLOTS / (WORK_MS / 1000)
    await load(apart, nominal / 4, 2.0)
    steps = [await load(apart, share * nominal, STEP_S) for share in (0.7, 0.85, 1.0, 1.15)]
    saturation = max(step.goodput for step in steps)
    over = await load(apart, 3 * saturation, seconds)
    after = await load(apart, saturation / 2, 2 * RECOVERY_S)
    recovered = recovery_s(after)
    far = []
    for delay_s in (NEAR_S, FAR_S, NEAR_S):
        apart.relay.delay_s = delay_s
        # A rise has to show before its part is measured; it shows within the window of pings.
        await asyncio.sleep(2.0)
        part = await load(apart, 0.7 * saturation, STEP_S)
        view = await apart.neighbours()
        far.append({"rtt_ms": round(view.rtt_ms or 0.0, 1), **part.figures()})
    figures = over.figures()
    checks = {
        "goodput >= 90 % of saturation": figures["goodput"] >= GOODPUT_SHARE * saturation,
        "rejected p99 <= 50 ms": (figures["rejected_p99_ms"] or 0.0) <= REJECT_P99_MS,
        "recovery <= 5 s": recovered is not None and recovered <= RECOVERY_S,
        "spills when near": far[0]["served_by_other"] > 0 and far[2]["served_by_other"] > 0,
    }
    return {
        "saturation_goodput": round(saturation, 1),
        "steps": [step.figures() for step in steps],
        "overload": figures,
        "goodput_share": round(figures["goodput"] / saturation, 3),
        "recovery_s": recovered,
        "delays": far,
        "checks": checks,
    }


async def main(options: argparse.Namespace) -> int:
    with (
        tempfile.TemporaryDirectory(prefix="tango-sites-") as folder,
        running(Path(folder) / "state") as cluster,
    ):
        async with sites_apart(cluster, NEAR_S) as apart:
            spec = service(
                NAME, replicas=1, concurrency=SLOTS, cpu_per_request_millis=10,
                deadline_s=DEADLINE_S, timeout_s=2.0,
            )  # fmt: skip
            await apart.client.apply(spec, sites=[SITE, OTHER], wait_s=PATIENCE_S)
            found = await measure(apart, options.seconds)
    found |= {
        "service": {"slots_each": SLOTS, "work_ms": WORK_MS, "deadline_ms": DEADLINE_S * 1000},
        "duration_s": options.seconds,
        "machine": f"{platform.machine()}, {platform.release()}",
    }
    text = json.dumps(found, indent=2)
    print(text)
    if options.report:
        Path(options.report).write_text(text + "\n")
    return 0 if all(found["checks"].values()) else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0, help="of the overload")
    parser.add_argument("--report", default="", help="JSON file")
    sys.exit(asyncio.run(main(parser.parse_args())))
