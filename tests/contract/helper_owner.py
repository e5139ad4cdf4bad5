"""A program that keeps a solver's helper and prints the helper's process id, then waits."""

from __future__ import annotations

import asyncio

import psutil

from tango.adapters.helper_solver import HelperSolver
from tango.adapters.policies import traffic_policy


async def main() -> None:
    solver = HelperSolver()
    await solver.start(traffic_policy("dss-lc"))
    (child,) = psutil.Process().children()
    print(child.pid, flush=True)
    await asyncio.sleep(600)


asyncio.run(main())
