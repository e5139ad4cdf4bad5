"""Tells systemd how the service is (sd_notify(3)); nothing where systemd is not the parent."""

from __future__ import annotations

import contextlib
import os
import socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .loop import Loop


class Notifier:
    """Sends READY, STOPPING, and WATCHDOG twice per interval while the loop turns."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        address = os.environ.pop("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        limit = os.environ.pop("WATCHDOG_USEC", "")
        self._interval_s = int(limit) / 2e6 if limit.isdigit() else 0.0

    def ready(self) -> None:
        """The service answers now."""
        self._send(f"READY=1\nMAINPID={os.getpid()}")
        if self._address and self._interval_s > 0:
            self._loop.after(self._interval_s, self._watchdog)

    def stopping(self) -> None:
        """The service is on its way down."""
        self._send("STOPPING=1")

    def _watchdog(self) -> None:
        self._send("WATCHDOG=1")
        self._loop.after(self._interval_s, self._watchdog)

    def _send(self, state: str) -> None:
        if not self._address:
            return
        # Refused while systemd restarts; it looks at the process then.
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as channel,
        ):
            channel.sendto(state.encode("ascii"), self._address)
