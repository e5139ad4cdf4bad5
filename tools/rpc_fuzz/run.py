"""Sends mutated messages to a real cluster on loopback and judges how its daemons take them.

python tools/rpc_fuzz/run.py [--messages N] [--seed N]: a line of JSON, exit status 1 on a finding.
Every stream's content follows from (seed, its number), which a finding names.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import grpc
import psutil
from messages import mutate, session_stream, tweak, valid_message
from rpcs import Rpc, rpcs_of
from sensible import sensible_message, session_start

from tango.model.job import JobSpec, JobState, TaskSpec
from tango.sdk.client import Client
from tango.sdk.embedded import EmbeddedCluster
from tango.wire.channels import bearer

CLIENTS = 24
# An RPC that may stay open (a watch, a session, a call that waits) is left after this long...
LINGER_S = 0.3
# ... and any other must have been answered by its own deadline, or is a hang.
DEADLINE_S = 20.0
# A run goes in ten legs, of which the first three warm up; from there to the end no daemon may grow
# by more. Seen at 100,000 messages: 2 to 4 MiB, ever less of it in each leg.
LEGS, WARM_LEGS = 10, 3
GROWTH_MIB = 10
SURPRISES = {"DEADLINE_EXCEEDED", "INTERNAL", "UNKNOWN", "DATA_LOSS", "UNIMPLEMENTED", "ABORTED"}
WRITE_AFTER_END = "Internal error from Core"
BUGS = {"handler failed", "inner task cancelled", "failed", "policy failed"}


class Fuzzer:
    """One run against one cluster."""

    def __init__(self, rpcs: list[Rpc], metadata: Any, seed: int) -> None:
        self._rpcs = rpcs
        self._metadata = metadata
        self._seed = seed
        self.sent: Counter[str] = Counter()
        self.codes: Counter[str] = Counter()
        self.findings: list[str] = []
        self._numbers = itertools.count()

    async def run(self, messages: int) -> None:
        """Until so many messages have gone out, over all RPCs in turn."""
        goal = self.sent.total() + messages
        channels = {
            address: [grpc.aio.insecure_channel(address) for _ in range(2)]
            for address in {rpc.address for rpc in self._rpcs}
        }

        async def client() -> None:
            while self.sent.total() < goal:
                number = next(self._numbers)
                rpc = self._rpcs[number % len(self._rpcs)]
                channel = channels[rpc.address][number % 2]
                await self._one(rpc, channel, number, random.Random(f"{self._seed}/{number}"))

        await asyncio.gather(*(client() for _ in range(CLIENTS)))
        for pair in channels.values():
            for channel in pair:
                await channel.close()

    async def _one(
        self, rpc: Rpc, channel: grpc.aio.Channel, number: int, rng: random.Random
    ) -> None:
        payload = self._payload(rpc, rng)
        self.sent[f"{rpc.server} {rpc.method}"] += len(payload)
        options: dict[str, Any] = {"metadata": self._metadata, "timeout": DEADLINE_S}
        if rpc.client_streaming:
            ended = await self._streams(channel.stream_stream(rpc.method)(**options), payload, rpc)
        elif rpc.server_streaming:
            ended = await self._reads(channel.unary_stream(rpc.method)(payload[0], **options))
        else:
            call = channel.unary_unary(rpc.method)(payload[0], **options)
            # A call to a service waits as long as it was told to.
            patience = LINGER_S if rpc.method.endswith("/Call") else DEADLINE_S
            ended = await self._answered(call, patience)
        self.codes[ended] += 1
        if ended.partition(":")[0] in SURPRISES:
            self.findings.append(
                f"{rpc.method} of {rpc.server} ended {ended}: seed {self._seed}, stream {number}, "
                f"{[part[:200].hex() for part in payload][:8]}"
            )

    def _payload(self, rpc: Rpc, rng: random.Random) -> list[bytes]:
        if rpc.session:
            start = session_start(rpc.method, rng.randrange(1, 2**40), rng)
            parts = session_stream(rpc.takes, start, rng)
        else:
            count = rng.randrange(1, 6) if rpc.client_streaming else 1
            parts = [self._message(rpc, rng) for _ in range(count)]
        # What begins a stream must often be sound, or nothing of the rest is looked at.
        share = 0.15 if len(parts) > 1 else 0.6
        return [mutate(part, rng) if rng.random() < share else part for part in parts]

    def _message(self, rpc: Rpc, rng: random.Random) -> bytes:
        message = sensible_message(rpc.method, rng) if rng.random() < 0.6 else None
        if message is None:
            message = valid_message(rpc.takes, rng)
        for _ in range(rng.randrange(4)):
            tweak(message, rng)
        return bytes(message.SerializeToString())

    async def _streams(self, call: Any, payload: list[bytes], rpc: Rpc) -> str:
        try:
            for part in payload:
                await call.write(part)
            await call.done_writing()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            return await _code(call)
        # The server has heard the end: sessions and reflection end then; calls may still wait.
        return await self._reads(call, LINGER_S if "CallMany" in rpc.method else DEADLINE_S)

    async def _reads(self, call: Any, patience: float = LINGER_S) -> str:
        try:
            async with asyncio.timeout(patience):
                async for _ in call:
                    pass
        except TimeoutError:
            call.cancel()
            return "left open"
        except grpc.aio.AioRpcError:
            pass
        return await _code(call)

    async def _answered(self, call: Any, patience: float) -> str:
        try:
            async with asyncio.timeout(patience):
                await call
        except TimeoutError:
            call.cancel()
            return "left open"
        except grpc.aio.AioRpcError:
            pass
        return await _code(call)


async def _code(call: Any) -> str:
    code = await call.code()
    name = str(code.name)
    if name not in SURPRISES:
        return name
    details = await call.details()
    # What grpc.aio makes of a write on a stream that the server has just ended.
    return "ended while writing" if details == WRITE_AFTER_END else f"{name}: {details}"


async def fuzz(cluster: EmbeddedCluster, messages: int, seed: int) -> dict[str, Any]:
    """A whole run; its report, with what was found."""
    metadata = bearer((cluster.state_dir / "token").read_text())
    daemons = {member.name: member for member in cluster._members()}  # noqa: SLF001
    processes = {name: psutil.Process(member.pid) for name, member in daemons.items()}
    rpcs: list[Rpc] = []
    for name in daemons:
        config = (cluster.state_dir / "configs" / f"{name}.toml").read_text()
        address = config.partition('listen = "')[2].partition('"')[0]
        rpcs += await rpcs_of(name, address, metadata)
    fuzzer = Fuzzer(rpcs, metadata, seed)
    begun = time.monotonic()
    memory: dict[str, list[float]] = {name: [] for name in processes}
    kept: list[dict[str, int]] = []
    for leg in range(1, LEGS + 1):
        await fuzzer.run(messages * leg // LEGS - fuzzer.sent.total())
        for name, process in processes.items():
            if daemons[name].alive():
                memory[name].append(round(process.memory_info().rss / 2**20, 1))
        kept.append(await _kept(cluster.state_dir))
        # A long run tells how it goes.
        told = (leg, fuzzer.sent.total(), memory, kept[-1], len(fuzzer.findings))
        print(*told, file=sys.stderr, flush=True)
    findings = fuzzer.findings
    growth = {}
    for name, member in daemons.items():
        if not member.alive():
            findings.append(f"{name} has crashed")
            continue
        growth[name] = round(memory[name][-1] - memory[name][WARM_LEGS - 1], 1)
        if growth[name] > GROWTH_MIB:
            findings.append(f"{name} grew by {growth[name]} MiB")
    findings += _bugs_in_logs(cluster.state_dir)
    findings += await _still_serve(cluster.state_dir)
    return {
        "messages": fuzzer.sent.total(),
        "rpcs": len(rpcs),
        "least_messages_of_an_rpc": min(fuzzer.sent[f"{r.server} {r.method}"] for r in rpcs),
        "seed": seed,
        "duration_s": round(time.monotonic() - begun, 1),
        "ends": dict(fuzzer.codes.most_common()),
        "rss_mib": memory,
        "growth_mib": growth,
        "kept": kept,
        "log_kib": {
            path.stem: path.stat().st_size // 1024
            for path in sorted((cluster.state_dir / "logs").iterdir())
        },
        "findings": len(findings),
        "first_findings": findings[:10],
    }


async def _kept(state: Path) -> dict[str, int]:
    """What the messages so far have made the daemons keep, as a user sees it."""
    async with Client(state) as client:
        counts = asdict((await client.jobs(limit=1))[1])
        del counts["cpu_s"]
        return {
            "services": len(await client.services()),
            "nodes": len(await client.nodes()),
            "edges": len(await client.edges()),
            "jobs": sum(counts.values()),
        }


def _bugs_in_logs(state: Path) -> list[str]:
    found = []
    for path in sorted((state / "logs").iterdir()):
        for line in path.read_text(errors="replace").splitlines():
            try:
                event = json.loads(line)
            except ValueError:
                found.append(f"{path.stem} wrote: {line[:500]}")
                continue
            if event["event"] in BUGS or "error" in event:
                found.append(f"{path.stem} logged: {line[:3000]}")
    return found


async def _still_serve(state: Path) -> list[str]:
    """Normal work, as any client does it; what is wrong with it."""
    try:
        async with asyncio.timeout(60), Client(state) as client:
            ready = [node.node for node in await client.nodes() if node.ready]
            if "a1" not in ready:
                return [f"the node is not ready: {ready}"]
            await client.services()
            await client.edges()
            job = JobSpec(
                "after", (TaskSpec("main", ("/bin/true",), cpu_millis=10, memory_bytes=2**24),)
            )
            ended = await client.wait((await client.submit(job)).job_id)
            if ended.state is not JobState.SUCCEEDED:
                return [f"a job after it all: {ended}"]
    except Exception as error:  # noqa: BLE001 - every failure of it is a finding
        return [f"a normal client after it all: {error!r}"]
    return []


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    # Also from a shell that started it in the background, where SIGINT is ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit(130))
    with tempfile.TemporaryDirectory(prefix="tango-fuzz-") as directory:
        cluster = EmbeddedCluster(Path(directory) / "state")
        cluster.start(sites=1)
        try:
            report = asyncio.run(fuzz(cluster, given.messages, given.seed))
        finally:
            cluster.stop()
    print(json.dumps(report, indent=1))
    return 1 if report["findings"] else 0


if __name__ == "__main__":
    sys.exit(main())
