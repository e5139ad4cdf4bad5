"""In the guest: a site of three nodes; a counting task moves between two, back from the third.

A fourth node, of another site, shares no directory with them: there and back by the sessions.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from site_under_test import eventually, said, sh

from tango.model.cluster import Enforcement, NodeView
from tango.model.job import JobRecord, JobState, TaskRecord
from tango.sdk.sync_client import SyncClient

SITE = Path("/run/site")
TANGO = "/opt/tango/bin/tango"
COUNTER = """
import time
data = bytearray(16 << 20)
data[::4096] = b"x" * len(data[::4096])
count = 0
while True:
    count += 1
    print("count", count, flush=True)
    time.sleep(0.3)
"""
JOB = f"""
kind: Job
name: counter
argv: [/usr/bin/python3, -S, -c, {json.dumps(COUNTER)}]
cpu: 200m
memory: 64Mi
"""
SLOW_S = 300.0
PORTS = {
    "central": 7500, "site": 7510, "far": 7550, "n1": 7520, "n2": 7530, "n3": 7540, "n4": 7560,
}  # fmt: skip
# The third node runs tasks as somebody else: it takes a task, and then cannot restore it.
USERS = {"n1": "nobody", "n2": "nobody", "n3": "daemon", "n4": "nobody"}


def config(name: str) -> str:
    port = PORTS[name]
    text = f'[server]\nlisten = "127.0.0.1:{port}"\nmetrics = "127.0.0.1:{port + 1}"\n'
    text += f'state_dir = "{SITE}/{name}"\ntoken_file = "{SITE}/token"\n'
    if name == "central":
        return text + "[central]\nnode_lost_after_s = 300\n"
    if name in ("site", "far"):
        central = f'central = "127.0.0.1:{PORTS["central"]}"'
        return text + f'[edge]\nname = "{name}"\n{central}\nnode_dead_after_s = 300\n'
    edge = "far" if name == "n4" else "site"
    text += f'[worker]\nnode = "{name}"\nedge = "127.0.0.1:{PORTS[edge]}"\n'
    # A new job goes where most is free: not to the far node.
    cpu = "300m" if name == "n4" else "500m"
    text += f'cpu = "{cpu}"\nmemory = "256Mi"\ncgroup_root = "tango/{name}"\n'
    if name != "n4":
        text += f'checkpoint_dir = "{SITE}/checkpoints"\n'
    if name != "n3":
        text += "checkpoint_transfer = true\n"
    return text + f'run_as = "{USERS[name]}"\n'


class Site:
    """Seven daemons, each of which may be killed and started again."""

    def __init__(self) -> None:
        # Nobody has delegated a group to these workers: they use what is switched on at the mount.
        control = Path("/sys/fs/cgroup/cgroup.subtree_control")
        control.write_text("+cpu +cpuset +memory")
        SITE.mkdir(mode=0o700)
        (SITE / "checkpoints").mkdir(mode=0o700)
        token = SITE / "token"
        token.touch(mode=0o600)
        token.write_text(secrets.token_hex(16))
        edges = [{"name": name, "address": f"127.0.0.1:{PORTS[name]}"} for name in ("site", "far")]
        central = f"127.0.0.1:{PORTS['central']}"
        (SITE / "cluster.json").write_text(
            json.dumps({"central": central, "token_file": "token", "edges": edges})
        )
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        for name in PORTS:
            (SITE / f"{name}.toml").write_text(config(name))
        # One by one: emulated, a supervisor has no time to answer while four others start.
        for name in PORTS:
            self.start(name)
            eventually(lambda name=name: self.serves(name), f"{name} to serve", SLOW_S)

    def serves(self, name: str) -> bool:
        if self.processes[name].poll() is not None:
            self.start(name)  # as systemd would
        return "serving" in (SITE / f"{name}.log").read_text()

    def keep(self) -> bool:
        """Start again what has ended, as systemd would."""
        return all(self.serves(name) for name in PORTS)

    def start(self, name: str) -> None:
        kind = {"central": "central", "site": "edge", "far": "edge"}.get(name, "worker")
        with (SITE / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [TANGO, kind, "-c", f"{SITE}/{name}.toml"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def kill(self, name: str) -> None:
        self.processes[name].kill()
        self.processes[name].wait()
        self.start(name)

    def kill_supervisor(self, name: str) -> None:
        """Its worker starts another."""
        os.kill(int((SITE / name / "supervisor/lock").read_text()), signal.SIGKILL)

    def end(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()
        for name in USERS:
            lock = SITE / name / "supervisor/lock"
            if lock.exists():
                sh("kill", lock.read_text().strip(), check=False)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    found = Site()
    try:
        eventually(lambda: len(able()) == 4, "four nodes that can checkpoint", SLOW_S)
        yield found
    finally:
        found.end()
        for name in PORTS:
            Path(f"/var/lib/guest/results/migrate-{name}.log").write_bytes(
                (SITE / f"{name}.log").read_bytes()
            )


@pytest.fixture(scope="module")
def job(site: Site) -> str:
    (SITE / "counter.yaml").write_text(JOB)
    with tango() as client_:
        job_id = client_.submit(SITE / "counter.yaml").job_id
    counted(job_id, 5)
    return job_id


def tango() -> SyncClient:
    return SyncClient(str(SITE))


def nodes() -> dict[str, NodeView]:
    try:
        with tango() as client_:
            return {node.node: node for node in client_.nodes()}
    except Exception:  # noqa: BLE001 (a daemon is down, as the test wants it)
        return {}


def able() -> list[str]:
    return [name for name, node in nodes().items() if node.ready and node.checkpoints]


def record(job_id: str) -> JobRecord:
    with tango() as client_:
        return client_.job(job_id)


def task(job_id: str) -> TaskRecord:
    return record(job_id).tasks[0]


def counts(job_id: str) -> list[int]:
    """All that it ever printed, attempt by attempt, wherever that ran."""
    found = {
        int(path.name.split(".")[-2]): path
        for path in SITE.glob(f"*/supervisor/logs/{job_id}.0.*.log")
    }
    lines = [line for number in sorted(found) for line in found[number].read_text().splitlines()]
    return [int(line.split()[1]) for line in lines]


def counted(job_id: str, more: int) -> None:
    """It goes on, from where it was: each number once, over all attempts."""
    before = len(counts(job_id))
    eventually(lambda: len(counts(job_id)) >= before + more, "it goes on counting", SLOW_S)
    found = counts(job_id)
    assert found == list(range(1, len(found) + 1))


def trees(job_id: str) -> list[int]:
    """Processes of the job that live, on any node."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            environ = (path / "environ").read_bytes()
            state = (path / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if f"TANGO_ATTEMPT={job_id}.".encode() in environ and state not in ("Z", "X"):
            found.append(int(path.name))
    return found


def groups(node: str) -> list[str]:
    """BE groups of the node that hold a process."""
    below = Path(f"/sys/fs/cgroup/tango/{node}/be")
    return sorted(
        path.parent.name for path in below.glob("*/cgroup.procs") if path.read_text().strip()
    )


def migrate(job_id: str, to: str) -> tuple[int, str, float]:
    begun = time.monotonic()
    done = subprocess.run(
        [TANGO, "migrate", job_id, "--to", to, "--state", str(SITE)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SLOW_S,
    )
    return done.returncode, done.stdout.strip(), time.monotonic() - begun


def other(job_id: str) -> str:
    return "n2" if task(job_id).node == "n1" else "n1"


def settled(job_id: str) -> bool:
    try:
        found = task(job_id)
    except Exception:  # noqa: BLE001 (central is down, as the test wants it)
        return False
    return found.migration is None and found.state is JobState.RUNNING


def test_nodes_say_what_they_can(site: Site) -> None:
    for node in nodes().values():
        assert (node.checkpoints, node.checkpoint_note) == (True, "criu 3.17.1")
        assert node.enforcement is Enforcement.CGROUP
    told = sh(TANGO, "describe", "node", "n1", "--state", str(SITE))
    assert "Checkpoints:  yes (criu 3.17.1)" in told


def test_it_goes_on_at_the_destination_and_the_source_is_free(job: str) -> None:
    source, to = task(job).node, other(job)
    before = task(job).attempt_id
    assert groups(source) == [before]
    status, text, took_s = migrate(job, to)
    assert status == 0, text
    assert f"migrated with its state from {source} of site to {to} of site" in text
    counted(job, 5)
    found = task(job)
    assert (found.state, found.node, found.attempt) == (JobState.RUNNING, to, 2)
    assert (found.failures, found.losses, found.evictions) == (0, 0, 0)
    assert groups(to) == [found.attempt_id]
    assert groups(source) == []
    assert len(trees(job)) == 1
    memory = Path(f"/sys/fs/cgroup/tango/{to}/be/{found.attempt_id}/memory.max").read_text()
    assert int(memory) == 64 << 20

    def freed() -> bool:
        views = nodes()
        left, taken = views[source], views[to]
        return (left.be_held_millis, left.be_memory_bytes, left.be_tasks) == (0, 0, 0) and (
            taken.be_held_millis,
            taken.be_memory_bytes,
        ) == (200, 64 << 20)

    eventually(freed, "CPU and memory of the source to be free", 60)
    assert list((SITE / "checkpoints").iterdir()) == []
    said(f"migrate: {text} in {took_s:.1f} s, counted to {counts(job)[-1]}")


def test_what_the_destination_refuses_goes_back(job: str) -> None:
    source = task(job).node
    status, text, took_s = migrate(job, "n3")
    assert status == 1
    assert "not migrated to n3 of site" in text
    assert "tasks of this node run as uid" in text
    assert f"it went on at {source} of site" in text
    counted(job, 5)
    found = task(job)
    assert (found.state, found.node, found.attempt) == (JobState.RUNNING, source, 4)
    assert len(trees(job)) == 1
    assert groups("n3") == []
    eventually(lambda: nodes()["n3"].be_held_millis == 0, "n3 to be free", 60)
    said(f"migrate: {text} in {took_s:.1f} s")


def test_what_is_refused_at_once(job: str) -> None:
    status, text, _ = migrate(job, task(job).node)
    assert status == 1
    assert "already" in text
    status, text, _ = migrate(job, "n9")
    assert "no node 'n9'" in text
    assert settled(job)


def left() -> list[Path]:
    """Checkpoints on disk, in the common directory and in those of the nodes."""
    return [*SITE.glob("checkpoints/*"), *SITE.glob("n?/checkpoints/*/*")]


def test_it_goes_to_a_site_that_shares_no_directory_and_back(job: str) -> None:
    source = task(job).node
    status, text, took_s = migrate(job, "n4")
    assert status == 0, text
    assert f"migrated with its state from {source} of site to n4 of far" in text
    counted(job, 5)
    assert groups("n4") == [task(job).attempt_id]
    assert groups(source) == []
    assert len(trees(job)) == 1
    eventually(lambda: not left(), "no checkpoint to be left", 60)
    said(f"by the sessions: {text} in {took_s:.1f} s")
    status, text, _ = migrate(job, "n3")
    assert status == 1
    assert "worker.checkpoint_transfer is off at n3" in text
    status, text, took_s = migrate(job, source)
    assert status == 0, text
    counted(job, 5)
    assert groups(source) == [task(job).attempt_id]
    assert groups("n4") == []
    eventually(lambda: not left(), "no checkpoint to be left", 60)
    said(f"by the sessions: {text} in {took_s:.1f} s")


@pytest.mark.parametrize(
    ("victim", "wait_s"),
    [
        ("central", 0.5),
        ("site", 1.0),
        ("source", 1.0),
        ("destination", 4.0),
        ("supervisors", 1.0),
        ("supervisors", 5.0),
    ],
)
def test_one_copy_is_left_whoever_is_killed_meanwhile(
    site: Site, job: str, victim: str, wait_s: float
) -> None:
    source, to = task(job).node, other(job)
    before = task(job)
    with tango() as client_:
        client_.migrate(job, to)
    time.sleep(wait_s)
    if victim == "supervisors":
        site.kill_supervisor(source)
        site.kill_supervisor(to)
    else:
        site.kill({"source": source, "destination": to}.get(victim, victim))
    eventually(lambda: site.keep() and settled(job), "the migration to be over", SLOW_S)
    counted(job, 4)
    found = task(job)
    assert len(trees(job)) == 1
    assert groups(found.node) == [found.attempt_id]
    assert groups("n2" if found.node == "n1" else "n1") == []
    assert found.failures == before.failures
    said(
        f"kill -9 {victim} after {wait_s} s: attempt {found.attempt} on {found.node}: {found.moved}"
    )
    eventually(lambda: site.keep() and len(able()) == 4, "four nodes again", SLOW_S)


def test_it_ends_as_any_other(job: str) -> None:
    with tango() as client_:
        client_.cancel(job)
        assert client_.wait(job).state is JobState.CANCELLED
    assert trees(job) == []
