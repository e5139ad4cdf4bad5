"""Numbering of one direction of a session stream by (incarnation, sequence); for wire shells.

Every message carries its sender's incarnation (drawn at the sender's start, later starts higher)
and a sequence that begins at 1 with each stream. A stream that shows a gap or an older incarnation
is closed by who reads it; the reconnect brings a full resync, so nothing has to be repaired here.
"""

from __future__ import annotations

import enum
from typing import Final

FIRST_SEQUENCE: Final = 1


class Verdict(enum.Enum):
    """What to do with a message: only ACCEPT is handed on.

    DUPLICATE: seen before, drop it. GAP: something before it is missing, close the stream.
    STALE: from an earlier life of the sender, close the stream.
    """

    ACCEPT = "accept"
    DUPLICATE = "duplicate"
    GAP = "gap"
    STALE = "stale incarnation"


class SessionGate:
    """Reads one direction of one peer's streams; keep it across streams to know stale ones.

    floor: the highest incarnation already known of that peer, 0 for none.
    """

    __slots__ = ("_expected", "_incarnation")

    def __init__(self, floor: int = 0) -> None:
        self._incarnation = floor
        self._expected = FIRST_SEQUENCE

    @property
    def incarnation(self) -> int:
        """The highest incarnation seen."""
        return self._incarnation

    @property
    def expected(self) -> int:
        """The sequence that is accepted next."""
        return self._expected

    def open(self) -> None:
        """A new stream of the peer begins: its numbering starts over."""
        self._expected = FIRST_SEQUENCE

    def check(self, incarnation: int, sequence: int) -> Verdict:
        """Judge one message, and move on if it is accepted.

        A higher incarnation is accepted with its first message only: what came before it on its
        stream is missing otherwise.
        """
        if incarnation < self._incarnation:
            return Verdict.STALE
        expected = self._expected if incarnation == self._incarnation else FIRST_SEQUENCE
        if sequence > expected:
            return Verdict.GAP
        if sequence < expected:
            return Verdict.DUPLICATE
        self._incarnation = incarnation
        self._expected = sequence + 1
        return Verdict.ACCEPT


class SessionNumbers:
    """Numbers what one stream sends: (incarnation, 1), (incarnation, 2) and so on."""

    __slots__ = ("_incarnation", "_next")

    def __init__(self, incarnation: int) -> None:
        self._incarnation = incarnation
        self._next = FIRST_SEQUENCE

    def draw(self) -> tuple[int, int]:
        """(incarnation, sequence) of the next message."""
        sequence = self._next
        self._next += 1
        return self._incarnation, sequence
