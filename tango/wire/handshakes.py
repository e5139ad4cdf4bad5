"""Who connected and never came to make a call: gRPC tells no server of a TLS handshake that failed.

It calls us only when one begins, without saying whose. So at each such call the kernel is asked who
is connected to the port, and a peer that has gone again before its first call was turned away, or
turned away itself: no certificate or a wrong one, an unknown authority, no TLS, our own name.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path

from tango.wire.refusals import Refusals

OnHandshake = Callable[[], None]

REASON = (
    "the connection ended before any call: no TLS, no certificate, one that is expired or of "
    "another authority, or the peer did not take ours"
)
# How long a call may be on its way from gRPC to the handlers after its connection has gone.
PATIENCE_S = 1.0
# Looking takes the kernel a pass over its table of sockets: not at every connection of a flood.
LOOK_GAP_S = 0.02
MAX_PEERS = 10_000
_TABLES = (Path("/proc/self/net/tcp"), Path("/proc/self/net/tcp6"))
_ESTABLISHED_OR_CLOSING = {"01", "04", "05", "08", "09"}


class HandshakeWatch:
    """Of one server's port. All but `begun` run in the server's event loop."""

    def __init__(self, refusals: Refusals) -> None:
        self._refusals = refusals
        self._loop = asyncio.get_running_loop()
        self._port = 0
        # Peers that have not made a call yet, since when; and those that have and are connected.
        self._new: dict[str, float] = {}
        self._proven: set[str] = set()
        self._looked = 0.0
        self._sweep: asyncio.TimerHandle | None = None

    def watch(self, port: int) -> None:
        """From now on connections to this local port count."""
        self._port = port

    def close(self) -> None:
        """Look no more."""
        self._port = 0
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None

    def begun(self) -> None:
        """A handshake begins; called from a thread of gRPC's, which waits meanwhile."""
        now = time.monotonic()
        if not self._port or now - self._looked < LOOK_GAP_S:
            return
        self._looked = now
        try:
            self._loop.call_soon_threadsafe(self._noticed, connected_to(self._port), now)
        except RuntimeError:  # the loop has ended
            return

    def called(self, peer: str) -> None:
        """A call came from this peer: its handshake went well."""
        self._new.pop(peer, None)
        if len(self._proven) < MAX_PEERS:
            self._proven.add(peer)

    def _noticed(self, peers: set[str], now: float) -> None:
        for peer in peers:
            if peer not in self._proven and len(self._new) < MAX_PEERS:
                self._new.setdefault(peer, now)
        if self._new and self._sweep is None and self._port:
            self._sweep = self._loop.call_later(PATIENCE_S, self._look_again)

    def _look_again(self) -> None:
        self._sweep = None
        peers = connected_to(self._port)
        self._proven &= peers
        now = time.monotonic()
        for peer, since in tuple(self._new.items()):
            if peer not in peers and now - since >= PATIENCE_S:
                del self._new[peer]
                self._refusals.note(peer, REASON)
        if self._new:
            self._sweep = self._loop.call_later(PATIENCE_S, self._look_again)


def connected_to(port: int) -> set[str]:
    """Peers with a connection to this local port, named as gRPC names them (proc_pid_net(5))."""
    wanted = f"{port:04X}"
    peers = set()
    for table in _TABLES:
        try:
            lines = table.read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split(None, 4)
            if fields[1].endswith(wanted) and fields[3] in _ESTABLISHED_OR_CLOSING:
                peers.add(_peer(fields[2]))
    return peers


def _peer(text: str) -> str:
    """ "ipv4:192.0.2.7:41234" of "070200C0:A112"; the kernel writes words of the host's order."""
    words, _, port = text.partition(":")
    packed = b"".join(
        struct.pack("=I", int(words[at : at + 8], 16)) for at in range(0, len(words), 8)
    )
    number = int(port, 16)
    if len(packed) == 16:
        six = ipaddress.IPv6Address(packed)
        if six.ipv4_mapped is None:
            return f"ipv6:%5B{six}%5D:{number}"
        packed = six.ipv4_mapped.packed
    return f"ipv4:{socket.inet_ntoa(packed)}:{number}"
