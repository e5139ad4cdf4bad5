"""`tango place --dry-run` against a running cluster: what it shows, and that nothing happens."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from cluster_at_work import PATIENCE_S, SITE, ClusterAtWork, job, ready, service, until

from tango.adapters.cluster_snapshots import load_snapshot
from tango.model.affinity import Requirement, Taint, Toleration
from tango.model.errors import TangoError
from tango.model.explanation import Subject
from tango.model.job import JobSpec, JobState
from tango.model.views import ImagesView
from tango.sdk.client import Client
from tango.v1 import central_service_pb2 as pb
from tango.v1.central_service_pb2_grpc import CentralServiceStub
from tango.wire.image_pages import joined

sys.path.insert(0, str(Path(__file__).parents[1] / "contract"))

from engine_server import EngineServer, image
from real_registry import blob, needs_registry, real_registry

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


CENTRAL = """
[[placement.plugins]]
name = "fit"
weight = 0.1
[[placement.plugins]]
name = "image"
[[placement.plugins]]
name = "layers"
weight = 2

[registry]
refresh_s = 1
[[registry.hosts]]
name = "{host}"
plain_http = true
"""


@needs_registry
async def test_a_job_goes_where_its_layers_are_and_follows_a_push(
    cluster: ClusterAtWork, tmp_path: Path
) -> None:
    """Engines are HTTP servers on unix sockets; the registry is Debian's."""
    small, large = blob(1, 40_000), blob(2, 200_000)
    sockets = {node: tmp_path / f"{node}.sock" for node in ("a1", "b1")}
    with real_registry(tmp_path) as registry:
        app, tool = f"{registry.host}/team/app", f"{registry.host}/team/tool"
        await registry.push("team/app", [small])
        held = await registry.push("team/app", [small, blob(3, 9_000)], tag="held")
        tools = await registry.push("team/tool", [large])
        async with EngineServer(sockets["a1"]) as a1, EngineServer(sockets["b1"]) as b1:
            a1.has(image(f"{tool}:v1", digests=(f"{tool}@{tools.digest}",)))
            b1.has(image(digests=(f"{app}@{held.digest}",)))
            await asyncio.to_thread(_restart, cluster, registry.host, sockets)
            async with Client(cluster.state_dir) as client:
                await until(lambda: _known(client, held.digest, tools.digest), "images to be known")
                # b1 has its one layer, as that of another tag; by a tie it would be a1.
                assert await _node_of(client, f"{app}:v1") == "b1"
                # The tag moves to content of which a1 has nearly all.
                await registry.push("team/app", [small, large])
                await until(lambda: _layers(client, f"{app}:v1", 2), "the push to be seen")
                assert await _node_of(client, f"{app}:v1") == "a1"
                # A tag that nobody ever asked about: the job waits for the first answer.
                await registry.push("team/app", [small, blob(4, 10)], tag="v2")
                assert await _node_of(client, f"{app}:v2") == "b1"
                await asyncio.to_thread(_shown, cluster, tmp_path, f"{app}:v1")
                await _in_pages(cluster, await client.images())
        # Engines and registry are gone: placement goes on by what was known last.
        async with Client(cluster.state_dir) as client:
            await until(lambda: _problems(client), "the engines to be missed")
            assert await _node_of(client, f"{app}:v1") == "a1"


def _restart(cluster: ClusterAtWork, host: str, sockets: dict[str, Path]) -> None:
    configs = cluster.state_dir / "configs"
    central = configs / "central.toml"
    # A second try after a failure finds what the first one wrote.
    text = central.read_text().partition("[[placement.plugins]]")[0]
    if "batch_policy" not in text:
        text = text.replace("[central]\n", '[central]\nbatch_policy = "profile"\n')
    central.write_text(text + CENTRAL.format(host=host))
    for node, socket in sockets.items():
        worker = configs / f"node-{node}.toml"
        text = worker.read_text().partition("\n[images]")[0]
        worker.write_text(f'{text}\n[images]\nsocket = "{socket}"\nevery_s = 1\n')
    for name in ("central", *(f"node-{node}" for node in sockets)):
        cluster.kill(name)
        cluster.start_again(name)


async def _known(client: Client, *digests: str) -> bool:
    try:
        view = await client.images()
    except TangoError:
        return False
    nodes = {told.node for site in view.sites for told in site.nodes if told.images}
    known = {one.content.digest for one in view.images if one.content is not None}
    return nodes == {"a1", "b1"} and set(digests) <= known


async def _layers(client: Client, name: str, count: int) -> bool:
    views = {view.image: view.content for view in (await client.images()).images}
    content = views.get(name)
    return content is not None and len(content.layers) == count


async def _in_pages(cluster: ClusterAtWork, whole: ImagesView) -> None:
    """One item a page, as a client of its own reads it."""
    (listen,) = [one.listen for one in cluster.daemons() if one.kind == "central"]
    metadata = (("authorization", f"Bearer {cluster.token}"),)
    pages: list[pb.ListImagesResponse] = []
    async with grpc.aio.insecure_channel(listen) as channel:
        stub = CentralServiceStub(channel)
        while not pages or pages[-1].next_page_token:
            token = pages[-1].next_page_token if pages else ""
            request = pb.ListImagesRequest(page_size=1, page_token=token)
            pages.append(await stub.ListImages(request, metadata=metadata, timeout=10))
        held = sum(len(node.images) for site in whole.sites for node in site.nodes)
        assert len(pages) == held + len(whole.images) > 3
        found = joined(pages)
        named = [[one.image for one in view.images] for view in (found, whole)]
        assert (found.sites, named[0]) == (whole.sites, named[1])
        for bad in (
            pb.ListImagesRequest(page_token="?"),
            pb.ListImagesRequest(edge=SITE, page_token=pages[0].next_page_token),
        ):
            with pytest.raises(grpc.aio.AioRpcError, match="page_token: is of"):
                await stub.ListImages(bad, metadata=metadata, timeout=10)


async def _problems(client: Client) -> bool:
    view = await client.images()
    return all(told.problem for site in view.sites for told in site.nodes)


async def _node_of(client: Client, name: str) -> str:
    """Where a job with that image went; it has ended when this returns."""
    submitted = await client.submit(job("/bin/true", name="pulls", images=(name,)))
    record = await client.wait(submitted.job_id)
    assert record.state is JobState.SUCCEEDED, record.reason
    explained, *_ = await client.explain(submitted.job_id, Subject.JOB)
    (placed,) = [one.text for one in explained.decisions if "was placed on" in one.text]
    assert "layers" in placed
    return record.tasks[0].node


def _shown(cluster: ClusterAtWork, tmp_path: Path, name: str) -> None:
    """By the commands: what is known, and what a dry run makes of it."""
    listed = cluster.cli("get", "images").stdout
    (row,) = [line for line in listed.splitlines() if line.startswith(f"{name} ")]
    assert row.split()[1:2] == ["2"]
    file = tmp_path / "pulls.yaml"
    file.write_text(JOB.format("100m") + f'images: ["{name}"]\n')
    profile = tmp_path / "profile.toml"
    profile.write_text(CENTRAL.partition("[registry]")[0])
    found = cluster.json("place", "--dry-run", "-f", str(file), "--profile", str(profile))
    ((task,),) = [one["tasks"] for one in found["jobs"]]
    assert (task["node"], task["runner_up"]) == ("a1", "b1")
    assert {one["plugin"] for one in task["scores"]} >= {"image", "layers"}


WEST = Requirement("zone", "In", ("west",))
TOLERANT = (Toleration("gpu", "true"),)
CHOOSY = "requires: [{key: zone, values: [west]}]\ntolerations: [{key: gpu}]\n"


async def test_labels_and_taints_of_a_node_hold_from_its_next_start(
    cluster: ClusterAtWork, client: Client, tmp_path: Path
) -> None:
    stays = await client.submit(on_b1(job("/bin/sleep", "600", name="stays", cpu_millis=100)))
    await until(lambda: _runs_on(client, stays.job_id, "b1"), "a task on b1")
    config = cluster.state_dir / "configs" / "node-b1.toml"
    more = 'taints = ["gpu=true:NoSchedule"]\nlabels = {zone = "west"}\n'
    config.write_text(config.read_text().replace("[worker]\n", f"[worker]\n{more}"))
    cluster.kill("node-b1")
    cluster.start_again("node-b1")

    async def told() -> bool:
        return any(node.taints for edge in await client.edges() for node in edge.nodes)

    await until(told, "the central master to hear of the taint")
    shown = cluster.cli("describe", "node", "b1").stdout
    assert "zone=west" in shown
    assert "gpu=true:NoSchedule" in shown

    # Jobs: one that will do, one that is barred by the taint, one that asks for nothing.
    plain = job("/bin/sleep", "600", name="plain", cpu_millis=100)
    wants = replace(plain, tasks=(replace(plain.tasks[0], requires=(WEST,)),))
    bears = replace(plain, tasks=(replace(wants.tasks[0], tolerations=TOLERANT),))
    barred = await client.submit(wants)
    assert barred.reason == ("NeverFits: nearest b1, tainted gpu=true:NoSchedule, not tolerated")
    there, here = await client.submit(bears), await client.submit(plain)
    await until(lambda: _runs_on(client, there.job_id, "b1"), "the job that tolerates on b1")
    await until(lambda: _runs_on(client, here.job_id, "a1"), "the job without terms on a1")
    assert await _runs_on(client, stays.job_id, "b1"), "what ran when the taint came stays"

    # The dry run, and a saved snapshot, know of it too.
    file, saved = tmp_path / "job.yaml", tmp_path / "saved.json"
    file.write_text(JOB.format("100m") + CHOOSY)
    words = ("place", "--dry-run", "-f", str(file), "--save-snapshot", str(saved))
    (task,) = cluster.json(*words)["jobs"][0]["tasks"]
    assert task["node"] == "b1"
    assert task["removed"] == [
        {"plugin": "affinity", "why": "without zone In west", "nodes": ["a1"]}
    ]
    (b1,) = [node for node in load_snapshot(saved).nodes if node.name == "b1"]
    assert (b1.labels, b1.taints) == ((("zone", "west"),), (Taint("gpu", "true"),))

    # Services: the site of b1 has no other node.
    kept = service("kept", requires=(WEST,))
    (view,) = await client.apply(kept, sites=["site-b"])
    assert view.reason == ("no room for 1 replica: b1 tainted gpu=true:NoSchedule, not tolerated")
    tolerant = replace(kept, tolerations=TOLERANT)
    (view,) = await client.apply(tolerant, sites=["site-b"], wait_s=PATIENCE_S)
    assert [replica.node for replica in view.replicas] == ["b1"]
    for one in (stays, barred, there, here):
        await client.cancel(one.job_id)


def on_b1(spec: JobSpec) -> JobSpec:
    return replace(spec, tasks=tuple(replace(task, node="b1") for task in spec.tasks))


async def _runs_on(client: Client, job_id: str, node: str) -> bool:
    (task,) = (await client.job(job_id)).tasks
    return (task.state, task.node) == (JobState.RUNNING, node)
