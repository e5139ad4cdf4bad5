"""The REST face of a cluster at work: `tango up --rest`, jobs that run, curl as the page has it."""

from __future__ import annotations

import html
import json
import re
import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster_at_work import ClusterAtWork, running, tango, wait_for

from tango.adapters import authority
from tango.model.access import Identity, Role
from tango.sdk.cluster_file import read_cluster_file

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterAtWork]:
    with running(tmp_path_factory.mktemp("rest") / "state", rest_port=0, sites=1) as cluster:
        yield cluster


def ask(cluster: ClusterAtWork, path: str, body: Any = None, **headers: str) -> Any:
    with asked(cluster, path, body, **headers) as answer:
        return json.load(answer)


def asked(cluster: ClusterAtWork, path: str, body: Any = None, **headers: str) -> Any:
    data = None if body is None else json.dumps(body).encode()
    given = {"Authorization": f"Bearer {cluster.token}", "Content-Type": "application/json"}
    at = read_cluster_file(cluster.state_dir).rest
    request = urllib.request.Request(at + path, data, headers={**given, **headers})
    return urllib.request.urlopen(request, timeout=30)


def job(*argv: str, name: str = "job") -> dict[str, Any]:
    task = {"name": "main", "argv": list(argv), "cpuMillis": 50, "memoryBytes": str(2**26)}
    return {"name": name, "tasks": [task]}


def test_a_job_runs_and_its_log_is_read(cluster: ClusterAtWork) -> None:
    made = ask(cluster, "/v1/jobs", job("/bin/sh", "-c", "printf 'caf\\303\\251\\377\\n'"))["job"]
    job_id = made["jobId"]
    with asked(cluster, f"/v1/jobs/{job_id}:watch") as answer:
        states = [json.loads(line)["job"]["state"] for line in answer]
    assert states[-1] == "JOB_STATE_SUCCEEDED"
    done = ask(cluster, f"/v1/jobs/{job_id}")["job"]
    (task,) = done["tasks"]
    assert (task["exitCode"], task["node"]) == (0, "a1")
    # The bytes as they are, or base64 in lines where they are asked for.
    with asked(cluster, f"/v1/jobs/{job_id}/log") as answer:
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.read() == b"caf\xc3\xa9\xff\n"
    with asked(cluster, f"/v1/jobs/{job_id}/log?tail_bytes=2", Accept="application/x-ndjson") as a:
        assert [json.loads(line) for line in a] == [{"data": "/wo="}]
    assert "JOB" in str(ask(cluster, f"/v1/explain/{job_id}")["explanations"][0]["subject"])


def test_it_is_the_cluster_that_the_command_line_sees(cluster: ClusterAtWork) -> None:
    made = ask(cluster, "/v1/jobs", job("/bin/sleep", "60", name="sleeper"))["job"]
    listed = json.loads(tango("get", "jobs", "-o", "json", state=cluster.state_dir).stdout)
    assert made["jobId"] in json.dumps(listed)
    with asked(cluster, f"/v1/jobs/{made['jobId']}:watch") as answer:
        for line in answer:
            if json.loads(line)["job"]["state"] == "JOB_STATE_RUNNING":
                ask(cluster, f"/v1/jobs/{made['jobId']}:cancel", {})
    assert json.loads(line)["job"]["state"] == "JOB_STATE_CANCELLED"
    (edge,) = ask(cluster, "/v1/edges")["edges"]
    assert (edge["edge"], edge["connected"]) == ("site-a", True)
    nodes = ask(cluster, "/v1/nodes?edge=site-a")["nodes"]
    assert nodes == edge["nodes"]
    assert [(node["node"], node["ready"]) for node in nodes] == [("a1", True)]
    assert int(nodes[0]["capacity"]["memoryBytes"]) > 0


def test_fixed_ports_bounds_to_services_and_pages_of_images(cluster: ClusterAtWork) -> None:
    with socket.socket() as probe:
        probe.bind(("", 0))
        port = probe.getsockname()[1]
    body = job("/bin/sh", "-c", 'echo "on $PORT"', name="serve")
    body["tasks"][0]["ports"] = [port]
    job_id = ask(cluster, "/v1/jobs", body)["job"]["jobId"]
    with asked(cluster, f"/v1/jobs/{job_id}:watch") as answer:
        states = [json.loads(line)["job"]["state"] for line in answer]
    assert states[-1] == "JOB_STATE_SUCCEEDED"
    with asked(cluster, f"/v1/jobs/{job_id}/log") as answer:
        assert answer.read() == f"on {port}\n".encode()
    assert ask(cluster, f"/v1/jobs/{job_id}")["job"]["spec"]["tasks"][0]["ports"] == [port]
    body["tasks"][0]["near"] = {"service": "nobody", "withinMs": 5}
    job_id = ask(cluster, "/v1/jobs", body)["job"]["jobId"]

    def waits() -> bool:
        reason = ask(cluster, f"/v1/jobs/{job_id}")["job"].get("reason", "")
        return "no service 'nobody' has a ready replica" in reason

    wait_for(waits, "the job to say what it waits for")
    ask(cluster, f"/v1/jobs/{job_id}:cancel", {})
    for wrong, field in (
        ({"ports": [80, 80]}, "tasks[0].ports"),
        ({"near": {"service": "web", "node": "a1"}}, "tasks[0].near"),
    ):
        body = job("true")
        body["tasks"][0].update(wrong)
        assert field in refused(cluster, "/v1/jobs", body)
    assert "page_token" in refused(cluster, "/v1/images?page_token=x")
    assert ask(cluster, "/v1/images?page_size=1&edge=site-a")["sites"][0]["edge"] == "site-a"


def refused(cluster: ClusterAtWork, path: str, body: Any = None) -> str:
    """What is told of a request that makes no sense."""
    with pytest.raises(urllib.error.HTTPError) as caught:
        ask(cluster, path, body)
    with caught.value as error:
        assert error.code == 400
        return str(json.load(error)["error"]["message"])


def test_the_commands_of_the_page(cluster: ClusterAtWork) -> None:
    """As somebody would copy them, in the page's own order, with curl."""
    if shutil.which("curl") is None:
        pytest.skip("no curl here")
    at = read_cluster_file(cluster.state_dir).rest
    with urllib.request.urlopen(at, timeout=30) as answer:
        page = answer.read().decode()
    commands = [
        html.unescape(found) for found in re.findall(r"<pre>(curl .*?)</pre>", page, re.DOTALL)
    ]
    assert len(commands) == 15
    environment = {"TANGO": at, "TOKEN": cluster.token, "PATH": "/usr/bin:/bin"}
    job_id = ""
    for command in commands:
        if ":migrate" in command:
            continue  # it takes a node that can
        filled = command.replace("JOB_ID", job_id).replace("/NAME", f"/{job_id}")
        done = subprocess.run(
            ["/bin/sh", "-c", f"{filled} --silent --show-error --fail-with-body"],
            env=environment, capture_output=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, (filled, done.stdout, done.stderr)
        if not job_id:
            job_id = json.loads(done.stdout)["job"]["jobId"]
        if command.endswith('/log"'):
            assert done.stdout.endswith(b"/bin/bash\n")


def test_without_the_token(cluster: ClusterAtWork) -> None:
    for path in ("/v1/jobs", "/v1/nodes"):
        with pytest.raises(urllib.error.HTTPError) as caught:
            ask(cluster, path, Authorization="Bearer wrong-token-of-somebody")
        with caught.value as error:
            assert error.code == 401
            assert json.load(error)["error"]["status"] == "UNAUTHENTICATED"
    (noted, *_) = cluster.events("central", "refused")
    assert noted["reason"] == "wrong token"
    assert cluster.events("central", "serving rest")[0]["address"].startswith("127.0.0.1:")
    assert cluster.events("central", "handler failed") == []


def test_up_says_where_it_is_and_down_takes_it_away(tmp_path_factory: Any) -> None:
    state = tmp_path_factory.mktemp("up") / "state"
    done = tango("up", "--detach", "--sites", "1", "--rest", "0", state=state)
    try:
        assert done.returncode == 0, done.stderr
        (line,) = [line for line in done.stdout.splitlines() if line.startswith("REST: ")]
        at = line.split()[1].rstrip("/,")
        with urllib.request.urlopen(f"{at}/openapi.json", timeout=30) as answer:
            assert json.load(answer)["openapi"].startswith("3.")
    finally:
        assert tango("down", state=state).returncode == 0
    with pytest.raises(OSError):
        urllib.request.urlopen(f"{at}/openapi.json", timeout=30)


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A central master with [tls]: (address of its REST face, directory of a user's files)."""
    if shutil.which("curl") is None:
        pytest.skip("no curl here")
    authority.make_authority(tmp_path / "ca")
    made = authority.issue(tmp_path / "ca", Identity(Role.CENTRAL, "central"))
    user = authority.issue(tmp_path / "ca", Identity(Role.USER, "ada"))
    config = tmp_path / "central.toml"
    config.write_text(
        f'[server]\nlisten = "127.0.0.1:0"\nrest = "127.0.0.1:0"\n'
        f'state_dir = "{tmp_path / "state"}"\n[tls]\nca_file = "{made.ca_file}"\n'
        f'cert_file = "{made.cert_file}"\nkey_file = "{made.key_file}"\n'
    )
    log = tmp_path / "log"
    argv = [sys.executable, "-P", "-m", "tango.daemons", "central", "-c", str(config)]
    with log.open("wb") as file, subprocess.Popen(argv, stderr=file) as process:
        try:
            wait_for(lambda: "serving rest" in log.read_text(), "the REST face")
            (line,) = [line for line in log.read_text().splitlines() if "serving rest" in line]
            yield json.loads(line)["address"], user.cert_file.parent
        finally:
            process.terminate()
        assert process.wait(20) == 0, log.read_text()


def test_with_tls_as_the_page_has_it(secured: tuple[str, Path]) -> None:
    address, directory = secured
    port = address.rpartition(":")[2]
    at = f"https://central.tango.internal:{port}"

    def curl(command: str) -> subprocess.CompletedProcess[str]:
        resolved = f"{command} --resolve central.tango.internal:{port}:127.0.0.1 --silent"
        return subprocess.run(
            ["/bin/sh", "-c", resolved],
            env={"TANGO": at, "PATH": "/usr/bin:/bin"}, cwd=directory,
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    page = curl('curl --cacert ca.pem --cert cert.pem --key key.pem "$TANGO/"').stdout
    commands = [html.unescape(found) for found in re.findall(r"<pre>(curl .*?)</pre>", page)]
    done = curl(commands[0])
    assert json.loads(done.stdout)["job"]["state"] == "JOB_STATE_PENDING"
    assert json.loads(curl(commands[2]).stdout)["counts"]["pending"] == "1"
    without = curl('curl --cacert ca.pem "$TANGO/v1/jobs"')
    assert without.returncode != 0
    assert without.stdout == ""
