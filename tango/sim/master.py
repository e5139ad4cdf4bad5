"""What the processes of edges and of the central master have in common: operators, and a store."""

from __future__ import annotations

import itertools
from collections.abc import Callable

from tango.model import commands as cmd
from tango.model import events as ev
from tango.sim.engine import Engine
from tango.sim.scenario import Costs
from tango.sim.shell import Shell
from tango.sim.store import Store

Done = Callable[[Exception | None], None]
"""Is told of the error of what was asked, or None."""


class Master:
    """One life of such a process. shell: made by who knows its controller."""

    shell: Shell

    def __init__(self, engine: Engine, store: Store, costs: Costs) -> None:
        self._engine = engine
        self._store = store
        self._costs = costs
        self._ids = itertools.count(1)
        self._asked: dict[int, Done] = {}

    def ask(self, event_of: Callable[[int], object], done: Done) -> None:
        """An operator's or a user's request."""
        op_id = self.number()
        self._asked[op_id] = done
        self.shell.post(event_of(op_id))

    def number(self) -> int:
        """The next session's or request's."""
        return next(self._ids)

    def _answer(self, command: cmd.Answer) -> None:
        done = self._asked.pop(command.op_id, None)
        if done is not None:
            done(command.error)

    def _persist(self, command: cmd.Persist) -> None:
        self._store.commit(command, self._persisted)

    def _persisted(self, number: int) -> None:
        self.shell.post(ev.Persisted(number))


def ignore(_: object) -> None:
    """A log line, or news for watchers: nobody reads it here."""
