"""A cluster over the network: mutual TLS on an address of this machine that is not loopback."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pwd
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from cluster_at_work import job, service, tango, until, wait_for

from tango.adapters import authority
from tango.adapters.setting_fields import is_loopback
from tango.model.access import Identity, Role
from tango.model.errors import Refused, Unavailable
from tango.model.job import JobState
from tango.model.service import HealthCheck
from tango.model.settings import TlsSettings
from tango.sdk.client import Client
from tango.sdk.cluster_file import ClusterFile, write_cluster_file
from tango.sdk.processes import supervisor_shutdown

pytestmark = pytest.mark.e2e

SITE, NODE = "site-a", "n1"


def own_address() -> str:
    """An IPv4 address of an interface that is up and no loopback; "" where there is none."""
    up = {name for name, stats in psutil.net_if_stats().items() if stats.isup}
    for name, addresses in psutil.net_if_addrs().items():
        for address in addresses:
            if address.family == socket.AF_INET and name in up and not is_loopback(address.address):
                return address.address
    return ""


def free_port(host: str) -> int:
    with socket.socket() as sock:
        sock.bind((host, 0))
        return int(sock.getsockname()[1])


class Network:
    """Central, an edge and a worker as three operators would set them up, and a user."""

    def __init__(self, directory: Path, host: str) -> None:
        self.directory = directory
        self.ca = directory / "ca"
        authority.make_authority(self.ca)
        self.central = f"{host}:{free_port(host)}"
        self.edge = f"{host}:{free_port(host)}"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.user = self.client_as(Role.USER, "ada")

    def issue(self, role: Role, name: str, *, days: float = 1, force: bool = False) -> TlsSettings:
        identity = Identity(role, name)
        made = authority.issue(self.ca, identity, days=days, force=force)
        return TlsSettings(str(made.ca_file), str(made.cert_file), str(made.key_file))

    def client_as(self, role: Role, name: str) -> ClusterFile:
        tls = self.issue(role, name)
        return ClusterFile(self.central, ((SITE, self.edge),), tls=tls)

    def start(self, kind: str, name: str, section: str, listen: str, tls: TlsSettings) -> None:
        config = self.directory / f"{name}.toml"
        config.write_text(
            f'[server]\nlisten = "{listen}"\nstate_dir = "{self.directory / name}"\n{section}\n'
            f'[tls]\nca_file = "{tls.ca_file}"\ncert_file = "{tls.cert_file}"\n'
            f'key_file = "{tls.key_file}"\n'
        )
        with (self.directory / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", "tango.cli.main", kind, "-c", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def worker(self, name: str, edge_name: str = SITE) -> None:
        run_as = 'run_as = "nobody"' if os.geteuid() == 0 else ""
        section = (
            f'[worker]\nnode = "{name}"\nedge = "{self.edge}"\nedge_name = "{edge_name}"\n'
            f'cpu = "1"\nmemory = "1Gi"\ncgroup_root = ""\n{run_as}'
        )
        self.start("worker", name, section, "127.0.0.1:0", self.issue(Role.WORKER, name))

    def stop(self) -> None:
        for process in self.processes.values():
            process.terminate()
        for name, process in self.processes.items():
            process.wait(20)
            supervisor_shutdown(self.directory / name, 2.0)

    def events(self, name: str, event: str) -> list[dict[str, Any]]:
        lines = (self.directory / f"{name}.log").read_text().splitlines()
        found = [json.loads(line) for line in lines if line.startswith("{")]
        return [line for line in found if line["event"] == event]


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    host = own_address()
    if not host:
        pytest.skip("this machine has no address but loopback")
    made = Network(tmp_path_factory.mktemp("network"), host)
    try:
        made.start("central", "central", "[central]", made.central, made.issue(Role.CENTRAL, "c"))
        edge = f'[edge]\nname = "{SITE}"\ncentral = "{made.central}"'
        made.start("edge", SITE, edge, made.edge, made.issue(Role.EDGE, SITE))
        made.worker(NODE)
        write_cluster_file(made.directory, made.user)
        wait_for(lambda: "ready" in get_nodes(made), "the node to be ready")
        yield made
    finally:
        made.stop()


def get_nodes(network: Network) -> str:
    return tango("get", "nodes", state=network.directory).stdout


async def test_the_command_line_and_a_job_as_nobody(network: Network) -> None:
    done = tango("submit", "--cpu", "50m", "--wait", "--", "/usr/bin/id", "-un",
                 state=network.directory)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (job,) = json.loads(tango("get", "jobs", "-o", "json", state=network.directory).stdout)["jobs"]
    log = tango("logs", job["job_id"], state=network.directory)
    user = "nobody" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    assert log.stdout == f"{user}\n"


async def test_requests_travel(network: Network) -> None:
    python = "/usr/bin/python3"
    if not Path(python).exists():
        pytest.skip("nobody may not run this interpreter")
    argv = (python, "-m", "http.server", "{port}", "--bind", "{host}", "-d", "/")
    spec = service("web", *argv, health=HealthCheck(path="/", interval_s=0.5))
    async with Client(cluster=network.user) as client:
        await client.apply(spec, wait_s=20)
        replies = await asyncio.gather(*(client.call("web") for _ in range(20)))
        assert [reply.http_status for reply in replies] == [200] * 20
        await client.delete("web")


async def test_roles_hold_in_the_daemons(network: Network) -> None:
    async with Client(cluster=network.client_as(Role.WORKER, "n7")) as client:
        with pytest.raises(Refused, match=r"ListNodes is for user; the certificate says worker n7"):
            await client.nodes()
        with pytest.raises(Refused, match=r"ListJobs is for user; the certificate says worker n7"):
            await client.jobs()
    (found,) = network.events(SITE, "refused")
    assert found["method"] == "/tango.v1.EdgeService/ListNodes"
    wrong = ClusterFile(network.edge, ((SITE, network.central),), tls=network.user.tls)
    async with Client(cluster=wrong) as client:
        with pytest.raises(Unavailable, match="certificate is for another name or role"):
            await client.nodes()


async def test_a_worker_at_the_wrong_edge_stays_out(network: Network) -> None:
    network.worker("n2", edge_name="site-b")
    await until(lambda: network.events("n2", "session ended"), "the worker to be told")
    (first, *_) = network.events("n2", "session ended")
    assert "its certificate is for another name or role" in first["reason"]
    assert "n2" not in get_nodes(network)
    # The edge cannot know why it went, but says who did.
    await until(
        lambda: any(
            "before any call" in found["reason"] for found in network.events(SITE, "refused")
        ),
        "the edge to log it",
    )
    network.processes["n2"].terminate()


async def test_certificates_are_renewed_without_a_restart(network: Network) -> None:
    pids = {name: process.pid for name, process in network.processes.items()}
    before = Path(network.user.tls.cert_file if network.user.tls else "").read_bytes()
    for role, name in (
        (Role.CENTRAL, "c"),
        (Role.EDGE, SITE),
        (Role.WORKER, NODE),
        (Role.USER, "ada"),
    ):
        network.issue(role, name, days=2, force=True)
    async with Client(cluster=network.user) as client:
        assert {node.node for node in await client.nodes() if node.ready} >= {NODE}
        assert [edge.edge for edge in await client.edges()] == [SITE]
    assert network.events("central", "certificate reloaded")
    assert network.events(SITE, "certificate reloaded")
    assert Path(network.user.tls.cert_file if network.user.tls else "").read_bytes() != before
    assert all(network.processes[name].poll() is None for name in ("central", SITE, NODE))
    assert pids == {name: process.pid for name, process in network.processes.items()}


async def test_nothing_secret_is_said(network: Network) -> None:
    """Not in a log, a listing or a command line: keys, the node's key, values of environments."""
    env = (("API_KEY", "s3cr3t-of-a-job"),)
    async with Client(cluster=network.user) as client:
        done = await client.wait((await client.submit(job("/bin/true", env=env))).job_id)
        assert done.state is JobState.SUCCEEDED
        await client.apply(service("absent", "/nonexistent/x", env=(("PASSWORD", "s3cr3t-of-it"),)))
        await until(lambda: "absent" in log_of(network, NODE), "the worker to say why not")
        texts = [tango("get", kind, "-o", "json", state=network.directory).stdout
                 for kind in ("jobs", "services", "nodes", "edges")]  # fmt: skip
        await client.delete("absent")
    assert "API_KEY" in texts[0]
    assert "PASSWORD" in texts[1]
    secrets = {"s3cr3t", (network.directory / NODE / "node.key").read_text()}
    for path in network.directory.rglob("key.pem"):
        secrets |= {line for line in path.read_text().splitlines() if not line.startswith("-----")}
    assert len(secrets) > 10
    # All that daemons and supervisors keep on disk, but for the stores, which hold the specs.
    for path in network.directory.rglob("*"):
        if path.is_file() and path.suffix not in {".db", ".db-wal", ".db-shm", ".pem", ".key"}:
            with contextlib.suppress(FileNotFoundError):  # the daemons work on
                texts.append(path.read_text(errors="replace"))
    texts += [" ".join(p.info["cmdline"] or ()) for p in psutil.process_iter(["cmdline"])]
    assert [secret for secret in secrets if any(secret in text for text in texts)] == []


def log_of(network: Network, name: str) -> str:
    return (network.directory / f"{name}.log").read_text()
