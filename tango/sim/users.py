"""Users of LC services: they send arrivals when they are due, whatever became of earlier ones."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from typing import Final, Protocol

from tango.model.request import CallReply, CallRequest, Code, Headers, Outcome
from tango.sim.engine import Engine
from tango.sim.loads import Distribution, RequestLoad, SimService, TracedRequest
from tango.sim.network import Jitter
from tango.sim.tally import Tally
from tango.sim.worker_shell import WORK_HEADER
from tango.workload.arrival import Arrival
from tango.workload.patterns import PatternSpec, arrivals
from tango.workload.reasons import reason_of

_OK: Final = Code.OK
_COMPLETED: Final = Outcome.COMPLETED
_LATE: Final = Outcome.LATE


class Site(Protocol):
    """What takes calls. engine: the site's."""

    engine: Engine

    def call(self, request: CallRequest, waiter: Callable[[CallReply, float], None]) -> bool:
        """Take a call that is here now; False where nobody listens."""
        ...


class Desk:
    """A site as its users see it. jitter: of its answers."""

    __slots__ = ("engine", "jitter", "site")

    def __init__(self, site: Site, jitter: Jitter) -> None:
        self.site = site
        self.engine = site.engine
        self.jitter = jitter


class Users:
    """What all who send have in common. stopped: nothing more is sent."""

    def __init__(self, tally: Tally, delay_s: float, starts_at: float) -> None:
        self.tally = tally
        self.delay_s = delay_s
        self.starts_at = starts_at
        self.stopped = False


class Sender:
    """Sends requests. Ids and jitter are its own, whatever others do."""

    def __init__(self, users: Users, prefix: str, jitter: Jitter) -> None:
        self.users = users
        self._prefix = f"{prefix}-"
        self._jitter = jitter
        self._numbers = 0

    def send(
        self,
        desk: Desk,
        service: str,
        sends_s: float,
        deadline_s: float,
        work: float,
        due_at: float,
    ) -> None:
        """One request goes out now, when it is due."""
        users = self.users
        users.tally.send(service, due_at)
        # To the bit, and in a tenth of the time that its decimal digits take.
        headers: Headers = () if work == 1.0 else ((WORK_HEADER, work.hex()),)
        self._numbers += 1
        request_id = self._prefix + f"{self._numbers:x}"
        request = CallRequest(request_id, service, headers=headers, deadline_s=sends_s)
        sent = Sent(users, desk, service, deadline_s, due_at, request)
        desk.engine.at(due_at + users.delay_s * self._jitter.factor(), sent.arrive)


class Sent:
    """A request on its way. due_at: its latency counts from then."""

    __slots__ = ("_deadline_s", "_desk", "_due_at", "_request", "_service", "_users")

    def __init__(
        self,
        users: Users,
        desk: Desk,
        service: str,
        deadline_s: float,
        due_at: float,
        request: CallRequest,
    ) -> None:
        self._users = users
        self._desk = desk
        self._service = service
        self._deadline_s = deadline_s
        self._due_at = due_at
        self._request = request

    def arrive(self, _: object) -> None:
        """It is at the edge."""
        if not self._desk.site.call(self._request, self.answered):
            users = self._users
            at = self._desk.engine.now
            why = "nobody listens at the edge"
            users.tally.end(self._service, self._due_at, Outcome.FAILED, at, why)

    def answered(self, reply: CallReply, leaves_at: float) -> None:
        """Judge as `tango load` does: by the time at which the user has the answer."""
        users = self._users
        at = leaves_at + users.delay_s * self._desk.jitter.factor()
        code = reply.code
        if code is _OK and reply.http_status < 400:
            fate = _COMPLETED if at - self._due_at <= self._deadline_s else _LATE
            users.tally.end(self._service, self._due_at, fate, at)
            return
        rejected = code is not _OK and reply.outcome is Outcome.REJECTED
        fate = Outcome.REJECTED if rejected else Outcome.FAILED
        users.tally.end(self._service, self._due_at, fate, at, reason_of(reply))


class Stream:
    """One stream of arrivals of one service, to one desk or several in turn."""

    def __init__(
        self,
        sender: Sender,
        engine: Engine,
        load: RequestLoad,
        service: SimService,
        desks: list[Desk],
        rng: random.Random,
    ) -> None:
        source = load.source
        self._sender = sender
        self._users = sender.users
        self._engine = engine
        self._service = service.spec.name
        self._sends_s = load.deadline_s
        self._deadline_s = load.deadline_s or service.spec.deadline_s
        self._random = service.distribution is Distribution.EXPONENTIAL
        self._desks = desks
        self._turn = 0
        # Of its own, so that the work of a request does not depend on how its time was drawn.
        self._draw = random.Random(rng.random()).random
        self._arrivals: Iterator[Arrival] = (
            arrivals(source, rng) if isinstance(source, PatternSpec) else source(rng)
        )

    def begin(self) -> None:
        """Plan the first."""
        self._next()

    def _next(self) -> None:
        arrival = next(self._arrivals, None)
        if arrival is not None:
            self._engine.at(self._users.starts_at + arrival.at_s, self._due, arrival.work)

    def _due(self, work: float) -> None:
        if self._users.stopped:
            return
        if self._random:
            # As expovariate(1.0) draws it.
            work *= -math.log(1.0 - self._draw())
        desk = self._desks[self._turn]
        self._turn = (self._turn + 1) % len(self._desks)
        due_at = self._engine.now
        self._sender.send(desk, self._service, self._sends_s, self._deadline_s, work, due_at)
        self._next()


class Trace:
    """One reader whose requests say where they arrive."""

    def __init__(
        self,
        sender: Sender,
        engine: Engine,
        requests: Iterator[TracedRequest],
        services: dict[str, SimService],
        desks: dict[str, Desk],
        rng: random.Random,
    ) -> None:
        self._sender = sender
        self._users = sender.users
        self._engine = engine
        self._requests = requests
        self._services = services
        self._desks = desks
        self._work = rng

    def begin(self) -> None:
        """Plan the first."""
        request = next(self._requests, None)
        if request is not None:
            self._engine.at(self._users.starts_at + request.at_s, self._due, request)

    def _due(self, request: TracedRequest) -> None:
        if self._users.stopped:
            return
        service = self._services[request.service]
        work = request.work
        if service.distribution is Distribution.EXPONENTIAL:
            work *= self._work.expovariate(1.0)
        own_s = request.deadline_s
        deadline_s = own_s or service.spec.deadline_s
        desk, due_at = self._desks[request.site], self._engine.now
        self._sender.send(desk, request.service, own_s, deadline_s, work, due_at)
        self.begin()
