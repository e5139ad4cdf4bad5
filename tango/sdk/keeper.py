"""Starts daemons of an embedded cluster again when they have died, as systemd does on a node."""

from __future__ import annotations

from tango.sdk.embedded import EmbeddedCluster

FIRST_S = 0.5
MOST_S = 10.0
# A daemon that lived this long has recovered: its next death is a first one.
FORGET_S = 60.0


class Keeper:
    """Call `look` now and then; each death of a daemon in a row doubles the wait."""

    def __init__(self, cluster: EmbeddedCluster) -> None:
        self._cluster = cluster
        self._due: dict[str, float] = {}
        self._waits: dict[str, tuple[float, float]] = {}  # name -> last wait, when it was started

    def look(self, now: float) -> list[str]:
        """Start what is due; a sentence for each death and each start. now: seconds."""
        said = []
        for name, how in self._cluster.gone().items():
            if name in self._due:
                continue
            last_s, started = self._waits.get(name, (0.0, now))
            if now - started > FORGET_S:
                last_s = 0.0
            wait_s = min(MOST_S, max(FIRST_S, 2 * last_s))
            self._waits[name] = wait_s, now
            self._due[name] = now + wait_s
            said.append(f"{name} {how}; it is started again in {wait_s:g} s")
        due = [name for name, when in self._due.items() if when <= now]
        if due:
            for name in self._cluster.revive(due):
                self._waits[name] = self._waits[name][0], now
                said.append(f"{name} is started again")
            for name in due:
                del self._due[name]
        return said
