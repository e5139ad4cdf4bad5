"""A gang gets the places that the batch policy gave it: written down, told, and then begun."""

from __future__ import annotations

from collections.abc import Mapping

from tango.controllers.central import jobs as rules
from tango.controllers.central.core import Core
from tango.controllers.central.fits import Cores
from tango.controllers.central.ledger import Job, SendStart
from tango.model.cores import format_cores
from tango.model.decision import JOB_PLACE
from tango.model.plan import Placement


def place(
    core: Core,
    policy: str,
    job: Job,
    nodes: Mapping[int, Placement],
    cores: Cores,
    candidates: int,
) -> None:
    """Assign these tasks, by index; their attempts start once that is on disk.

    policy: that decided. candidates: nodes that it had to choose from.
    """
    places = {index: (placement.edge, placement.node) for index, placement in nodes.items()}
    record = rules.assigned(job.record, places, cores)
    job.told_reason = ""
    for index, placement in nodes.items():
        spec, own = job.record.spec.tasks[index], format_cores(cores[index])
        # The offer as it is before this gang takes its part.
        offer = core.sites.offer(placement.edge, placement.node)
        core.record(
            JOB_PLACE, job.record.job_id, spec.name, record.tasks[index].attempt_id,
            placement.edge, placement.node, policy, spec.cpu_millis, spec.memory_bytes, placement,
            offer, candidates, own,
        )  # fmt: skip
    core.change(job, record, [SendStart(record.tasks[index].attempt_id) for index in places])
    for placement in nodes.values():
        core.note(
            "info",
            "placed",
            job=placement.job_id,
            task=placement.task_index,
            edge=placement.edge,
            node=placement.node,
            cores=format_cores(cores[placement.task_index]),
            score=placement.score,
            runner_up=placement.runner_up,
        )
