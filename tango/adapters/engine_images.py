"""Asks a container engine which images its node has: the Docker Engine API, over a unix socket.

Docker and Podman (`podman system service`) both answer GET /images/json. Whoever may use that
socket is as good as root there: it is read from, and never anything else. Sources: Docker Engine
API v1.43, ImageList; podman-system-service(1).
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Iterator
from typing import Any

import httptools

from tango.model.errors import InvalidField, TangoError, Unavailable
from tango.model.image import parse_image
from tango.model.layers import MAX_HELD_IMAGES, MAX_NAMES, HeldImage

# 500 images with their labels are some 0.5 MB. Read as objects it takes several times that.
MAX_BYTES = 2 * 2**20
MAX_HEAD_BYTES = 16 * 1024
TIMEOUT_S = 10.0
_READ_BYTES = 64 * 1024
_REQUEST = (
    b"GET /images/json HTTP/1.1\r\nHost: engine\r\nAccept: application/json\r\n"
    b"User-Agent: tango\r\nConnection: close\r\n\r\n"
)


class BadAnswer(TangoError):
    """The engine answered with something that cannot be used."""


class EngineImages:
    """ImageSource over an engine's socket: a connection for each question.

    An answer is read in a thread, and only where it is not the one before: requests pass through
    the same event loop.
    """

    def __init__(self, socket: str, *, timeout_s: float = TIMEOUT_S) -> None:
        self._socket = socket
        self._timeout_s = timeout_s
        self._seen = b""
        self._read: tuple[tuple[HeldImage, ...], int] = ((), 0)

    async def images(self) -> tuple[tuple[HeldImage, ...], int]:
        """See ports.ImageSource."""
        try:
            async with asyncio.timeout(self._timeout_s):
                body = await self._ask()
        except TimeoutError:
            raise Unavailable(f"{self._socket}: no answer within {self._timeout_s:g} s") from None
        except OSError as error:
            raise Unavailable(f"{self._socket}: {error.strerror or error}") from None
        digest = hashlib.sha256(body).digest()
        if digest != self._seen:
            try:
                self._read = await asyncio.to_thread(read_images, body)
            except BadAnswer as error:
                raise BadAnswer(f"{self._socket}: {error}") from None
            self._seen = digest
        return self._read

    async def _ask(self) -> bytes:
        reader, writer = await asyncio.open_unix_connection(self._socket)
        answer = _Answer()
        answer.parser = parser = httptools.HttpResponseParser(answer)
        try:
            writer.write(_REQUEST)
            while not answer.complete:
                data = await reader.read(_READ_BYTES)
                if not data:
                    break
                answer.received(len(data))
                parser.feed_data(data)
        except BadAnswer as error:
            raise BadAnswer(f"{self._socket}: {error}") from None
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            cause = error.__context__
            what = cause if isinstance(cause, BadAnswer) else f"no HTTP/1.1: {error}"
            raise BadAnswer(f"{self._socket}: {what}") from None
        finally:
            writer.close()
        if not answer.complete:
            raise Unavailable(f"{self._socket}: closed before the whole answer was there")
        if answer.status != 200:
            raise Unavailable(f"{self._socket}: answered {answer.status}")
        return b"".join(answer.parts)


class _Answer:
    """What the parser calls back; bounded."""

    def __init__(self) -> None:
        self.parser: httptools.HttpResponseParser | None = None
        self.parts: list[bytes] = []
        self.complete = False
        self.status = 0
        self._size = 0
        self._since_body = 0

    def received(self, size: int) -> None:
        """Bytes that are no body, such as fields without end, are bounded too."""
        self._since_body += size
        if self._since_body > MAX_HEAD_BYTES + _READ_BYTES:
            raise BadAnswer(f"its head is above {MAX_HEAD_BYTES} bytes")

    def on_body(self, data: bytes) -> None:
        """A part of it."""
        self._since_body = 0
        self._size += len(data)
        if self._size > MAX_BYTES:
            raise BadAnswer(f"its list of images is above {MAX_BYTES} bytes")
        self.parts.append(data)

    def on_message_complete(self) -> None:
        """Whole; an interim answer (1xx), which nobody asked for, ends it likewise."""
        if not self.complete and self.parser is not None:
            self.complete = True
            self.status = self.parser.get_status_code()


def read_images(body: bytes) -> tuple[tuple[HeldImage, ...], int]:
    """The images of an answer, by name, and how many more there are. Raises BadAnswer.

    Images without a name are left out: nobody can ask for them. Of too many the largest count.
    """
    try:
        rows = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadAnswer(f"no JSON: {error}") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise BadAnswer("no list of images")
    found = [image for image in map(_image, rows) if image.names]
    found.sort(key=lambda image: (-image.size_bytes, image.names))
    kept = sorted(found[:MAX_HELD_IMAGES], key=lambda image: image.names)
    return tuple(kept), len(found) - len(kept)


def _image(row: dict[str, Any]) -> HeldImage:
    size = row.get("Size", 0)
    if type(size) is not int or not 0 <= size < 2**63:
        raise BadAnswer("an image without a size")
    names: dict[str, None] = {}
    for key in ("RepoTags", "RepoDigests"):
        names.update(dict.fromkeys(_names(row.get(key))))
    return HeldImage(tuple(sorted(names)[:MAX_NAMES]), size_bytes=size)


def _names(texts: object) -> Iterator[str]:
    """In full. Engines also list "<none>:<none>" and null: no names, and no errors."""
    if texts is None:
        return
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise BadAnswer("an image whose names are no texts")
    for text in texts:
        try:
            yield str(parse_image(text))
        except InvalidField:
            continue
