"""`tango simulate --replay FILE`: what a daemon recorded, through its controller once more."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import click

from tango import __version__
from tango.adapters.decision_log import log_head, log_line, logged
from tango.adapters.line_file import LineFile
from tango.adapters.recording_reader import RecordingReader
from tango.model.decision import Decision
from tango.model.errors import InvalidField, TangoError
from tango.sim.policies import policy_for
from tango.sim.replay import Replay, ReplayBroke, Replayed

# One file, however long, where the daemon had no log whose bounds would hold here too.
NO_BOUND = 2**62


def replay_recording(recording: Path, log: Path | None, policy: str) -> int:
    """Make the decisions of a daemon again, from its recording.

    The controller is begun as it was and given the same events at the same times; policies are
    asked again, as they are installed here. Where nothing has changed, the decision log is the same
    byte by byte. policy: asked in place of those that were asked, "" for the same.

    0 if the recording was replayed to its end, whether or not plans differ. Raises TangoError.
    """
    with RecordingReader(recording) as source:
        chosen = policy_for(source.start, policy) if policy else None
        life, which = source.life, source.start.settings.decisions.log_requests
        click.echo(f"{life.daemon}, incarnation {life.incarnation}, recorded by {source.version}")
        if source.version != __version__:
            click.echo(f"this is {__version__}, and may decide otherwise", err=True)
        if log is None:
            replay = Replay(source.start, lambda _: None, chosen)
            _run(replay, source)
        else:
            with closing(_opened(log, source)) as file:

                def write(records: Sequence[Decision]) -> None:
                    file.write(log_line(one) for one in records if logged(one, which))

                replay = Replay(source.start, write, chosen)
                _run(replay, source)
    for line in _summary(replay.result, source):
        click.echo(line)
    if log is not None:
        click.echo(f"decisions: {log}")
    return 0


def _run(replay: Replay, source: RecordingReader) -> None:
    try:
        replay.run(source)
    except ReplayBroke as error:
        for line in _summary(replay.result, source):
            click.echo(line)
        raise TangoError(f"{source.where(error.line)}: {error}") from error


def _opened(log: Path, source: RecordingReader) -> LineFile:
    settings = source.start.settings.decisions
    bound = settings.log_max_bytes if settings.log else NO_BOUND
    try:
        log.unlink(missing_ok=True)
        return LineFile(log, max_bytes=bound, files=settings.log_files, head=log_head(source.life))
    except OSError as error:
        problem = f"{log} cannot be written: {error.strerror}"
        raise InvalidField("--log", problem, "name a file in a directory of your own") from None


def _summary(result: Replayed, source: RecordingReader) -> list[str]:
    span_s = result.ended - result.begun
    lines = [f"{result.events} events in {span_s:.1f} s, {result.decisions} decisions"]
    if source.end:
        cut = " (its last line is cut short, and left out)" if source.partial else ""
        lines.append(f"end of the recording: {source.end}{cut}")
    where = source.where(result.first)
    if result.differing:
        plans = f"{result.differing} of {result.solves} plans are others than recorded"
        lines.append(f"{plans}, the first at {where}; from there on it is another story")
    elif result.first:
        lines.append(f"the controller has not asked what {where} answers: it is another one")
    elif result.solves:
        lines.append(f"{result.solves} plans made again, all as recorded")
    for name, why in result.missing.items():
        lines.append(f"recorded plans were taken for policy {name}: {why}")
    return lines
