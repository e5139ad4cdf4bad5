"""The Solver seam with a helper process: what would hold the loop for long is solved elsewhere.

OR-tools keeps the interpreter lock while it solves, so a thread would not do.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any, TypeVar

from tango.adapters import bound_frames
from tango.adapters import solver_frames as frames
from tango.adapters.solvers import InProcessSolver
from tango.model.bounds import BoundPlan, BoundRule, BoundSnapshot, ImproveSnapshot
from tango.model.errors import TangoError
from tango.model.improvement import Improvement
from tango.model.placement_profile import Profile
from tango.model.plan import (
    BatchPlan,
    BatchPolicy,
    BatchSnapshot,
    NodeOffer,
    Route,
    TrafficPlan,
    TrafficPolicy,
    TrafficSnapshot,
)

Plan = TypeVar("Plan")
Done = Callable[[TrafficPlan | Exception, float], None]

LIMIT_S = 0.002
START_S = 30.0
ANSWER_S = 10.0
# Where no helper can be started all is solved in process for so long, before another is tried.
WITHOUT_S = 30.0
# Of a better plan for tasks with bounds and backups, its process included.
IMPROVE_S = 110.0
# Before a policy was measured: seconds for a pair of a demand and an offer, an offer, a request.
FIRST_GUESS_S = 2e-6
# Of the rule for bounds and backups: seconds for a node or a task, and for the plan itself in such.
BOUND_FIRST_GUESS_S = 20e-6
BOUND_BASE_UNITS = 40
# Its name where policies have theirs.
BOUNDS = "(bounds)"
WEIGHT_OF_NEW = 0.2


class HelperLost(TangoError):
    """The helper process ended, or does not answer; the next solve starts another."""


class HelperSolver:
    """Solves in process what is predicted below `limit_s`, the rest in one helper process.

    Predicted: size of the snapshot (demands x offers + offers + requests) times the policy's
    measured seconds per unit of it; nodes and tasks, for bounds and backups. One solve at a time
    goes to the helper, in the order in which they were asked. A helper that dies or hangs is an
    answer, HelperLost, not silence. One that does not even start is, too; after that, all is solved
    in process for a while: late answers to others are better than no route for anybody.
    """

    def __init__(self, limit_s: float = LIMIT_S) -> None:
        self._limit_s = limit_s
        self._in_process = InProcessSolver()
        self._unit_s: dict[str, float] = {}
        self._helper: _Helper | None = None
        self._without_until = -math.inf
        self._turn = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, policy: TrafficPolicy) -> None:
        """Have a helper ready for a policy that is known to need one. Raises HelperLost."""
        if getattr(policy, "heavy", False):
            async with self._turn:
                await self._ready((policy.name,))

    def route(self, policy: TrafficPolicy, snapshot: TrafficSnapshot, done: Done) -> None:
        """See Solver."""
        units = _units(snapshot)
        predicted_s = units * self._unit_s.get(policy.name, FIRST_GUESS_S)

        def measured(plan: TrafficPlan | Exception, cost_s: float) -> None:
            # A helper that was lost has measured nothing.
            if not isinstance(plan, HelperLost):
                self._learn(policy.name, cost_s / units)
            done(plan, cost_s)

        if predicted_s <= self._limit_s or self._without():
            self._in_process.route(policy, snapshot, measured)
            return
        name = policy.name
        self._later(self._ask((name,), lambda helper: helper.solve(name, snapshot), measured))

    def place(
        self,
        policy: BatchPolicy,
        snapshot: BatchSnapshot,
        done: Callable[[BatchPlan | Exception, float], None],
    ) -> None:
        """See Solver; in process."""
        self._in_process.place(policy, snapshot, done)

    def plan(
        self,
        rule: BoundRule,
        snapshot: BoundSnapshot,
        done: Callable[[BoundPlan | Exception, float], None],
    ) -> None:
        """See Solver."""
        units = BOUND_BASE_UNITS + len(snapshot.nodes) + len(snapshot.tasks)
        units += sum(len(pods) for _, pods in snapshot.gangs)

        def measured(plan: BoundPlan | Exception, cost_s: float) -> None:
            if not isinstance(plan, HelperLost):
                self._learn(BOUNDS, cost_s / units)
            done(plan, cost_s)

        predicted_s = units * self._unit_s.get(BOUNDS, BOUND_FIRST_GUESS_S)
        if predicted_s <= self._limit_s or self._without():
            self._in_process.plan(rule, snapshot, measured)
            return
        ask = self._ask((), lambda helper: helper.plan(rule.profile, snapshot), measured)
        self._later(ask)

    def improve(
        self,
        rule: BoundRule,
        snapshot: ImproveSnapshot,
        done: Callable[[Improvement | Exception, float], None],
    ) -> None:
        """See Solver; in a process of its own, for nothing shall wait for it."""
        self._later(self._improve(rule.profile, snapshot, done))

    async def _improve(
        self,
        profile: Profile,
        snapshot: ImproveSnapshot,
        done: Callable[[Improvement | Exception, float], None],
    ) -> None:
        answer: tuple[Improvement | Exception, float]
        helper: _Helper | None = None
        try:
            async with asyncio.timeout(IMPROVE_S):
                helper = await _Helper.start(())
                answer = await helper.improve(profile, snapshot)
        except (OSError, EOFError, ValueError, TimeoutError) as error:
            answer = HelperLost(f"the helper for a better plan is gone: {error!r}"), 0.0
        except asyncio.CancelledError:
            done(HelperLost("the solver is closed"), 0.0)
            raise
        finally:
            if helper is not None:
                await helper.close()
        done(*answer)

    async def close(self) -> None:
        """End the helper; solves under way are answered with HelperLost."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._helper is not None:
            await self._helper.close()
            self._helper = None

    def _learn(self, policy: str, unit_s: float) -> None:
        known = self._unit_s.get(policy)
        self._unit_s[policy] = unit_s if known is None else known + WEIGHT_OF_NEW * (unit_s - known)

    def _later(self, ask: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(ask)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _ask(
        self,
        policies: tuple[str, ...],
        solve: Callable[[_Helper], Awaitable[tuple[Plan | Exception, float]]],
        done: Callable[[Plan | Exception, float], None],
    ) -> None:
        answer: tuple[Plan | Exception, float]
        try:
            async with self._turn:
                helper = await self._ready(policies)
                try:
                    async with asyncio.timeout(ANSWER_S):
                        answer = await solve(helper)
                except (OSError, EOFError, ValueError, TimeoutError) as error:
                    self._helper = None
                    await helper.close()
                    raise HelperLost(f"the solver's helper is gone: {error!r}") from None
        except HelperLost as error:
            answer = error, 0.0
        except asyncio.CancelledError:
            done(HelperLost("the solver is closed"), 0.0)
            raise
        done(*answer)

    def _without(self) -> bool:
        return asyncio.get_running_loop().time() < self._without_until

    async def _ready(self, policies: tuple[str, ...]) -> _Helper:
        if self._helper is None:
            try:
                async with asyncio.timeout(START_S):
                    self._helper = await _Helper.start(policies)
            except (OSError, EOFError, ValueError, TimeoutError) as error:
                self._without_until = asyncio.get_running_loop().time() + WITHOUT_S
                raise HelperLost(
                    f"the solver's helper did not start, so all is solved in process for "
                    f"{WITHOUT_S:g} s: {error!r}"
                ) from None
        return self._helper


def _units(snapshot: TrafficSnapshot) -> int:
    offers = len(snapshot.offers)
    requests = sum(demand.count for demand in snapshot.demands)
    return max(1, len(snapshot.demands) * offers + offers + requests)


class _Helper:
    """The process, its pipes, and what it knows."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        to: asyncio.StreamWriter,
        back: asyncio.StreamReader,
    ) -> None:
        self._process = process
        self._to = to
        self._back = back
        self._known: Sequence[NodeOffer] = ()
        self._known_bounds: BoundSnapshot | None = None

    @classmethod
    async def start(cls, policies: tuple[str, ...]) -> _Helper:
        # Executed, not forked: gRPC's threads and locks stay behind.
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tango.adapters.solver_helper", *policies,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        to, back = process.stdin, process.stdout
        if to is None or back is None:
            raise OSError("the helper has no pipes")
        helper = cls(process, to, back)
        try:
            await helper._receive()
        except BaseException:
            await helper.close()
            raise
        return helper

    async def solve(
        self, policy: str, snapshot: TrafficSnapshot
    ) -> tuple[TrafficPlan | Exception, float]:
        await self._send(frames.snapshot_frames(policy, snapshot, self._known))
        self._known = snapshot.offers
        routes: list[Route] = []
        while True:
            frame = await self._receive()
            if "error" in frame:
                return HelperFailed(frame["error"]), frame["cost_s"]
            frames.take_routes(frame, routes)
            if "cost_s" in frame:
                return TrafficPlan(tuple(routes)), frame["cost_s"]
            # What has come already is read without a pause.
            await asyncio.sleep(0)

    async def plan(
        self, profile: Profile, snapshot: BoundSnapshot
    ) -> tuple[BoundPlan | Exception, float]:
        await self._send(bound_frames.snapshot_frames(profile, snapshot, self._known_bounds))
        self._known_bounds = snapshot
        lists: dict[str, list[Any]] = {}
        while True:
            frame = await self._receive()
            if "error" in frame:
                return HelperFailed(frame["error"]), frame["cost_s"]
            plan = bound_frames.take_plan(frame, lists)
            if plan is not None:
                return plan, frame["cost_s"]
            await asyncio.sleep(0)

    async def improve(
        self, profile: Profile, snapshot: ImproveSnapshot
    ) -> tuple[Improvement | Exception, float]:
        await self._send(bound_frames.snapshot_frames(profile, snapshot.now, None, snapshot))
        frame = await self._receive()
        if "error" in frame:
            return HelperFailed(frame["error"]), frame["cost_s"]
        return bound_frames.take_improvement(frame), frame["cost_s"]

    async def _send(self, whole: Iterable[frames.Frame]) -> None:
        for frame in whole:
            self._to.write(frames.packed(frame))
            await self._to.drain()
            # One frame may hold the loop, not all of them in a row.
            await asyncio.sleep(0)

    async def _receive(self) -> frames.Frame:
        (size,) = frames.LENGTH.unpack(await self._back.readexactly(frames.LENGTH.size))
        if size > frames.MAX_FRAME_BYTES:
            raise ValueError(f"a frame of {size} bytes")
        return frames.unpacked(await self._back.readexactly(size))

    async def close(self) -> None:
        self._to.close()
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()


class HelperFailed(TangoError):
    """The policy raised in the helper; the text is what it raised."""
