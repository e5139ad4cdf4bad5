"""Makes the runs of a simulation, here or in processes of their own; the results are the same.

Processes are spawned, each with a fresh interpreter, and told of each run over a pipe: nothing is
inherited, so that it does not matter what was imported or started before.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnContext, SpawnProcess
from pathlib import Path
from types import FrameType
from typing import IO

from tango.cli.simulate_plan import Run
from tango.model.errors import InvalidField, TangoError
from tango.sim.log import Text
from tango.sim.outcome import Outcome, Progress
from tango.sim.run import simulate
from tango.sim.scenario_fields import BadRows
from tango.sim.scenario_file import load_scenario

TOLD_EVERY_S = 0.2
JOIN_S = 10.0
_STOP = "stop"


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one run. cores: of all nodes."""

    outcome: Outcome
    cores: float
    deadlines_ms: tuple[tuple[str, float], ...]
    warmup_s: float


class Stop:
    """Ctrl-C and SIGTERM end the runs in order; a second one cuts through."""

    def __init__(self) -> None:
        self.asked = False

    @contextlib.contextmanager
    def on_signals(self) -> Iterator[None]:
        """Take these signals for a while."""
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = [signal.signal(number, self._ask) for number in numbers]
        try:
            yield
        finally:
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


Told = Callable[[int, Progress], object]
"""Takes the number of a run and how far it is; stops that run by returning True."""


def make(run: Run, told: Callable[[Progress], object]) -> Result:
    """One run from scratch. Raises TangoError as loading and simulating do."""
    bad = BadRows(skip=run.skip_bad_rows)
    scenario = load_scenario(run.path, run.changes, run.point, seed=run.seed, bad=bad)
    scenario = replace(scenario, policies=run.policies.apply(scenario.policies))
    with _log(run) as log:
        outcome = simulate(scenario, log=log, progress=told)
    return Result(
        outcome,
        sum(node.cpu_millis for _, node in scenario.topology.nodes()) / 1000,
        tuple((each.spec.name, each.spec.deadline_s * 1000) for each in scenario.services),
        scenario.warmup_s,
    )


@contextlib.contextmanager
def _log(run: Run) -> Iterator[Text | None]:
    """The run's decision log, None where it has none.

    Raises InvalidField where it cannot be written, be it that the disk is full.
    """
    if run.log is None:
        yield None
        return
    with _written(run.log):
        file = run.log.open("w", encoding="utf-8", buffering=2**20)
    try:
        yield _Text(file, run.log)
    finally:
        with _written(run.log):
            file.close()


class _Text:
    """A file whose errors name it."""

    def __init__(self, file: IO[str], path: Path) -> None:
        self._file = file
        self._path = path

    def write(self, text: str) -> None:
        with _written(self._path):
            self._file.write(text)


@contextlib.contextmanager
def _written(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        problem = f"cannot be written: {error.strerror}"
        raise InvalidField("--log", problem, "choose another place", str(path)) from error


def make_all(
    runs: Sequence[Run], processes: int, stop: Stop, told: Told
) -> Iterator[tuple[int, Result]]:
    """All runs with their numbers, as they end; those that were not begun when it was stopped are
    left out. Raises TangoError for the first that cannot be made."""
    if min(processes, len(runs)) <= 1:
        return _here(runs, stop, told)
    return _elsewhere(runs, min(processes, len(runs)), stop, told)


def _here(runs: Sequence[Run], stop: Stop, told: Told) -> Iterator[tuple[int, Result]]:
    for number, run in enumerate(runs):
        if stop.asked:
            return

        def tell(progress: Progress, number: int = number) -> bool:
            return told(number, progress) is True or stop.asked

        yield number, make(run, tell)


def _elsewhere(
    runs: Sequence[Run], processes: int, stop: Stop, told: Told
) -> Iterator[tuple[int, Result]]:
    context = multiprocessing.get_context("spawn")
    hands = [_Hand(context) for _ in range(processes)]
    waiting = list(enumerate(runs))[::-1]
    try:
        for hand in hands:
            hand.give(*waiting.pop())
        while busy := [hand for hand in hands if hand.number is not None]:
            if stop.asked:
                waiting.clear()
                for hand in busy:
                    hand.stop()
            ready = wait([hand.pipe for hand in busy], timeout=TOLD_EVERY_S)
            for hand in busy:
                if hand.pipe not in ready:
                    continue
                number, said = hand.hear()
                if isinstance(said, Progress):
                    told(number, said)
                    continue
                yield number, said
                if waiting:
                    hand.give(*waiting.pop())
    finally:
        for hand in hands:
            hand.close()


class _Hand:
    """One process that makes runs. number: of the run that it has, None while it has none."""

    def __init__(self, context: SpawnContext) -> None:
        self.number: int | None = None
        self.pipe, theirs = context.Pipe()
        self._process: SpawnProcess = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._told_to_stop = False
        with _no_interrupt():
            self._process.start()
        theirs.close()

    def give(self, number: int, run: Run) -> None:
        self.number, self._told_to_stop = number, False
        self.pipe.send(run)

    def stop(self) -> None:
        if not self._told_to_stop:
            self._told_to_stop = True
            self.pipe.send(_STOP)

    def hear(self) -> tuple[int, Progress | Result]:
        """What it says of its run, and that run. Raises TangoError where it failed."""
        assert self.number is not None
        number = self.number
        try:
            said = self.pipe.recv()
        except (EOFError, OSError):
            self._process.join(JOIN_S)
            code = self._process.exitcode
            raise TangoError(f"the process of a run ended with code {code}") from None
        if isinstance(said, str):
            raise TangoError(said)
        if isinstance(said, Result):
            self.number = None
        assert isinstance(said, Progress | Result)
        return number, said

    def close(self) -> None:
        """End it: at once where it still has a run."""
        self.pipe.close()
        if self.number is not None:
            self._process.terminate()
        self._process.join(JOIN_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._process.close()


@contextlib.contextmanager
def _no_interrupt() -> Iterator[None]:
    """What is started within is not ended by Ctrl-C, which reaches the whole group, before it can
    say so itself."""
    # This starts one more process, and lets interrupts through when it has.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(pipe: Connection) -> None:
    """What such a process does, until its pipe ends."""
    # It is blocked until here: the parent says what is to happen.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    told_at = 0.0

    def tell(progress: Progress) -> bool:
        nonlocal told_at
        now = time.monotonic()
        if now - told_at >= TOLD_EVERY_S:
            told_at = now
            pipe.send(progress)
        return pipe.poll() and pipe.recv() == _STOP

    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            run = pipe.recv()
            if run == _STOP:  # it came too late for the last one
                continue
            try:
                pipe.send(make(run, tell))
            except TangoError as error:
                pipe.send(str(error))
            except (EOFError, BrokenPipeError, ConnectionResetError):
                raise
            except Exception:  # noqa: BLE001  what it is goes to who waits for it
                pipe.send(f"{run} failed:\n{traceback.format_exc()}")
