"""A replica for tests (standard library only): waits until it is told to go on, and counts.

/              what it was started with: argv, environment, pid
/gate          answers once the gate is open
/parts         one part at once, the other once the gate is open (chunked)
/hold          never answers; counts when the client goes away
/wait?ms=N     answers after N ms
/big?bytes=N   a body of N bytes
/well          200, or 503 after /ill
/echo          the body that was sent
/open, /shut   open or shut the gate
/seen          {"held": n, "gone": n, "gated": n}
anything else  200, also for the health check
"""

from __future__ import annotations

import asyncio
import json
import os
import sys


class Replica:
    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.status = "200 OK"
        self.seen = {"held": 0, "gone": 0, "gated": 0}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (request := await read_request(reader)) is not None:
                await self.answer(*request, reader, writer)
                await writer.drain()
        except (OSError, EOFError):
            pass
        finally:
            writer.close()

    async def answer(
        self, target: str, sent: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        path, _, query = target.partition("?")
        status, body = "200 OK", b"ok"
        if path == "/":
            said = {"argv": sys.argv, "env": dict(os.environ), "pid": os.getpid()}
            body = json.dumps(said).encode()
        elif path == "/gate":
            self.seen["gated"] += 1
            await self.gate.wait()
        elif path == "/hold":
            self.seen["held"] += 1
            await reader.read(1)
            self.seen["gone"] += 1
            raise EOFError
        elif path == "/wait":
            await asyncio.sleep(float(query.removeprefix("ms=")) / 1000)
        elif path == "/ill":
            self.status = "503 Service Unavailable"
        elif path == "/well":
            status = self.status
        elif path == "/big":
            body = bytes(int(query.removeprefix("bytes=")))
        elif path == "/echo":
            body = sent
        elif path == "/open":
            self.gate.set()
        elif path == "/shut":
            self.gate.clear()
        elif path == "/seen":
            body = json.dumps(self.seen).encode()
        elif path == "/parts":
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
            await writer.drain()
            await self.gate.wait()
            writer.write(b"3\r\ntwo\r\n0\r\n\r\n")
            return
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)


async def read_request(reader: asyncio.StreamReader) -> tuple[str, bytes] | None:
    line = await reader.readline()
    if not line:
        return None
    length = 0
    while (header := await reader.readline()).strip():
        name, _, value = header.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    return line.split()[1].decode(), await reader.readexactly(length)


async def main() -> None:
    replica = Replica()
    server = await asyncio.start_server(replica.serve, "127.0.0.1", int(os.environ["PORT"]))
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
