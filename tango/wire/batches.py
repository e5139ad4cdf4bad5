"""Cuts what waits on a call stream into messages of a size that travels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, TypeVar

# Larger batches gain nothing, and one must stay below the message limit however many wait.
BATCH_BYTES = 2**20


class Sized(Protocol):
    """A protobuf message."""

    def ByteSize(self) -> int:  # noqa: N802 - protobuf's name
        """Bytes on the wire."""
        ...


M = TypeVar("M", bound=Sized)


def batches(messages: Sequence[M]) -> Iterator[Sequence[M]]:
    """All of them in order, in runs of at most 1 MiB; a larger one goes alone."""
    start = size = 0
    for index, message in enumerate(messages):
        length = message.ByteSize()
        if size + length > BATCH_BYTES and index > start:
            yield messages[start:index]
            start, size = index, 0
        size += length
    yield messages[start:]
