"""One event in the log for each kind of refusal and peer, not one for each try."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

log = logging.getLogger("tango.wire")
# A peer that is refused for the same reason again within this time is only counted.
QUIET_S = 10.0
MAX_KINDS = 1024


class Refusals:
    """Logs who was refused what and why, at most once per host, method and reason in QUIET_S."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # (host, method, reason) -> when it was last logged, and how many since were not.
        self._kinds: dict[tuple[str, str, str], tuple[float, int]] = {}

    def note(self, peer: str, reason: str, method: str = "") -> None:
        """peer: as gRPC names it, "ipv4:192.0.2.7:41234"."""
        now = self._clock()
        key = (peer.rpartition(":")[0], method, reason)
        last, quiet = self._kinds.get(key, (-QUIET_S, 0))
        if now - last < QUIET_S:
            self._kinds[key] = (last, quiet + 1)
            return
        if key not in self._kinds and len(self._kinds) >= MAX_KINDS:
            self._forget(now)
            if len(self._kinds) >= MAX_KINDS:
                # Somebody tries everything from everywhere: what is known is enough for a while.
                return
        self._kinds[key] = (now, 0)
        fields: dict[str, object] = {"peer": peer, "reason": reason}
        if method:
            fields["method"] = method
        if quiet:
            fields["not_logged_before"] = quiet
        log.warning("refused", extra={"fields": fields})

    def _forget(self, now: float) -> None:
        for key, (last, _) in tuple(self._kinds.items()):
            if now - last >= QUIET_S:
                del self._kinds[key]
