"""`tango place --dry-run` against a running cluster: what it shows, and that nothing happens."""

from __future__ import annotations

from pathlib import Path

import pytest
from cluster_at_work import SITE, ClusterAtWork, job, ready, service, until

from tango.adapters.cluster_snapshots import load_snapshot
from tango.model.job import JobState
from tango.sdk.client import Client

pytestmark = pytest.mark.e2e

JOB = "kind: Job\nname: later\nargv: [sleep, 600]\ncpu: {}\nmemory: 64Mi\n"


async def test_a_decision_on_the_running_cluster(
    cluster: ClusterAtWork, client: Client, tmp_path: Path
) -> None:
    await ready(client, service("web"))
    running = await client.submit(job("/bin/sleep", "600", name="here", cpu_millis=150))
    async for record in client.watch(running.job_id):
        if record.state is JobState.RUNNING:
            break
    where = record.tasks[0].node
    file, saved = tmp_path / "job.yaml", tmp_path / "saved.json"
    file.write_text(JOB.format("100m"))
    words = ("place", "--dry-run", "-f", str(file))
    found = cluster.json(*words, "--save-snapshot", str(saved))
    (decided,) = found["jobs"]
    assert (found["source"], found["nodes"], decided["placed"]) == ("the running cluster", 2, True)
    (task,) = decided["tasks"]
    assert {task["node"], task["runner_up"]} == {"a1", "b1"}
    assert [one["plugin"] for one in task["scores"]] == ["fit"]

    snapshot = load_snapshot(saved)
    assert [(node.name, node.site) for node in snapshot.nodes] == [("a1", SITE), ("b1", "site-b")]
    held = {placed.pod.name: placed for placed in snapshot.pods}
    task_pod = held[f"{running.job_id}/main"]
    assert (task_pod.node, task_pod.pod.cpu_millis) == (where, 150)
    (replica,) = [one for name, one in held.items() if name.startswith(f"{SITE}/web-")]
    assert (replica.node, replica.pod.group) == ("a1", "web")
    offline = cluster.json(*words, "--snapshot", str(saved))
    assert offline["jobs"] == found["jobs"]

    # A node that is cordoned is left out, and said so.
    await client.cordon("b1")
    await until(lambda: _central_knows_of_the_cordon(client), "the central master to hear of it")
    (task,) = cluster.json(*words)["jobs"][0]["tasks"]
    assert (task["node"], task["removed"]) == (
        "a1",
        [{"plugin": "", "why": "gone or cordoned", "nodes": ["b1"]}],
    )
    await client.uncordon("b1")

    # Nothing was done: there is but the one job.
    jobs, _ = await client.jobs()
    assert [one.job_id for one in jobs] == [running.job_id]
    await client.cancel(running.job_id)


async def _central_knows_of_the_cordon(client: Client) -> bool:
    return any(node.cordoned for edge in await client.edges() for node in edge.nodes)


def test_what_never_fits_and_what_is_no_dry_run(cluster: ClusterAtWork, tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(JOB.format(900))
    done = cluster.cli("place", "--dry-run", "-f", str(file))
    assert done.returncode == 1
    assert "later has no room now" in done.stdout
    assert "NeverFits, not even on the empty cluster: nearest " in done.stdout
    assert done.stdout.count("of 900 CPU") == 1
    done = cluster.cli("place", "-f", str(file))
    assert (done.returncode, done.stdout) == (1, "")
    assert "--dry-run: is missing" in done.stderr
    assert "`tango submit -f FILE` does it" in done.stderr
    done = cluster.cli("place", "--dry-run", "-f", str(tmp_path / "none.yaml"))
    assert (done.returncode, done.stdout) == (1, "")
    assert "none.yaml: document: cannot be read" in done.stderr
