"""Links between processes, and the streams that they carry: delay, order, breakage, redialling."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

from tango.sim.engine import Engine
from tango.sim.scenario import Costs

# Factors of the delay are drawn once and taken in turn: a draw for each message costs too much.
JITTER_DRAWS = 8191
JITTER_STEP = 1009
# A connection is there after a few ways: TCP, HTTP/2, and the stream itself.
CONNECT_WAYS = 4
# A stream that lasted so long resets the backoff of who dials (as tango.daemons.redial).
STEADY_S = 5.0


class Jitter:
    """Factors exp(N(0, sigma)), taken in turn from one table; always 1 with sigma 0.

    Whoever sends has one of its own: what one site draws must not depend on when another does.
    """

    __slots__ = ("_at", "_factors")

    def __init__(self, factors: list[float], start: int = 0) -> None:
        self._factors = factors
        self._at = start % len(factors)

    @classmethod
    def drawn(cls, sigma: float, rng: random.Random) -> Jitter:
        """A new table."""
        return cls([math.exp(rng.gauss(0, sigma)) for _ in range(JITTER_DRAWS if sigma else 1)])

    @property
    def least(self) -> float:
        """The smallest factor there is."""
        return min(self._factors)

    def another(self, rng: random.Random) -> Jitter:
        """For another sender, which begins elsewhere in the table."""
        return Jitter(self._factors, rng.randrange(JITTER_DRAWS))

    def beside(self, number: int) -> Jitter:
        """For one of several that begin at different places, each always at the same."""
        return Jitter(self._factors, self._at + number * JITTER_STEP)

    def factor(self) -> float:
        """The next one."""
        self._at = at = (self._at + 1) % len(self._factors)
        return self._factors[at]


class Link:
    """One way between two processes. up: whether anything passes; held up else, and sent later.

    jitter: where its two sides' own begin; None for none. A stream whose link is down for
    keepalive_s is given up by both ends.
    """

    __slots__ = (
        "_down_since", "_engine", "_jitter", "_jitters", "delay_s", "keepalive_s", "streams", "up",
    )  # fmt: skip

    def __init__(
        self,
        engine: Engine,
        delay_s: float,
        jitter: Jitter | None,
        keepalive_s: float,
    ) -> None:
        self._engine = engine
        self.keepalive_s = keepalive_s
        self._down_since = 0.0
        self.delay_s = delay_s
        self._jitter = jitter
        self._jitters: dict[int, Jitter] = {}
        self.up = True
        self.streams: list[Stream] = []

    def jitter_of(self, engine: Engine) -> Jitter | None:
        """Of what is sent on the side that has this engine."""
        if self._jitter is None:
            return None
        found = self._jitters.get(engine.number)
        if found is None:
            found = self._jitters[engine.number] = self._jitter.beside(engine.number)
        return found

    def cut(self) -> None:
        """Nothing passes any more; both ends find out by their silence alone."""
        if self.up:
            self.up = False
            self._down_since = self._engine.now
            self._engine.at(self._engine.now + self.keepalive_s, self._given_up, self._down_since)

    def mend(self) -> None:
        """What was held up is on its way now."""
        if not self.up:
            self.up = True
            for stream in list(self.streams):
                stream.release()

    def _given_up(self, since: float) -> None:
        if self.up or self._down_since != since:
            return
        for stream in list(self.streams):
            stream.lose("keepalive: no answer")


class End:
    """One side of a stream. receive: takes each message; ended: is told once why it ended.

    Both are set by who holds the end. other: the far side. deliver: its `arrive`.
    """

    __slots__ = (
        "_jitter", "closed", "deliver", "ended", "engine", "held", "last_at", "other", "receive",
        "stream",
    )  # fmt: skip

    def __init__(self, stream: Stream, engine: Engine, jitter: Jitter | None) -> None:
        self.stream = stream
        self.engine = engine
        self._jitter = jitter
        self.closed = False
        self.last_at = 0.0
        self.held: list[Any] = []
        self.receive: Callable[[Any], object] = _nobody
        self.ended: Callable[[str], object] = _nobody
        self.other: End
        self.deliver: Callable[[Any], object]

    def send(self, message: object, leaves_at: float) -> None:
        """To the other side, after all that was sent before; lost with the stream."""
        if self.closed:
            return
        link = self.stream.link
        if not link.up:
            self.held.append(message)
            return
        jitter = self._jitter
        at = leaves_at + (link.delay_s if jitter is None else link.delay_s * jitter.factor())
        if at < self.last_at:
            at = self.last_at
        self.last_at = at
        self.other.engine.at(at, self.deliver, message)

    def arrive(self, message: object) -> None:
        """A message from the other side is here."""
        if not self.closed:
            self.receive(message)

    def end(self, reason: str) -> None:
        """The stream is over for this side; it is told so."""
        if not self.closed:
            self.closed = True
            self.ended(reason)

    def close(self, reason: str) -> None:
        """This side ends the stream: told at once, the other side when it hears of it."""
        self.stream.hang_up(self, reason)
        self.end(reason)


class Stream:
    """Two ends over a link; a is who dialled. Each end has its own side's engine."""

    __slots__ = ("a", "b", "link")

    def __init__(self, near: Engine, far: Engine, link: Link) -> None:
        self.link = link
        self.a = End(self, near, link.jitter_of(near))
        self.b = End(self, far, link.jitter_of(far))
        self.a.other, self.b.other = self.b, self.a
        self.a.deliver, self.b.deliver = self.b.arrive, self.a.arrive
        link.streams.append(self)

    def hang_up(self, end: End, reason: str) -> None:
        """The other side is told in its turn, unless the link is down: then its silence tells."""
        self._drop()
        other, now = end.other, end.engine.now
        if self.link.up:
            other.engine.at(max(end.last_at, now + self.link.delay_s), other.end, reason)
        else:
            other.engine.at(now + self.link.keepalive_s, other.end, reason)

    def vanish(self, end: End, *, silent: bool) -> None:
        """The process of this end has died; silent: with its machine, so nobody resets it."""
        if end.closed:
            return
        end.closed = True
        if silent:
            self._drop()
            at = end.engine.now + self.link.keepalive_s
            end.other.engine.at(at, end.other.end, "keepalive: no answer")
        else:
            self.hang_up(end, "connection reset")

    def lose(self, reason: str) -> None:
        """Both sides give up."""
        self._drop()
        self.a.end(reason)
        self.b.end(reason)

    def release(self) -> None:
        """What was held up goes on."""
        for end in (self.a, self.b):
            held, end.held = end.held, []
            for message in held:
                end.send(message, end.engine.now)

    def _drop(self) -> None:
        if self in self.link.streams:
            self.link.streams.remove(self)


class Dialler:
    """Keeps one stream to an upper side; jittered exponential backoff in between.

    far: the upper side's engine. accept: takes the far end, False where nobody listens.
    opened: takes this one's.
    """

    def __init__(
        self,
        engine: Engine,
        far: Engine,
        link: Link,
        costs: Costs,
        rng: random.Random,
        accept: Callable[[End], bool],
        opened: Callable[[End], None],
    ) -> None:
        self._engine = engine
        self._far = far
        self._link = link
        self._costs = costs
        self._rng = rng
        self._accept = accept
        self._opened = opened
        self._backoff_s = costs.redial_s
        self._opened_at = 0.0
        self._stopped = False
        self.end: End | None = None

    def dial(self, _: object = None) -> None:
        """Try now."""
        if self._stopped:
            return
        if self._link.up:
            way_s = self._link.delay_s * CONNECT_WAYS
            self._engine.at(self._engine.now + way_s, self._connect)
        else:
            self._later()

    def _connect(self, _: object) -> None:
        if self._stopped:
            return
        stream = Stream(self._engine, self._far, self._link)
        if not self._link.up or not self._accept(stream.b):
            self._link.streams.remove(stream)
            self._later()
            return
        end = self.end = stream.a
        self._opened_at = self._engine.now
        self._opened(end)
        told = end.ended

        def ended(reason: str) -> None:
            told(reason)
            self._lost()

        end.ended = ended

    def _lost(self) -> None:
        """The stream has ended: dial again after a while."""
        self.end = None
        if self._stopped:
            return
        if self._engine.now - self._opened_at > STEADY_S:
            self._backoff_s = self._costs.redial_s
        self._later()

    def stop(self, *, silent: bool) -> None:
        """The process that dials has died."""
        self._stopped = True
        if self.end is not None:
            self.end.stream.vanish(self.end, silent=silent)

    def _later(self) -> None:
        pause_s = self._backoff_s * self._rng.uniform(0.5, 1.0)
        self._backoff_s = min(2 * self._backoff_s, self._costs.redial_longest_s)
        self._engine.at(self._engine.now + pause_s, self.dial)


def _nobody(_: object) -> None:
    """Nobody holds this end any more."""
