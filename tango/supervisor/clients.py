"""The unix socket and its connections: lines in, lines out, every buffer bounded."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import struct

from .loop import READ, WRITE
from .protocol import (
    MAX_CLIENTS,
    MAX_LINE,
    OUTPUT_LIMIT,
    OUTPUT_PAUSE,
    Refused,
    decode,
    encode,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .diagnostics import Diagnostics
    from .loop import Loop
    from .protocol import Json

    Handler = Callable[["Client", Json], None]

_RECEIVE = 64 << 10
_LINES_PER_TURN = 64


class SocketInUse(Exception):
    """The socket's path cannot be used; the text says why."""


class Client:
    """One connection. send() never waits; a client that does not read is disconnected."""

    def __init__(self, server: Server, connection: socket.socket) -> None:
        self._server = server
        self._socket = connection
        self._in = bytearray()
        self._out = bytearray()
        self._closing = False
        self._resume_asked = False
        self.open = True
        self.subscribed = False
        self._watch()

    def send(self, message: Json) -> None:
        """Queue one line and send what the socket takes."""
        if not self.open:
            return
        self._out += encode(message)
        self._flush()

    def close(self) -> None:
        """Disconnect now."""
        if self.open:
            self.open = False
            self._server.forget(self, self._socket)
            self._socket.close()

    def _watch(self) -> None:
        events = WRITE if self._out else 0
        # Who does not take its answers is not heard further: so replies stay bounded.
        if not self._closing and len(self._out) < OUTPUT_PAUSE:
            events |= READ
        self._server.loop.watch(self._socket.fileno(), events or READ, self._ready)

    def _ready(self, events: int) -> None:
        if events & WRITE:
            self._flush()
        if events & READ and self.open:
            self._receive()

    def _flush(self) -> None:
        try:
            while self._out:
                sent = self._socket.send(self._out[:_RECEIVE])
                del self._out[:sent]
        except BlockingIOError:
            pass
        except OSError:
            self.close()
            return
        if len(self._out) > OUTPUT_LIMIT:
            self._server.diagnostics("client_too_slow", waiting_bytes=len(self._out))
            self.close()
        elif self._closing and not self._out:
            self.close()
        else:
            self._watch()
            self._continue_later()

    def _receive(self) -> None:
        try:
            data = self._socket.recv(_RECEIVE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        if not self._closing:
            self._in += data
            self._take_lines()

    def _take_lines(self) -> None:
        self._resume_asked = False
        for _ in range(_LINES_PER_TURN):
            if not self.open or self._closing or len(self._out) >= OUTPUT_PAUSE:
                return
            end = self._in.find(b"\n", 0, MAX_LINE + 1)
            if end < 0:
                if len(self._in) > MAX_LINE:
                    self._refuse_for_good(
                        Refused("TOO_LONG", f"a request line holds at most {MAX_LINE} bytes")
                    )
                return
            line = bytes(self._in[:end])
            del self._in[: end + 1]
            self._server.take(self, line)
        self._continue_later()

    def _continue_later(self) -> None:
        """Lines that wait here already wake nobody: come back for them in a turn of their own."""
        if self.open and not self._resume_asked and b"\n" in self._in:
            self._resume_asked = True
            self._server.loop.after(0, self._take_lines)

    def _refuse_for_good(self, refused: Refused) -> None:
        self._closing = True
        self._in.clear()
        self.send(refused.reply(None))


class Server:
    """Listens on a unix socket and hands decoded requests to `handler`."""

    def __init__(
        self, loop: Loop, listening: socket.socket, handler: Handler, diagnostics: Diagnostics
    ) -> None:
        self.loop = loop
        self.diagnostics = diagnostics
        self._listening = listening
        self._handler = handler
        self._clients: set[Client] = set()
        loop.watch(listening.fileno(), READ, self._accept)

    def publish(self, event: Json) -> None:
        """Send to every connection that subscribed."""
        for client in list(self._clients):
            if client.subscribed:
                client.send(event)

    def close(self) -> None:
        """Disconnect everyone and listen no more."""
        for client in list(self._clients):
            client.close()
        self.loop.unwatch(self._listening.fileno())
        self._listening.close()

    def forget(self, client: Client, connection: socket.socket) -> None:
        """The client is about to close its connection."""
        self.loop.unwatch(connection.fileno())
        self._clients.discard(client)

    def take(self, client: Client, line: bytes) -> None:
        """Decode and handle one line; what is no JSON object is answered with id null."""
        if not line.strip():
            return
        try:
            message = decode(line)
        except Refused as refused:
            client.send(refused.reply(None))
            return
        self._handler(client, message)

    def _accept(self, _: int) -> None:
        try:
            connection, _address = self._listening.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as problem:
            # Out of descriptors: the connection stays pending, so look again a little later.
            self.diagnostics("accept_failed", error=str(problem))
            self.loop.unwatch(self._listening.fileno())
            self.loop.after(0.1, self._listen_again)
            return
        connection.setblocking(False)
        if peer_uid(connection) not in (0, os.geteuid()):
            self.diagnostics("client_refused", uid=peer_uid(connection))
            connection.close()
            return
        if len(self._clients) >= MAX_CLIENTS:
            full = Refused("LIMIT", f"{MAX_CLIENTS} connections are open already")
            with contextlib.suppress(OSError):
                connection.send(encode(full.reply(None)))
            connection.close()
            return
        self._clients.add(Client(self, connection))

    def _listen_again(self) -> None:
        if self._listening.fileno() >= 0:
            self.loop.watch(self._listening.fileno(), READ, self._accept)


def peer_uid(connection: socket.socket) -> int:
    """The uid that connected, as the kernel recorded it (SO_PEERCRED, unix(7))."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", raw)[1])


def listen(path: str) -> socket.socket:
    """Bind the socket, mode 0600, in a directory that nobody else can write; SocketInUse if not.

    A socket that nobody answers on is left from a crash and replaced.
    """
    if len(os.fsencode(path)) > 107:
        raise SocketInUse(
            f"socket path {path!r} is longer than the kernel's 107 bytes; use --socket"
        )
    directory = os.path.dirname(path)
    os.makedirs(directory, mode=0o700, exist_ok=True)
    held = os.stat(directory)
    if held.st_uid not in (0, os.geteuid()) or held.st_mode & 0o022:
        raise SocketInUse(
            f"directory {directory!r} of the socket can be written by others: chmod 0700"
        )
    _clear(path)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listening.bind(path)
    except OSError as problem:
        listening.close()
        raise SocketInUse(f"cannot bind {path!r}: {problem.strerror}") from None
    finally:
        os.umask(before)
    listening.listen(MAX_CLIENTS)
    listening.setblocking(False)
    return listening


def _clear(path: str) -> None:
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise SocketInUse(f"{path!r} exists and is no socket")
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    probe.settimeout(1.0)
    try:
        probe.connect(path)
    except ConnectionRefusedError:
        os.unlink(path)
        return
    except OSError as problem:
        raise SocketInUse(f"{path!r} exists and does not answer: {problem}") from None
    finally:
        probe.close()
    raise SocketInUse(f"another process listens on {path!r}")
