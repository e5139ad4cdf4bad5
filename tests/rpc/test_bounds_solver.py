"""The central master's daemon has plans for bounds and backups made in its helper process."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

from tango.adapters.bound_rules import bound_rule
from tango.adapters.helper_solver import HelperSolver
from tango.adapters.memory_store import MemoryStore
from tango.adapters.policies import batch_policy
from tango.controllers.central.begin import begin
from tango.daemons.central.backend import CentralDaemon
from tango.daemons.central.metrics import CentralMetrics
from tango.daemons.tallies import Scrape
from tango.model.cluster import NodeCapacity, NodeView
from tango.model.events import EdgeUp
from tango.model.explanation import Subject
from tango.model.job import JobSpec, JobState, Near, TaskSpec
from tango.model.messages import EdgeHello, EdgeState
from tango.model.round_trips import EdgeTrip
from tango.model.settings import CentralSettings, ServerSettings
from tango.model.starts import CentralStart

CAPACITY = NodeCapacity(4000, 2**30)
NODES = tuple(NodeView(f"n{at}", "e", ready=True, capacity=CAPACITY) for at in range(3))
TRIPS = tuple(EdgeTrip(f"e/n{at}", 0.001 * (1 + 20 * (at == 2))) for at in range(3))


async def test_a_job_is_placed_and_backed_up_by_the_helpers_plan() -> None:
    settings = CentralSettings(ServerSettings("127.0.0.1:0", "token", "state"))
    rule = bound_rule(settings.placement)
    controller = begin(CentralStart(settings, 1, seed=1), rule)
    solver = HelperSolver(limit_s=-1.0)
    async with asyncio.TaskGroup() as group:
        daemon = CentralDaemon(
            settings,
            controller,
            batch_policy(settings.batch_policy),
            MemoryStore(),
            group,
            1,
            CentralMetrics(Scrape()),
            solver=solver,
            bound_rule=rule,
        )
        names = tuple(view.node for view in NODES)
        state = EdgeState(NODES, (), names, TRIPS)
        daemon.shell.post(EdgeUp(1, EdgeHello("e", 1, "", ""), state, time.time()))
        task = TaskSpec("main", ("true",), near=Near("n0", "", 0.005), backup=True)
        job = await daemon.submit_job(JobSpec("job", (task, replace(task, name="two"))), "")
        async with asyncio.timeout(30):
            while daemon.job(job.job_id).state is not JobState.SCHEDULED:
                await asyncio.sleep(0.01)
        found = daemon.job(job.job_id).tasks
        assert {one.node for one in found} <= {"n0", "n1"}
        assert {one.backup for one in found} <= {"e/n0", "e/n1"}
        assert all(f"e/{one.node}" != one.backup != "" for one in found)
        (told,) = await daemon.explain(job.job_id, (Subject.JOB,), 10)
        text = next(one.text for one in told.decisions if "task main of" in one.text)
        assert "within 5 ms of e/n0" in text
        assert "e/n2: delay: beyond 5 ms of e/n0" in text
        daemon.stop()
        daemon.shell.close()
    await solver.close()
