"""What can be wrong with a registry's answer, beside Unavailable, NotFound and Refused."""

from __future__ import annotations

import json

from tango.model.errors import TangoError, Unavailable


class BadReply(TangoError):
    """A registry answered with something that cannot be used: malformed, or too large."""


class BadManifest(BadReply):
    """It sent something that is no manifest, or not one that can be used."""


class DigestMismatch(BadManifest):
    """It sent other content than the digest says: it lies, or something between does."""


class RegistryBusy(Unavailable):
    """It asked for a longer pause than there was time for. retry_after_s: at least so long."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


def reason(body: bytes) -> str:
    """What the registry says for itself: the first of its errors, printable, and not too long."""
    try:
        first = json.loads(body)["errors"][0]
        text = f"{first['code']}: {first['message']}"
    except (ValueError, RecursionError, LookupError, TypeError):
        return ""
    printable = "".join(c if c.isprintable() else " " for c in text)
    return f": {printable[:200]}"
