"""Shows that a run goes on: redrawn in place on a terminal, else a plain line now and then."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console, RenderableType
from rich.live import Live

PLAIN_EVERY_S = 5.0


class Progress:
    """A context manager around a run; `show` is called about once a second.

    On a terminal the view is redrawn, in one write, so that nothing flickers; and is wiped at the
    end. Elsewhere (a file, a pipe, CI) a line is printed every 5 s. Writes to standard error
    unless told another console, so that the result alone is on standard output.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, highlight=False)
        self._live: Live | None = None
        self._next_plain_s = PLAIN_EVERY_S

    @property
    def redraws(self) -> bool:
        """Whether this is a terminal that can be redrawn."""
        return self.console.is_terminal and not self.console.is_dumb_terminal

    def __enter__(self) -> Progress:
        if self.redraws:
            self._live = Live(console=self.console, auto_refresh=False, transient=True)
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def show(self, at_s: float, view: RenderableType, line: str) -> None:
        """view: the picture for a terminal; line: the same in a few words; at_s: seconds since the
        start."""
        if self._live is not None:
            self._live.update(view, refresh=True)
        elif at_s >= self._next_plain_s:
            self._next_plain_s = at_s - at_s % PLAIN_EVERY_S + PLAIN_EVERY_S
            self.say(line)

    def say(self, line: str) -> None:
        """A line that stays."""
        if self.redraws:
            self.console.print(line, markup=False)
        else:
            # Whole, however narrow rich believes a pipe to be.
            self.console.print(line, markup=False, soft_wrap=True)
