"""From `tango edge -c X.toml` to a running daemon and back: loop, signals, sd_notify, logs."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import uvloop

from tango.adapters.toml_documents import load_toml
from tango.model.errors import InvalidField, TangoError

GRACE_S = 10.0
log = logging.getLogger("tango")


class JsonLines(logging.Formatter):
    """One event a line: time, level, event, then the fields given as extra={"fields": {...}}."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one JSON object."""
        line: dict[str, object] = {
            "ts": round(record.created, 3),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        line.update(getattr(record, "fields", {}))
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def set_up_logging(level: str) -> None:
    """Structured lines on stderr, which systemd or `tango up` keeps."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())


def log_event(level: str, event: str, **fields: object) -> None:
    """Log one structured event."""
    log.log(logging.getLevelName(level.upper()), event, extra={"fields": fields})


def sd_notify(state: str) -> None:
    """Tell systemd (sd_notify(3)); nothing happens where nobody asked."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC
    with socket.socket(socket.AF_UNIX, kind) as sock, contextlib.suppress(OSError):
        sock.sendto(state.encode(), address)


async def _watchdog() -> None:
    interval_us = int(os.environ.get("WATCHDOG_USEC", "0") or "0")
    while interval_us:
        sd_notify("WATCHDOG=1")
        await asyncio.sleep(interval_us / 2e6)


def next_incarnation(state_dir: Path) -> int:
    """A number above every earlier one of this daemon, also when the state directory was lost.

    Counted in the state directory and never below the wall clock in milliseconds, so that losing
    the one or setting back the other alone does not repeat a number.
    """
    path = state_dir / "incarnation"
    try:
        last = int(path.read_text())
    except (OSError, ValueError):
        last = 0
    number = max(last + 1, int(time.time() * 1000))
    partial = path.with_suffix(".new")
    partial.write_text(str(number))
    partial.chmod(0o600)
    partial.replace(path)
    return number


def private_dir(path: str | Path) -> Path:
    """The directory, made with mode 0700 if it is not there."""
    directory = Path(path)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return directory


def node_key(state_dir: Path) -> str:
    """The secret that proves a worker is the same node; drawn once, kept at mode 0600."""
    path = state_dir / "node.key"
    with contextlib.suppress(FileExistsError):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_hex(16))
    return path.read_text().strip()


@contextlib.asynccontextmanager
async def stop_signals() -> AsyncIterator[asyncio.Event]:
    """SIGTERM and SIGINT set the event (drain); a second one ends the process at once."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        if stop.is_set():
            os._exit(130)
        sd_notify("STOPPING=1")
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    try:
        yield stop
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


async def serve_until_stopped(group: asyncio.TaskGroup, failed: asyncio.Future[None]) -> None:
    """Say READY, then wait for a stop signal or the failure of the controller."""
    async with stop_signals() as stop:
        watchdog = group.create_task(_watchdog(), name="watchdog")
        sd_notify("READY=1")
        stopped = asyncio.ensure_future(stop.wait())
        ends: set[asyncio.Future[Any]] = {stopped, failed}
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if failed.done():
                failed.result()
        finally:
            stopped.cancel()
            watchdog.cancel()


def tune_collector() -> None:
    """Few collections: what lives as long as the daemon is not scanned again and again.

    What the imports left behind (each slotted dataclass its first class) goes before, or it never
    does. A full collection holds the loop for as long as it takes: 8 ms for 100,000 objects.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def run(
    main: Callable[[], Awaitable[None]], name: str, log_level: str, config: Path | None = None
) -> int:
    """Run a daemon to its end; the exit status is 0 after a drain, 1 after a failure.

    config: the file that its settings came from; what is wrong with one of them is said with it.
    """
    set_up_logging(log_level)
    tune_collector()

    async def guarded() -> None:
        await main()

    try:
        uvloop.run(guarded())
    except (TangoError, BaseExceptionGroup) as error:
        for found in _leaves(error):
            leaf = found if config is None else _placed(found, config)
            known = isinstance(leaf, TangoError)
            # What an operator can mend is one line; a traceback is for what only we can.
            log.error(
                "failed", exc_info=None if known else leaf, extra={"fields": {"why": str(leaf)}}
            )
            print(f"tango {name}: {leaf}", file=sys.stderr)
        return 1
    log_event("info", "stopped", daemon=name)
    return 0


def _placed(error: BaseException, config: Path) -> BaseException:
    """With file and line, where only the start could tell that a field is wrong (a port in use)."""
    if isinstance(error, InvalidField) and not error.where:
        return error.at(load_toml(config).where(error.field))
    return error


def _leaves(error: BaseException) -> list[BaseException]:
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
