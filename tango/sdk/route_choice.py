"""Which replica a direct call goes to: smooth weighted round robin within the slots of each."""

from __future__ import annotations

from tango.adapters.http_pool import HttpPool
from tango.adapters.replica_http import ReplicaClient
from tango.model.routes import ReplicaRoute, ReplicaTally, RouteTable

# A replica that did not take a connection is left alone for so long, or until a newer table.
AVOID_S = 1.0


class Choice:
    """One replica of the table in use, and what this client has and had there.

    client: of its host, once it was called; pool: the connections to it, once there are any.
    current: its place in the round; see `Choices.pick`. avoid_until: it took no connection.
    """

    __slots__ = (
        "avoid_until",
        "client",
        "completed",
        "current",
        "failed",
        "in_flight",
        "late",
        "latency_s",
        "pool",
        "route",
        "slots",
    )

    def __init__(self, route: ReplicaRoute) -> None:
        self.route = route
        self.slots = route.slots
        self.client: ReplicaClient | None = None
        self.pool: HttpPool | None = None
        self.current = 0
        self.in_flight = 0
        self.avoid_until = 0.0
        self.completed = 0
        self.late = 0
        self.failed = 0
        self.latency_s = 0.0

    @property
    def counts(self) -> bool:
        """Whether there is anything to report."""
        return bool(self.in_flight or self.completed or self.late or self.failed)

    def tally(self) -> ReplicaTally:
        """What is to be reported; the counts start from 0 again."""
        tally = ReplicaTally(
            self.route.replica,
            self.in_flight,
            self.completed,
            self.late,
            self.failed,
            self.latency_s,
        )
        self.completed = self.late = self.failed = 0
        self.latency_s = 0.0
        return tally


class Choices:
    """The replicas of the latest table, and older ones that still have requests under way."""

    def __init__(self) -> None:
        self._all: dict[str, Choice] = {}
        self._usable: list[Choice] = []
        # The one where there is but one.
        self._only: Choice | None = None

    def adopt(self, table: RouteTable) -> None:
        """Take over a table; replicas that stay keep their counts and their place in the round."""
        found: dict[str, Choice] = {}
        for route in table.routes:
            choice = self._all.get(route.replica)
            if choice is None:
                choice = Choice(route)
            elif (choice.route.host, choice.route.port) != (route.host, route.port):
                choice.client = choice.pool = None
            choice.route = route
            choice.slots = route.slots
            choice.avoid_until = 0.0
            found[route.replica] = choice
        self._usable = [choice for choice in found.values() if choice.slots]
        self._only = self._usable[0] if len(self._usable) == 1 else None
        for replica, choice in self._all.items():
            if replica not in found and choice.counts:
                found[replica] = choice
        self._all = found

    def pick(self, now: float, tried: tuple[Choice, ...] = ()) -> Choice | None:
        """The next replica with a free slot; None where there is none.

        Smooth weighted round robin (nginx, ngx_http_upstream_get_peer): each gains its weight, the
        one that has most is picked and pays the sum, so that picks of one are spread out evenly.
        """
        only = self._only
        if only is not None:
            free = only.in_flight < only.slots and only.avoid_until <= now
            return only if free and (not tried or only not in tried) else None
        best: Choice | None = None
        total = 0
        for choice in self._usable:
            if choice.in_flight >= choice.slots or choice.avoid_until > now or choice in tried:
                continue
            weight = choice.route.weight
            total += weight
            choice.current += weight
            if best is None or choice.current > best.current:
                best = choice
        if best is not None:
            best.current -= total
        return best

    def tallies(self) -> tuple[ReplicaTally, ...]:
        """What is to be reported, by replica."""
        return tuple(choice.tally() for choice in self._all.values() if choice.counts)

    def settled(self) -> bool:
        """Whether there is nothing to report."""
        return not any(choice.counts for choice in self._all.values())
