"""One follower of a service's routes: what it wants, may use, and may still have under way."""

from __future__ import annotations

from tango.model.routes import FollowReport, ReplicaRoute

# A follower that was not heard for so long has no slots any more.
LEASE_S = 2.0
# What is wanted is taken back only after it was not needed for so long.
HOLD_S = 2.0
MAX_WANTED = 10_000


class Follower:
    """Its lease and its slots, by replica id.

    granted: what its latest table gives it. held: what it may have under way, so what is set aside
    for it: never below `granted`, and as before where less was granted until it says that it has
    the newer table. want: requests at once that it shall get slots for.
    until: end of the lease; once `lapsed`, of what was last known to be under way.
    """

    __slots__ = (
        "_want_at",
        "granted",
        "held",
        "in_flight",
        "lapsed",
        "left",
        "number",
        "passive",
        "sent",
        "until",
        "version",
        "want",
    )

    def __init__(self, number: int, now: float, *, passive: bool) -> None:
        self.number = number
        self.passive = passive
        self.want = 0 if passive else 1
        self._want_at = now
        self.granted: dict[str, int] = {}
        self.held: dict[str, int] = {}
        self.in_flight: dict[str, int] = {}
        self.sent: tuple[ReplicaRoute, ...] | None = None
        self.version = 0
        self.until = now + LEASE_S
        self.lapsed = False
        self.left = False

    @property
    def entitled(self) -> bool:
        """Whether it gets slots."""
        return not (self.passive or self.lapsed or self.left)

    def report(self, report: FollowReport, limit: int, now: float) -> bool:
        """Take a report and renew the lease; whether slots are to be dealt anew.

        limit: of requests under way at one replica that are believed. Replicas that it was never
        given are not looked at.
        """
        before = (self.held, self.want, self.lapsed)
        self.until = now + LEASE_S
        self.lapsed = False
        self.in_flight = {
            tally.replica: min(tally.in_flight, limit)
            for tally in report.replicas
            if tally.in_flight and tally.replica in self.held
        }
        newest = report.version >= self.version
        base = self.granted if newest else self.held
        held = dict(base)
        for replica, count in self.in_flight.items():
            held[replica] = max(count, held.get(replica, 0))
        self.held = held
        self._take_want(min(report.wanted, MAX_WANTED), now)
        if report.last:
            self.leave()
        return before != (self.held, self.want, self.lapsed) or self.left

    def leave(self) -> None:
        """It said that it goes, and has nothing under way."""
        self.left = True
        self.want = 0
        self.granted = {}
        self.held = {}
        self.in_flight = {}

    def lapse(self, now: float, timeout_s: float) -> None:
        """The lease is over, or what was under way then has had its time."""
        if self.lapsed or not self.in_flight:
            self.held = {}
            self.in_flight = {}
        else:
            self.held = dict(self.in_flight)
        self.granted = {}
        self.lapsed = True
        self.until = now + timeout_s

    @property
    def gone(self) -> bool:
        """Whether nothing is left of it."""
        return self.left and not self.held

    def _take_want(self, wanted: int, now: float) -> None:
        """More at once; less, after HOLD_S in which three quarters of it were not wanted."""
        need = max(1, wanted)
        if need > self.want:
            self.want, self._want_at = need, now
        elif 4 * need >= 3 * self.want:
            self._want_at = now
        elif now >= self._want_at + HOLD_S:
            self.want, self._want_at = need, now
