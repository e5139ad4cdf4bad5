"""A checkpoint goes from a node of one site to a node of another, which share no directory.

CRIU is pretended (tests/contract/fake_criu.py); all else is real: central, two edges, two workers.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from cluster_at_work import job, until, wait_for

from tango.model.job import JobState, TaskRecord
from tango.sdk.client import Client

pytestmark = pytest.mark.e2e

FAKE = Path(__file__).parents[1] / "contract/fake_criu.py"
NODES = {"n1": "site-a", "n2": "site-b"}


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class FarApart:
    """Five daemons and two supervisors, each of which may be killed and started again."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.ports = {name: free_port() for name in ("central", *NODES, *NODES.values())}
        token = directory / "token"
        token.touch(mode=0o600)
        token.write_text(secrets.token_hex(16))
        edges = ", ".join(
            f'{{"name": "{site}", "address": "{self.address(site)}"}}' for site in NODES.values()
        )
        (directory / "cluster.json").write_text(
            f'{{"central": "{self.address("central")}", "token_file": "token", "edges": [{edges}]}}'
        )
        for name in NODES:
            criu = directory / f"{name}-criu" / "criu"
            criu.parent.mkdir()
            shutil.copy(FAKE, criu)
            criu.chmod(0o755)
            self.mode(name, "well")
            self.start(f"{name}-supervisor")
        for name in NODES:
            socket_path = directory / f"{name}-supervisor/supervisor.sock"
            wait_for(socket_path.exists, f"the supervisor of {name} to listen")
        for name in self.ports:
            self.start(name)

    def mode(self, node: str, mode: str, bulk: int = 0) -> None:
        """How the node's pretended criu behaves, and how many bytes more it writes."""
        (self.directory / f"{node}-criu/MODE").write_text(mode)
        (self.directory / f"{node}-criu/BULK").write_text(str(bulk))

    def address(self, name: str) -> str:
        return f"127.0.0.1:{self.ports[name]}"

    def config(self, name: str) -> str:
        text = f'[server]\nlisten = "{self.address(name)}"\ntoken_file = "token"\n'
        text += f'state_dir = "{name}"\n'
        if name == "central":
            return f"{text}[central]\n"
        if name not in NODES:
            return f'{text}[edge]\nname = "{name}"\ncentral = "{self.address("central")}"\n'
        text += f'[worker]\nnode = "{name}"\nedge = "{self.address(NODES[name])}"\n'
        text += f'supervisor_socket = "{self.directory}/{name}-supervisor/supervisor.sock"\n'
        text += 'cpu = "1"\nmemory = "1Gi"\ncgroup_root = ""\nallow_root = true\n'
        return f"{text}checkpoint_transfer = true\n"

    def start(self, name: str) -> None:
        path = self.directory / f"{name}.toml"
        criu = self.directory / name.replace("supervisor", "criu") / "criu"
        argv = ["tango.supervisor", "--state", str(self.directory / name), "--criu", str(criu)]
        if name in self.ports:
            path.write_text(self.config(name))
            kind = "central" if name == "central" else "worker" if name in NODES else "edge"
            argv = ["tango.cli.main", kind, "-c", str(path)]
        with (self.directory / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", *argv], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def kill(self, name: str) -> None:
        """kill -9, and started again."""
        self.processes[name].kill()
        self.processes[name].wait()
        self.start(name)

    def keep(self) -> None:
        """Start again what has ended, as systemd would: a loaded machine makes some impatient."""
        for name, process in list(self.processes.items()):
            if process.poll() is not None:
                self.start(name)

    def said(self, name: str, event: str) -> bool:
        return f'"{event}"' in (self.directory / f"{name}.log").read_text()

    def checkpoints(self) -> list[str]:
        """What is below the nodes' directories of checkpoints."""
        found = [path for name in NODES for path in self.directory.glob(f"{name}/checkpoints/*/*")]
        return sorted(str(path.relative_to(self.directory)) for path in found)

    def end(self) -> None:
        for name in self.ports:
            self.processes[name].kill()
        for process in self.processes.values():
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FarApart]:
    if os.geteuid() != 0:
        pytest.skip("criu needs root's rights")
    made = FarApart(tmp_path_factory.mktemp("apart"))
    try:
        yield made
    finally:
        made.end()


@pytest.fixture
async def client(apart: FarApart) -> AsyncIterator[Client]:
    wait_for(lambda: apart.said("central", "serving"), "central to serve")
    async with Client(apart.directory) as client:

        async def able() -> bool:
            apart.keep()
            nodes = [node for edge in await client._central.edges() for node in edge.nodes]
            return [node.ready and node.checkpoints for node in nodes] == [True, True]

        await until(able, "two nodes that can checkpoint")
        yield client


async def settled(client: Client, job_id: str) -> TaskRecord:
    found: list[TaskRecord] = []

    async def over() -> bool:
        with contextlib.suppress(Exception):  # central may be down, as the test wants it
            record = (await client.job(job_id)).tasks[0]
            found[:] = [record]
            return record.state is JobState.RUNNING and record.migration is None
        return False

    await until(over, "the migration to be over")
    return found[0]


async def migrated(client: Client, job_id: str) -> tuple[TaskRecord, TaskRecord]:
    """The task before and after an attempt to move it to the other node."""
    before = await settled(client, job_id)
    await client.migrate(job_id, "n2" if before.node == "n1" else "n1")
    return before, await settled(client, job_id)


async def test_it_goes_on_at_another_site_and_nothing_is_left(
    apart: FarApart, client: Client
) -> None:
    submitted = await client.submit(job("sleep", "600"))
    before, after = await migrated(client, submitted.job_id)
    assert (after.node, after.edge) != (before.node, before.edge)
    assert after.moved == (
        f"migrated with its state from {before.node} of {before.edge} "
        f"to {after.node} of {after.edge}"
    )

    async def wrote() -> bool:
        chunks = [chunk async for chunk in client.logs(submitted.job_id)]
        return b"restored" in b"".join(chunks)

    await until(wrote, "what goes on at the other node to say so")
    await until(lambda: not apart.checkpoints(), "its checkpoints to be gone")
    # The target has it all, and cannot restore it: back at the source, from the images there.
    apart.mode(before.node, "restore-fails")
    _, back = await migrated(client, submitted.job_id)
    apart.mode(before.node, "well")
    assert (back.node, back.attempt, back.failures) == (after.node, after.attempt + 2, 0)
    assert back.moved.startswith(f"not migrated to {before.node} of {before.edge}: restore: ")
    assert apart.said(before.node, "checkpoint fetched")
    await until(lambda: not apart.checkpoints(), "its checkpoints to be gone")
    await client.cancel(submitted.job_id)
    await client.wait(submitted.job_id)


@pytest.mark.parametrize("victim", ["central", "target"])
async def test_one_copy_is_left_whoever_is_killed_meanwhile(
    apart: FarApart, client: Client, victim: str
) -> None:
    submitted = await client.submit(job("sleep", "600"))
    before = await settled(client, submitted.job_id)
    target = "n2" if before.node == "n1" else "n1"
    apart.mode(before.node, "well", bulk=24 << 20)
    await client.migrate(submitted.job_id, target)
    partial = apart.directory / f"{target}/checkpoints/partial"
    await until(lambda: any(partial.glob("*/pages-2.img")), "it to be on its way")
    apart.kill(target if victim == "target" else victim)
    after = await settled(client, submitted.job_id)
    apart.mode(before.node, "well")
    assert (after.attempt > 1, after.failures, after.evictions) == (True, 0, 0)
    assert after.moved.startswith(
        f"migrated with its state from {before.node} of {before.edge} to {target}"
        if after.node == target
        else f"not migrated to {target}"
    )
    own = f"{submitted.job_id}.*"
    runs = [path for node in NODES for path in apart.directory.glob(f"{node}-sup*/runs/{own}")]
    assert [path.stem for path in runs] == [after.attempt_id]
    await until(lambda: not apart.checkpoints(), "its checkpoints to be gone")
    await client.cancel(submitted.job_id)
    await client.wait(submitted.job_id)
