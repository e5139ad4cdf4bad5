"""The ring of decision records that each controller keeps: bounded, and cheap to add to."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator
from operator import itemgetter

from tango.model.decision import Decision, Form, Record, is_about

DEFAULT_RING = 4096


class Decisions:
    """The latest `keep` records of requests, and the latest `keep` of everything else.

    Two rings, so that a flood of requests does not wash away why a job waits. 0 keeps none, and
    costs next to nothing.

    >>> decisions.record(NODE_STATE, now, "n1", "cordoned", "")

    record(form, now, *parts): anything but requests. request(form, now, *parts): of requests, for
    the forms that are made for each of them.
    """

    __slots__ = ("_others", "_requests", "keep", "record", "request")

    def __init__(self, keep: int = DEFAULT_RING) -> None:
        self.keep = keep
        self._requests: deque[Decision] = deque(maxlen=keep)
        self._others: deque[Decision] = deque(maxlen=keep)
        self.request: Record = _nothing
        self.record: Record = _nothing
        if keep:
            numbers = itertools.count(1).__next__
            self.request = _adder(self._requests, numbers)
            self.record = _adder(self._others, numbers)

    @property
    def last(self) -> int:
        """Number of the latest record, 0 for none yet."""
        return max((ring[-1][0] for ring in (self._requests, self._others) if ring), default=0)

    def since(self, number: int) -> list[Decision]:
        """Records with higher numbers that are still there, in order.

        Numbers have no gaps: what is missing between `number` and the last was overwritten.
        """
        found: list[Decision] = []
        for ring in (self._requests, self._others):
            for record in reversed(ring):
                if record[0] <= number:
                    break
                found.append(record)
        found.sort(key=itemgetter(0))
        return found

    def take(self) -> list[Decision]:
        """Everything that is kept, in order; nothing of it is kept any more."""
        found = [*self._requests, *self._others]
        self._requests.clear()
        self._others.clear()
        found.sort(key=itemgetter(0))
        return found

    def about(self, kind: str, name: str) -> Iterator[Decision]:
        """What is kept on a "request", "service", "node" or "job"; the latest first.

        Records of requests only for a request.
        """
        ring = self._requests if kind == "request" else self._others
        return (record for record in reversed(ring) if is_about(record, kind, name))

    def requests_of(self, kind: str, name: str) -> Iterator[Decision]:
        """Records of requests of this "service", or that concern this "node"; the latest first."""
        return (record for record in reversed(self._requests) if is_about(record, kind, name))

    def latest(self, count: int) -> list[Decision]:
        """The latest of all but requests, in order."""
        return list(itertools.islice(reversed(self._others), count))[::-1]

    def forgotten(self, kind: str) -> Decision | None:
        """The oldest record that is kept for this kind of subject, where older ones are gone.

        None where none was overwritten yet: what is not found then has never been.
        """
        ring = self._requests if kind == "request" else self._others
        return ring[0] if self.keep and len(ring) == self.keep else None


def _adder(ring: deque[Decision], number: object) -> Record:
    # Closures rather than methods: this runs for each request, and finds all it needs at once.
    append = ring.append

    def add(form: Form, now: float, *parts: object) -> None:
        append((number(), now, form, *parts))  # type: ignore[operator]

    return add


def _nothing(form: Form, now: float, *parts: object) -> None:
    """The ring keeps nothing."""
