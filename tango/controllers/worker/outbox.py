"""The commands of the handle() in progress, in the order in which they are to be carried out."""

from __future__ import annotations

from tango.controllers.decisions import DEFAULT_RING, Decisions
from tango.model.commands import Note, SendUpstream, WorkerCommand
from tango.model.decision import Form
from tango.model.messages import FromWorker


class Outbox:
    """Collects commands, and keeps records of decisions.

    session: the stream to the edge, None while there is none. now: of the handle() in progress.
    """

    __slots__ = ("_commands", "decisions", "now", "session")

    def __init__(self, ring: int = DEFAULT_RING) -> None:
        self.session: int | None = None
        self.now = 0.0
        self.decisions = Decisions(ring)
        self._commands: list[WorkerCommand] = []

    def add(self, command: WorkerCommand) -> None:
        """To be carried out after those before it."""
        self._commands.append(command)

    def send(self, message: FromWorker) -> None:
        """To the edge; dropped while it is away, since a resync begins each session."""
        if self.session is not None:
            self._commands.append(SendUpstream(self.session, message))

    def note(self, level: str, event: str, **fields: object) -> None:
        """One log line; for what is rare, never for each request."""
        self._commands.append(Note(level, event, tuple(fields.items())))

    def record(self, form: Form, *parts: object) -> None:
        """A decision of now, for `explain`."""
        self.decisions.record(form, self.now, *parts)

    def take(self) -> list[WorkerCommand]:
        """All of them; the next handle() begins with none."""
        commands = self._commands
        self._commands = []
        return commands
