"""The decision log of all daemons of a simulation, as one text of JSON lines in a fixed order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from tango.controllers.decisions import Decisions
from tango.model.decision import line
from tango.sim.shell import Controller

# Between two looks a daemon may decide so often; beyond that the oldest are lost, and that is said.
RING = 4096
EVERY_S = 0.05


class Text(Protocol):
    """A text file that is open for writing, or what looks like one."""

    def write(self, text: str, /) -> object:
        """Append."""
        ...


class DecisionLog:
    """Lines as a daemon's own log has them, with the daemon in front: {"daemon", "v", "n", ...}.

    flush() writes what was decided since the last time, daemon by daemon in the order in which they
    were added. `at` is virtual time, 0 where the daemons start.
    """

    def __init__(self, text: Text) -> None:
        self._text = text
        self._daemons: list[tuple[str, Callable[[], Controller | None]]] = []
        # By daemon: whose records were seen last, and the number of the next.
        self._next: dict[str, tuple[Decisions, int]] = {}
        self.lines = 0

    def add(self, name: str, controller: Callable[[], Controller | None]) -> None:
        """A daemon, and what its controller is now; None while it is down."""
        self._daemons.append((name, controller))

    def flush(self) -> None:
        """Write everything that is new."""
        for name, current in self._daemons:
            controller = current()
            if controller is not None:
                self.write(name, controller)

    def write(self, name: str, controller: Controller) -> None:
        """Write what is new of one daemon; also when its process is about to die."""
        decisions = controller.decisions
        records = decisions.take()
        if not records:
            return
        seen, expected = self._next.get(name, (decisions, 1))
        if seen is not decisions:
            expected = 1
        head = f'{{"daemon":"{name}",'
        out = []
        for record in records:
            if record[0] > expected:
                out.append(f'{head}"kind":"lost","records":{record[0] - expected}}}\n')
            out.append(f"{head}{line(record)[1:]}\n")
            expected = record[0] + 1
        self._next[name] = (decisions, expected)
        self.lines += len(out)
        self._text.write("".join(out))
