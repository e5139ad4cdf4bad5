"""Bad input to the real `tango`: one clear line with field, file and line; nothing half-done."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from cluster_at_work import REPLICA, ClusterAtWork, tango

from tango.model.errors import NotFound
from tango.sdk.sync_client import SyncClient

pytestmark = pytest.mark.e2e

PYTHON = sys.executable
SERVICE = f"kind: Service\nname: web\nargv: [{PYTHON}, {REPLICA}]\n"
JOB = "kind: Job\nname: work\nargv: [/bin/true]\n"
TRACE = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.0,374,44\n"


def refused(done: subprocess.CompletedProcess[str], *expected: str, status: int = 1) -> None:
    """One line on stderr that holds all of these, and nothing on stdout."""
    assert done.returncode == status, (done.stdout, done.stderr)
    assert done.stdout == ""
    for text in expected:
        assert text in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
    if status == 1:
        assert done.stderr.startswith("tango: ")
        assert len(done.stderr.splitlines()) == 1, done.stderr


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, so that errors name files as the user typed them."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def untouched(cluster: ClusterAtWork) -> Iterator[ClusterAtWork]:
    """The cluster; what was refused has left no service and no job behind."""
    with SyncClient(cluster.state_dir) as client:
        yield cluster
        assert client.services() == ()
        assert client.jobs()[0] == ()


@pytest.mark.parametrize(
    ("command", "text", "expected"),
    [
        ("apply", SERVICE + "replica: 2\n", "m.yaml:4: replica: is not a known key; did you mean"),
        ("apply", SERVICE + "replicas: two\n", "m.yaml:4: replicas: is the text 'two', not a who"),
        ("apply", SERVICE + "memory: 64Mb\n", "m.yaml:4: memory: '64Mb' is not a memory quantity"),
        ("apply", SERVICE + "---\n" + SERVICE, "m.yaml:6: name: Service 'web' is declared twice"),
        # The first is right, and yet not applied.
        ("apply", SERVICE + "---\nkind: Service\nname: b\n", "m.yaml:5: argv: is missing"),
        ("apply", SERVICE + "sites: [nowhere]\n", "site 'nowhere' is unknown; there are: site-a, "),
        ("apply", '{"kind": Service,\n "name": [}\n', "m.yaml:2:11: document: is not YAML"),
        ("submit", JOB + "cpus: 2\n", "m.yaml:4: cpus: is not a known key; did you mean 'cpu'?"),
        ("submit", JOB + "cpu: 2000\n", "m.yaml:4: cpu: 2000 is out of range"),
        (
            "submit",
            "kind: Job\nname: g\ntasks:\n- {name: t, argv: [x]}\n- {name: t, argv: [x]}\n",
            "m.yaml:5: tasks[1].name: 't' is given twice",
        ),
    ],
)
def test_manifests(
    untouched: ClusterAtWork, here: Path, command: str, text: str, expected: str
) -> None:
    (here / "m.yaml").write_text(text)
    refused(untouched.cli(command, "-f", "m.yaml"), expected)


SERVER = '[server]\nlisten = "127.0.0.1:0"\nstate_dir = "s"\ntoken_file = "token"\n'
CENTRAL = SERVER + "[central]\n"
EDGE = SERVER + '[edge]\nname = "e"\n'
WORKER = SERVER + '[worker]\nnode = "n"\nedge = "127.0.0.1:9"\nallow_root = true\n'


@pytest.mark.parametrize(
    ("daemon", "text", "expected"),
    [
        ("central", SERVER + "lisen = 1\n", "c.toml:5: server.lisen: is not a known key; did you"),
        ("central", CENTRAL + 'max_jobs_waiting = "9"\n', "c.toml:6: central.max_jobs_waiting: is"),
        (
            "central",
            CENTRAL + 'batch_policy = "no"\n',
            "c.toml:6: central.batch_policy: no policy ",
        ),
        ("edge", EDGE + "tick_ms = 0\n", "c.toml:7: edge.tick_ms: 0 is out of range; use 0.1 to"),
        (
            "worker",
            WORKER + 'run_as = "nobody-here"\n',
            "c.toml:9: worker.run_as: there is no user",
        ),
        (
            "central",
            CENTRAL.replace("127.0.0.1:0", "0.0.0.0:0"),
            "c.toml:2: server.listen: 0.0.0.0 listens beyond loopback; that needs mutual TLS",
        ),
        ("central", CENTRAL.replace('"token"', '"open"'), "c.toml:4: server.token_file: "),
    ],
)
def test_configurations(here: Path, daemon: str, text: str, expected: str) -> None:
    (here / "c.toml").write_text(text)
    for name, mode in (("token", 0o600), ("open", 0o644)):
        (here / name).write_text("x" * 32)
        (here / name).chmod(mode)
    done = tango(daemon, "-c", "c.toml")
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("tango")]
    assert expected in line
    assert "Traceback" not in done.stderr


def test_a_port_in_use(here: Path) -> None:
    (here / "token").write_text("x" * 32)
    (here / "token").chmod(0o600)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        text = SERVER.replace("127.0.0.1:0", address)
        (here / "c.toml").write_text(text + "[central]\n")
        done = tango("central", "-c", "c.toml")
    assert done.returncode == 1
    assert f"tango central: c.toml:2: server.listen: {address} is in use" in done.stderr
    assert "Traceback" not in done.stderr


def test_commands_and_names(untouched: ClusterAtWork, here: Path) -> None:
    cli = untouched.cli
    (here / "m.yaml").write_text(SERVICE)
    (here / "large").write_bytes(bytes(5 * 2**20))
    refused(cli("call", "nowhere"), "service 'nowhere' does not exist at edge 'site-a'")
    refused(cli("load", "nowhere"), "service 'nowhere' is unknown")
    refused(cli("delete", "nowhere"), "service 'nowhere' is unknown at every site")
    refused(cli("apply", "-f", "m.yaml", "--site", "x"), "site 'x' is unknown")
    refused(cli("call", "web", "--data", "@large"), "body: is 5242880 bytes; at most 4194304")
    refused(cli("logs", "none-1"), "job 'none-1' is unknown")
    refused(cli("cancel", "none-1"), "job 'none-1' is unknown")
    refused(cli("submit", "--cpu", "lots", "--", "x"), "--cpu: 'lots' is not a CPU quantity")
    refused(cli("submit", "--cores", "-1", "--", "x"), "--cores: -1 is out of range; use 0 to")
    refused(cli("apply", "-f", "none.yaml"), "none.yaml: document: cannot be read: No such file")
    refused(cli("apply", "-f", "-", stdin="kind: Pod\n"), "<stdin>:1: kind: 'Pod' is not one of")
    refused(cli("get", "pods"), "'pods' is not one of 'nodes', 'services'", status=2)


def test_no_cluster_and_wrong_token(untouched: ClusterAtWork, here: Path) -> None:
    for command in (("get", "nodes"), ("submit", "--", "x")):
        refused(tango(*command, state=here / "none"), f"no cluster at {here / 'none'}: start one")
    assert not (here / "none").exists()
    (here / "broken").mkdir()
    (here / "broken" / "cluster.json").write_text("{")
    refused(tango("get", "nodes", state=here / "broken"), "cluster.json cannot be read")
    other = here / "other"
    other.mkdir()
    text = (untouched.state_dir / "cluster.json").read_text()
    (other / "cluster.json").write_text(text.replace(str(untouched.state_dir), str(other)))
    (other / "token").write_text("not-the-token-of-this-cluster")
    (other / "token").chmod(0o600)
    for command in (("call", "web"), ("submit", "--", "x")):
        refused(tango(*command, state=other), "wrong token")
    (other / "token").unlink()
    refused(tango("get", "nodes", state=other), "token_file: cannot read")


@pytest.mark.parametrize("target", ["../../etc/passwd", "a/b", ".", "x" * 5000, "\N{SNOWMAN}"])
def test_a_log_that_cannot_be_is_not_found_and_ends_nobody(
    cluster: ClusterAtWork, target: str
) -> None:
    """A site with one node asks it for what nobody knows: that once was the end of its worker."""
    with SyncClient(cluster.state_dir) as client:
        pid = cluster.pid("node-a1")
        with pytest.raises(NotFound, match="no log of"):
            client._do(_first(client._client.edge("site-a").read_log(target, 100)))
        assert cluster.dead() == []
        assert cluster.pid("node-a1") == pid


async def _first(chunks: AsyncIterator[bytes]) -> bytes:
    return await anext(chunks)
