"""In the guest: CRIU moves processes between two supervisors, and goes back where it cannot."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "tests/contract"))
from supervisor_process import Connection, Json, Supervisor, alive, eventually, output

MOUNT = Path("/sys/fs/cgroup")
NOBODY = {"uid": 65534, "gid": 65534}
# Counts in memory only, with a child that does nothing but be there.
COUNTER = """
import os, time
child = os.fork()
if child == 0:
    time.sleep(1e6)
data = bytearray(8 << 20)
count = 0
while True:
    count += 1
    print("count", count, os.getpid(), child, flush=True)
    time.sleep(0.2)
"""
PYTHON = "/usr/bin/python3"
SLOW_S = 300.0


def said(text: str) -> None:
    with Path("/dev/console").open("w") as console:
        console.write(f"@guest   {text}\n")


class Node:
    """A supervisor with a group for its attempts."""

    def __init__(self, name: str) -> None:
        self.supervisor = Supervisor().begin()
        self.group = MOUNT / f"tango-{name}"
        self.group.mkdir()
        self.client = self.connect()

    def connect(self) -> Connection:
        client = self.supervisor.connect()
        client.socket.settimeout(SLOW_S)
        client.ok("subscribe")
        return client

    def inside(self, key: str) -> dict[str, object]:
        leaf = self.group / key
        leaf.mkdir(exist_ok=True)
        return {"procs_files": [str(leaf / "cgroup.procs")], "log": {"max_bytes": 1 << 20}}

    def pids(self, key: str) -> list[int]:
        return [int(word) for word in (self.group / key / "cgroup.procs").read_text().split()]

    def count(self, key: str, **fields: object) -> Json:
        return self.client.start(
            key, PYTHON, "-S", "-c", COUNTER, env={}, **NOBODY, **self.inside(key), **fields
        )

    def restore(self, key: str, root: Path, source: str, digest: str, **fields: object) -> Json:
        given: dict[str, object] = {"env": {}, **NOBODY, **self.inside(key), **fields}
        place = {"root": str(root), "key": source, "digest": digest}
        argv = [PYTHON, "-S", "-c", COUNTER]
        return self.client.call("start", key=key, argv=argv, restore=place, **given)

    def end(self) -> None:
        self.supervisor.end()
        for leaf in [*self.group.iterdir()]:
            if leaf.is_dir():
                leaf.rmdir()
        self.group.rmdir()


@pytest.fixture
def nodes() -> Iterator[tuple[Node, Node]]:
    pair = Node("a"), Node("b")
    try:
        yield pair
    finally:
        for node in pair:
            node.end()


@pytest.fixture
def root() -> Iterator[Path]:
    path = Path("/var/lib/checkpoints")
    path.mkdir(mode=0o700)
    yield path
    left = sorted(str(found.relative_to(path)) for found in path.rglob("*"))
    shutil.rmtree(path)
    assert left == [], "checkpoints are left"


def counts(record: Json) -> list[list[int]]:
    lines = [line.split() for line in output(record).splitlines()]
    return [[int(word) for word in line[1:]] for line in lines if line[0] == "count"]


def counted(record: Json, least: int) -> None:
    eventually(lambda: len(counts(record)) >= least, SLOW_S)


def test_criu_works_here(nodes: tuple[Node, Node]) -> None:
    started = time.monotonic()
    version = nodes[0].client.ok("criu")["version"]
    said(f"criu {version} checked in {time.monotonic() - started:.1f} s")


def test_a_counting_task_goes_on_elsewhere(nodes: tuple[Node, Node], root: Path) -> None:
    a, b = nodes
    first = a.count("job.0.1")
    counted(first, 5)
    pid, child = counts(first)[0][1:]
    assert a.pids("job.0.1") == [pid, child]
    begun = time.monotonic()
    made = a.client.ok("checkpoint", key="job.0.1", root=str(root))["checkpoint"]
    dumped_s = time.monotonic() - begun
    ended = a.client.event("exited", "job.0.1")
    assert (ended["reason"], ended["exit_code"]) == ("checkpointed", None)
    assert ended["checkpoint"]["digest"] == made["digest"]
    assert a.pids("job.0.1") == [], "the source is freed"
    assert not alive(pid)
    images = root / "job.0.1"
    assert images.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in images.iterdir()} == {0o600}
    last = counts(first)[-1][0]
    begun = time.monotonic()
    reply = b.restore("job.0.2", root, "job.0.1", made["digest"])
    assert reply["ok"], reply
    second = reply["record"]
    said(
        f"dump {dumped_s:.1f} s, restore {time.monotonic() - begun:.1f} s, {made['bytes']} bytes,"
        f" counted to {last}"
    )
    counted(second, 5)
    found = counts(second)
    assert [line[0] for line in found] == [last + 1 + index for index in range(len(found))]
    assert {tuple(line[1:]) for line in found} == {(pid, child)}
    assert second["pid"] == pid
    assert b.pids("job.0.2") == [pid, child], "in the groups of the destination"
    status = Path(f"/proc/{pid}/status").read_text()
    assert "Uid:\t65534\t65534\t65534\t65534" in status
    assert f"PPid:\t{b.supervisor.pid}\n" in status
    # Supervised as any other: it can be killed, adopted, checkpointed again, and its end is told.
    b.supervisor.kill()
    b.supervisor.begin()
    b.client = b.connect()
    assert b.client.records()["job.0.2"]["adopted"]
    written = len(counts(second))
    counted(second, written + 3)
    again = b.client.ok("checkpoint", key="job.0.2", root=str(root))["checkpoint"]
    assert b.client.event("exited", "job.0.2")["reason"] == "checkpointed"
    reply = a.restore("job.0.3", root, "job.0.2", again["digest"])
    assert reply["ok"], reply
    third = reply["record"]
    counted(third, 3)
    assert counts(third)[0][0] == counts(second)[-1][0] + 1
    os.kill(pid, signal.SIGTERM)
    ended = a.client.event("exited", "job.0.3")
    assert (ended["reason"], ended["signal"], ended["leftover"]) == ("signalled", 15, 0)
    assert a.pids("job.0.3") == []


def test_what_cannot_be_restored_is_refused_and_goes_back(
    nodes: tuple[Node, Node], root: Path
) -> None:
    a, b = nodes
    first = a.count("job.1.1")
    counted(first, 3)
    made = a.client.ok("checkpoint", key="job.1.1", root=str(root))["checkpoint"]
    a.client.event("exited", "job.1.1")
    wrong = b.restore("job.1.2", root, "job.1.1", "sha256:" + 64 * "0")
    assert (wrong["code"], wrong["step"]) == ("SPAWN_FAILED", "restore")
    other = b.restore("job.1.2", root, "job.1.1", made["digest"], uid=1, gid=1)
    assert "uid 65534" in other["error"]
    pages = max((root / "job.1.1").glob("pages-*.img"), key=lambda path: path.stat().st_size)
    kept = pages.read_bytes()
    pages.write_bytes(b"x" + kept[1:])
    bent = b.restore("job.1.2", root, "job.1.1", made["digest"])
    assert "is not as it was written" in bent["error"]
    pages.write_bytes(kept)
    assert b.client.records() == {}
    assert b.pids("job.1.2") == []
    reply = a.restore("job.1.3", root, "job.1.1", made["digest"])
    assert reply["ok"], reply
    counted(reply["record"], 3)
    assert counts(reply["record"])[0][0] == counts(first)[-1][0] + 1
    a.client.ok("stop", key="job.1.3", grace_s=0)
    a.client.event("exited", "job.1.3")


def test_what_cannot_be_dumped_goes_on(nodes: tuple[Node, Node], root: Path) -> None:
    a, _ = nodes
    first = a.count("job.2.1")
    counted(first, 3)
    # A process of the group that is no descendant of its first one.
    stray = a.client.start("stray", "/bin/sleep", "1000", env={})
    (a.group / "job.2.1/cgroup.procs").write_text(str(stray["pid"]))
    refused = a.client.call("checkpoint", key="job.2.1", root=str(root))
    assert refused["code"] == "CHECKPOINT_FAILED"
    assert "is not below its first process" in refused["error"]
    small = a.client.call("checkpoint", key="job.2.1", root=str(root), max_bytes=4096)
    assert "more than the 4096 allowed" in small["error"]
    written = len(counts(first))
    counted(first, written + 3)
    a.client.ok("stop", key="job.2.1", grace_s=0)
    a.client.event("exited", "job.2.1")


@pytest.mark.parametrize("wait_s", [0.0, 0.3, 1.5])
def test_a_supervisor_killed_while_it_dumps(
    nodes: tuple[Node, Node], root: Path, wait_s: float
) -> None:
    """Afterwards it runs on there, or is sealed and gone; never both, never neither."""
    a, b = nodes
    first = a.count("job.3.1")
    counted(first, 3)
    a.client.send("checkpoint", key="job.3.1", root=str(root))
    time.sleep(wait_s)
    a.supervisor.kill()
    a.supervisor.begin()
    a.client = a.connect()

    def settled() -> bool:
        record = a.client.records()["job.3.1"]
        return record["checkpoint"] is None or record["state"] == "ended"

    eventually(settled, SLOW_S)
    record = a.client.records()["job.3.1"]
    if record["state"] == "ended":
        said(f"killed after {wait_s} s: sealed")
        assert record["reason"] == "checkpointed"
        assert a.pids("job.3.1") == []
        reply = b.restore("job.3.2", root, "job.3.1", record["checkpoint"]["digest"])
        assert reply["ok"], reply
        counted(reply["record"], 3)
        assert counts(reply["record"])[0][0] == counts(first)[-1][0] + 1
        b.client.ok("stop", key="job.3.2", grace_s=0)
        b.client.event("exited", "job.3.2")
    else:
        said(f"killed after {wait_s} s: it goes on")
        written = len(counts(first))
        counted(first, written + 3)
        a.client.ok("stop", key="job.3.1", grace_s=0)
        a.client.event("exited", "job.3.1")


@pytest.mark.parametrize("wait_s", [0.0, 1.0, 4.0])
def test_a_supervisor_killed_while_it_restores(
    nodes: tuple[Node, Node], root: Path, wait_s: float
) -> None:
    a, b = nodes
    first = a.count("job.4.1")
    counted(first, 3)
    pid = first["pid"]
    made = a.client.ok("checkpoint", key="job.4.1", root=str(root))["checkpoint"]
    a.client.event("exited", "job.4.1")
    argv = [PYTHON, "-S", "-c", COUNTER]
    place = {"root": str(root), "key": "job.4.1", "digest": made["digest"]}
    fields = {"env": {}, **NOBODY, **b.inside("job.4.2")}
    b.client.send("start", key="job.4.2", argv=argv, restore=place, **fields)
    time.sleep(wait_s)
    b.supervisor.kill()
    b.supervisor.begin()
    b.client = b.connect()
    found = b.client.records().get("job.4.2")
    if found is None:
        said(f"killed after {wait_s} s: cleared")
        assert b.pids("job.4.2") == []
        assert not alive(pid)
        reply = b.restore("job.4.2", root, "job.4.1", made["digest"])
        assert reply["ok"], reply
        found = reply["record"]
    else:
        said(f"killed after {wait_s} s: it runs")
    counted(found, 3)
    assert counts(found)[0][0] == counts(first)[-1][0] + 1
    b.client.ok("stop", key="job.4.2", grace_s=0)
    b.client.event("exited", "job.4.2")
