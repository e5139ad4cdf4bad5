"""A service that burns a settable amount of CPU per request: `python -m tango.cli.samples.burner`.

    /                       burns --cpu-ms times the work, says how much
    /healthz                200, or 503 with --fail-health
    /echo                   the request's body
    /stream?chunks=N&interval_ms=M   N lines, one each M ms (chunked)
    /sleep?ms=M             answers after M ms
    /status/NNN             that status
    /stats                  requests, CPU burned and CPU used by the whole process

The work of a request is its header `x-work` or else `?work=`, 1.0 where it has neither.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import math
import os
import signal
import sys
import time
import zlib
from collections.abc import AsyncGenerator, Awaitable
from concurrent.futures import ThreadPoolExecutor

from tango.cli.samples.http1 import HttpError, Reply, Request
from tango.cli.samples.http_server import HttpServer, json_reply

# Checksums of blocks this large leave the interpreter's lock to other threads meanwhile, and take
# 10 to 50 us: the grain of the burning.
_BLOCK = bytes(32 * 1024)
_MAX_CPU_S = 600.0


class Burner:
    """Burns CPU time on `threads` threads; at most `max_waiting` requests wait for one."""

    def __init__(self, threads: int = 1, max_waiting: int = 128) -> None:
        self.burned_s = 0.0
        self._most = threads + max_waiting
        self._pending = 0
        self._stopped = False
        self._pool = ThreadPoolExecutor(threads, "burn")

    async def burn(self, cpu_s: float) -> float:
        """Use `cpu_s` seconds of CPU time; the seconds really used. Stops when cancelled.

        Raises HttpError 503 where too many wait.
        """
        if self._pending >= self._most:
            raise HttpError(503, f"{self._most} requests are in progress or waiting")
        abandoned: list[bool] = []
        self._pending += 1
        try:
            work = asyncio.get_running_loop().run_in_executor(
                self._pool, self._use_cpu, cpu_s, abandoned
            )
            used_s = await work
        finally:
            abandoned.append(True)
            self._pending -= 1
        self.burned_s += used_s
        return used_s

    def stop(self) -> None:
        """Give up all burning."""
        self._stopped = True
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _use_cpu(self, cpu_s: float, abandoned: list[bool]) -> float:
        # The thread's own CPU clock: time in which it is throttled or waits for a core is not in.
        start = now = time.thread_time()
        while now - start < cpu_s and not abandoned and not self._stopped:
            zlib.crc32(_BLOCK)
            now = time.thread_time()
        return now - start


class Service:
    """The endpoints."""

    def __init__(self, burner: Burner, cpu_ms: float, *, fail_health: bool = False) -> None:
        self._burner = burner
        self._cpu_ms = cpu_ms
        self._fail_health = fail_health
        self._requests = 0

    def handle(self, request: Request) -> Reply | Awaitable[Reply]:
        """Answer one request. Raises HttpError."""
        self._requests += 1
        if request.method not in ("GET", "HEAD", "POST", "PUT"):
            raise HttpError(405, f"{request.method} is not for this service")
        match request.path:
            case "/":
                return self._burn(request)
            case "/healthz":
                return self._health()
            case "/echo":
                kind = request.headers.get("content-type", "application/octet-stream")
                return Reply(body=request.body, content_type=kind)
            case "/stream":
                count = int(_number(request.query.get("chunks", "10"), "chunks", 100_000))
                pause_ms = _number(request.query.get("interval_ms", "0"), "interval_ms", 60_000)
                return Reply(content_type="application/x-ndjson", chunks=_lines(count, pause_ms))
            case "/sleep":
                return _sleep(_number(request.query.get("ms", "0"), "ms", 600_000))
            case "/stats":
                return self._stats()
            case path if path.startswith("/status/"):
                return _status(path.removeprefix("/status/"))
        raise HttpError(404, f"there is no {request.path[:80]}")

    def _burn(self, request: Request) -> Reply | Awaitable[Reply]:
        text = request.headers.get("x-work") or request.query.get("work") or "1"
        work = _number(text, "work", 1_000_000)
        cpu_s = self._cpu_ms / 1000 * work
        if cpu_s > _MAX_CPU_S:
            raise HttpError(400, f"{cpu_s:g} s of CPU is more than {_MAX_CPU_S:g} s")
        return self._burned(cpu_s, work) if cpu_s > 0 else self._told(0.0, work)

    async def _burned(self, cpu_s: float, work: float) -> Reply:
        return self._told(await self._burner.burn(cpu_s), work)

    def _told(self, used_s: float, work: float) -> Reply:
        return json_reply({"cpu_ms": round(used_s * 1000, 3), "work": work, "pid": os.getpid()})

    def _health(self) -> Reply:
        if self._fail_health:
            return json_reply({"status": "unhealthy"}, 503)
        return json_reply({"status": "ok"})

    def _stats(self) -> Reply:
        return json_reply(
            {
                "requests": self._requests,
                "burned_cpu_s": round(self._burner.burned_s, 6),
                "process_cpu_s": round(time.process_time(), 6),
            }
        )


async def _lines(count: int, pause_ms: float) -> AsyncGenerator[bytes, None]:
    for number in range(count):
        if number:
            await asyncio.sleep(pause_ms / 1000)
        yield b'{"chunk": %d, "of": %d}\n' % (number, count)


async def _sleep(ms: float) -> Reply:
    await asyncio.sleep(ms / 1000)
    return json_reply({"slept_ms": ms})


def _status(text: str) -> Reply:
    if not (text.isascii() and text.isdigit() and len(text) == 3 and 200 <= int(text) <= 599):
        raise HttpError(404, "write /status/200 to /status/599")
    return json_reply({"status": int(text)}, int(text))


def _number(text: str, name: str, most: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= most:
        raise HttpError(400, f"{name} is {text[:40]!r}, not a number from 0 to {most:g}")
    return value


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tango.cli.samples.burner",
        description="HTTP service that burns a settable amount of CPU per request.",
    )
    add = parser.add_argument
    port = os.environ.get("PORT")
    add("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    add("--port", type=int, default=port, required=port is None, help="0: any; default: $PORT")
    add("--cpu-ms", type=float, default=5.0, help="CPU per request of work 1 (default: 5 ms)")
    add("--threads", type=int, default=1, help="requests that burn at the same time (default: 1)")
    add("--max-waiting", type=int, default=128, help="requests that may wait for a thread")
    add("--max-connections", type=int, default=1024)
    add("--max-body-bytes", type=int, default=1024 * 1024)
    add("--grace-s", type=float, default=5.0, help="time to finish requests on SIGTERM")
    add("--start-delay-s", type=float, default=0.0, help="listen only after so long")
    add("--fail-health", action="store_true", help="/healthz answers 503")
    args = parser.parse_args(argv)
    if not 0 <= args.cpu_ms <= _MAX_CPU_S * 1000:
        parser.error(f"--cpu-ms: {args.cpu_ms:g} is not from 0 to {_MAX_CPU_S * 1000:g}")
    if not 0 <= args.port <= 65535:
        parser.error(f"--port: {args.port} is not from 0 to 65535")
    if not 1 <= args.threads <= 256:
        parser.error(f"--threads: {args.threads} is not from 1 to 256")
    return args


async def _serve(args: argparse.Namespace) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        if stop.is_set():  # the second one: now
            os._exit(1)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), args.start_delay_s)
    if stop.is_set():
        return 0
    burner = Burner(args.threads, args.max_waiting)
    server = HttpServer(
        Service(burner, args.cpu_ms, fail_health=args.fail_health).handle,
        max_connections=args.max_connections,
        max_body_bytes=args.max_body_bytes,
    )
    try:
        port = await server.start(args.host, args.port)
    except OSError as error:
        print(f"cannot listen on {args.host}:{args.port}: {error.strerror}", file=sys.stderr)
        return 1
    print(f"listening on {args.host}:{port}", flush=True)
    await stop.wait()
    await server.stop(args.grace_s)
    burner.stop()
    return 0


def main(argv: list[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; 0 after an orderly stop, 1 where it cannot listen."""
    return asyncio.run(_serve(_arguments(argv)))


if __name__ == "__main__":
    sys.exit(main())
