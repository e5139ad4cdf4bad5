"""Where a machine cannot checkpoint, its nodes say why, and `tango migrate` refuses with that."""

from __future__ import annotations

import pytest
from cluster_at_work import ClusterAtWork, job, tango, until

from tango.model.errors import FailedPrecondition, NotFound
from tango.model.job import JobState
from tango.sdk.client import Client

pytestmark = pytest.mark.e2e


async def test_nodes_say_why_they_cannot_and_nothing_happens(
    cluster: ClusterAtWork, client: Client
) -> None:
    nodes = {node.node: node for node in await client.nodes()}
    if any(node.checkpoints for node in nodes.values()):
        pytest.skip("CRIU works on this machine")
    assert all(node.checkpoint_note for node in nodes.values()), "a reason, in any case"
    submitted = await client.submit(job("sleep", "600"))

    async def running() -> bool:
        return (await client.job(submitted.job_id)).state is JobState.RUNNING

    await until(running, "the job to run")
    before = (await client.job(submitted.job_id)).tasks[0]
    other = next(name for name in nodes if name != before.node)
    with pytest.raises(FailedPrecondition) as refused:
        await client.migrate(submitted.job_id, other)
    note = nodes[before.node].checkpoint_note
    assert str(refused.value) == f"node {before.node} of {before.edge} cannot checkpoint: {note}"
    with pytest.raises(NotFound):
        await client.migrate("nothing-1", other)
    state = str(cluster.state_dir)
    done = tango("migrate", submitted.job_id, "--to", other, "--state", state)
    assert done.returncode == 1
    assert note in done.stderr + done.stdout
    told = tango("describe", "node", before.node, "--state", state).stdout
    assert f"Checkpoints:  no: {note}" in told
    after = await client.job(submitted.job_id)
    assert (after.tasks[0], after.state) == (before, JobState.RUNNING)
    await client.cancel(submitted.job_id)
    await client.wait(submitted.job_id)
