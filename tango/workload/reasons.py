"""Why requests were rejected or failed: how often which text, bounded in memory."""

from __future__ import annotations

from collections import Counter

from tango.model.request import CallReply

MAX_REASONS = 20
OTHER = "other reasons"


class Reasons(Counter[str]):
    """Counts of texts; beyond MAX_REASONS of them, new ones share one entry."""

    def note(self, reason: str) -> None:
        """One more request for this reason; nothing for "", which is none."""
        if reason:
            known = reason in self or len(self) < MAX_REASONS
            self[reason if known else OTHER] += 1


def reason_of(reply: CallReply) -> str:
    """Without its figures, so that a thousand predictions are one reason."""
    words = [
        "..." if any(letter.isdigit() for letter in word) else word for word in reply.error.split()
    ]
    return f"{reply.code.value}: {' '.join(words)}" if words else reply.code.value
