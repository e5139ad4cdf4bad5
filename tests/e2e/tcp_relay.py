"""A TCP relay that makes two processes of one machine distant: delay, jitter, lost connections.

For kernels without netem (tc-netem(8)). Bytes keep their order, as on a real path; a connection
that is cut is reset for both ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator

CHUNK = 65536
# What may be on its way at one time, each way of a connection: the rest waits at its sender.
WINDOW_BYTES = 8 * 2**20


class TcpRelay:
    """Between who connects to `address` and the server at host:port.

    delay_s, jitter_s: each way, the jitter uniform on top. away: connections are reset at once.
    """

    def __init__(self, host: str, port: int, delay_s: float = 0.0, seed: int = 0) -> None:
        self._host = host
        self._port = port
        self._rng = random.Random(seed)
        self._connections: dict[asyncio.Task[None], asyncio.Event] = {}
        self._server: asyncio.Server | None = None
        self.delay_s = delay_s
        self.jitter_s = 0.0
        self.away = False
        self.accepted = 0

    @property
    def address(self) -> str:
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"{host}:{port}"

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)

    def cut(self) -> None:
        """Every connection ends now, with what was on its way."""
        for ending in self._connections.values():
            ending.set()

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        ending = self._connections[task] = asyncio.Event()
        self.accepted += 1
        far: asyncio.StreamWriter | None = None
        work: list[asyncio.Task[object]] = []
        try:
            if not self.away:
                far_reader, far = await asyncio.open_connection(self._host, self._port)
                work.append(asyncio.create_task(self._carry(reader, far)))
                work.append(asyncio.create_task(self._carry(far_reader, writer)))
                work.append(asyncio.create_task(ending.wait()))
                await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
        except OSError:
            pass
        finally:
            for each in work:
                each.cancel()
            await asyncio.gather(*work, return_exceptions=True)
            for end in (writer, far):
                if end is not None:
                    end.transport.abort()
            del self._connections[task]

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on what comes, each piece delay_s later, in order."""
        loop = asyncio.get_running_loop()
        held: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(WINDOW_BYTES // CHUNK)

        async def receive() -> None:
            with contextlib.suppress(OSError):
                while data := await reader.read(CHUNK):
                    late = self.delay_s + self._rng.uniform(0, self.jitter_s)
                    await held.put((loop.time() + late, data))
            await held.put((0.0, b""))

        receiver = asyncio.create_task(receive())
        try:
            while True:
                at, data = await held.get()
                if not data:
                    return
                await asyncio.sleep(max(0.0, at - loop.time()))
                writer.write(data)
                await writer.drain()
        finally:
            receiver.cancel()
            await asyncio.gather(receiver, return_exceptions=True)


@contextlib.asynccontextmanager
async def distant(address: str, delay_s: float = 0.0) -> AsyncIterator[TcpRelay]:
    """A relay to this address, on a port of its own."""
    host, _, port = address.rpartition(":")
    relay = TcpRelay(host, int(port), delay_s)
    await relay.start()
    try:
        yield relay
    finally:
        await relay.close()
