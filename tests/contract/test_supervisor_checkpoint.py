"""Checkpoint and restore of attempts, with a criu that misbehaves; the real one: tools/guest."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from supervisor_process import Connection, Json, Supervisor, alive, eventually, output

from tango.supervisor.images import digest_of

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="criu needs root's rights")

FAKE = Path(__file__).with_name("fake_criu.py")
TICKS = "import time\nwhile True: print('tick', flush=True); time.sleep(0.05)"


class Place:
    """A supervisor with a criu whose ways can be set, and a directory for checkpoints."""

    def __init__(self, folder: Path) -> None:
        self.program = folder / "criu"
        shutil.copy(FAKE, self.program)
        self.program.chmod(0o755)
        self.root = folder / "checkpoints"
        self.root.mkdir(mode=0o700)
        self.mode("well")
        self.supervisor = Supervisor().begin("--criu", str(self.program))
        self.client = self.connect()

    def mode(self, name: str) -> None:
        self.program.with_name("MODE").write_text(name)

    def connect(self) -> Connection:
        client = self.supervisor.connect()
        client.ok("subscribe")
        return client

    def again(self) -> None:
        self.supervisor.kill()
        self.supervisor.begin("--criu", str(self.program))
        self.client = self.connect()

    def begin(self, key: str = "j.0.1") -> Json:
        record = self.client.start(key, sys.executable, "-c", TICKS)
        eventually(lambda: "tick" in output(record))
        return record

    def dump(self, key: str = "j.0.1", **fields: object) -> Json:
        return self.client.call("checkpoint", key=key, root=str(self.root), **fields)

    def checkpoint(self, key: str = "j.0.1") -> str:
        reply = self.dump(key)
        assert reply["ok"], reply
        assert self.client.event("exited", key)["reason"] == "checkpointed"
        return str(reply["checkpoint"]["digest"])

    def restore(self, digest: str, key: str = "j.0.2", source: str = "j.0.1") -> Json:
        place = {"root": str(self.root), "key": source, "digest": digest, "limit_s": 10}
        return self.client.call("start", key=key, argv=["sh"], env={}, restore=place)

    def left(self) -> list[str]:
        return sorted(path.name for path in self.root.iterdir())


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    found = Place(tmp_path)
    try:
        yield found
    finally:
        found.supervisor.end()


def ticks_on(record: Json) -> None:
    before = output(record).count("tick")
    eventually(lambda: output(record).count("tick") > before + 2)


def test_whether_it_works_here_and_why_not(place: Place) -> None:
    assert place.client.ok("criu")["version"] == "3.99"
    for mode, why in (
        ("check-fails", "is newer than what criu 3.99 was made for: it takes a newer CRIU, or an"),
        ("check-fails", "(criu check ended with status 1: Error (criu/x.c:1): vdso: Unexpected"),
        ("version", "criu --version says 'nonsense'"),
    ):
        place.mode(mode)
        refused = place.client.call("criu")
        assert refused["code"] == "UNAVAILABLE"
        assert why in refused["error"]
    place.program.unlink()
    assert "cannot be run" in place.client.call("criu")["error"]


def test_a_checkpoint_ends_it_and_its_images_are_sealed(place: Place) -> None:
    record = place.begin()
    digest = place.checkpoint()
    ended = place.client.records()["j.0.1"]
    assert (ended["reason"], ended["signal"], ended["exit_code"]) == ("checkpointed", 9, None)
    assert ended["checkpoint"]["digest"] == digest
    assert not alive(record["pid"])
    files = {path.name: path.stat().st_mode & 0o777 for path in (place.root / "j.0.1").iterdir()}
    assert {"inventory.img", "pages-1.img", "manifest.json"} <= files.keys()
    assert set(files.values()) == {0o600}
    assert place.dump()["checkpoint"]["digest"] == digest, "a repeat does nothing more"
    place.client.start("other", "true")
    place.client.event("exited", "other")
    assert place.dump("other")["code"] == "ENDED"


@pytest.mark.parametrize(
    ("mode", "why"),
    [
        ("dump-fails", "status 1: (00.2) Error (criu/x.c:1): a TCP connection"),
        ("dump-killed", "ended with signal 9"),
        ("dump-hangs", "took more than 0.5 s"),
        ("dump-empty", "criu left no images"),
        ("dump-runs-on", "is not below its first process"),
    ],
)
def test_where_it_cannot_be_dumped_it_goes_on(place: Place, mode: str, why: str) -> None:
    record = place.begin()
    place.mode(mode)
    refused = place.dump(limit_s=0.5)
    assert (refused["code"], refused["ok"]) == ("CHECKPOINT_FAILED", False)
    assert why in refused["error"]
    ticks_on(record)
    assert place.left() == []
    assert place.client.records()["j.0.1"]["checkpoint"] is None
    place.mode("well")
    place.checkpoint()


def test_bounds_of_memory_and_images(place: Place) -> None:
    record = place.begin()
    assert "bytes of memory, more than the 4096" in place.dump(max_bytes=4096)["error"]
    place.root.chmod(0o777)
    assert "can be written by others" in place.dump()["error"]
    place.root.chmod(0o700)
    ticks_on(record)


def test_a_stop_meanwhile_is_a_stop(place: Place) -> None:
    place.begin()
    place.mode("dump-slow")
    number = place.client.send("checkpoint", key="j.0.1", root=str(place.root))
    time.sleep(0.3)
    place.client.ok("stop", key="j.0.1", grace_s=30)
    refused = place.client.wait(number)
    assert not refused["ok"]
    assert place.client.event("exited", "j.0.1")["reason"] == "stopped"
    assert place.left() == []


def test_a_repeat_gets_the_same_answer(place: Place) -> None:
    place.begin()
    place.mode("dump-slow")
    first = place.client.send("checkpoint", key="j.0.1", root=str(place.root))
    second = place.client.send("checkpoint", key="j.0.1", root=str(place.root))
    assert place.client.wait(first)["checkpoint"] == place.client.wait(second)["checkpoint"]


def test_a_supervisor_killed_meanwhile_lets_it_go_on_or_finds_the_seal(place: Place) -> None:
    record = place.begin()
    place.mode("dump-slow")
    place.client.send("checkpoint", key="j.0.1", root=str(place.root))
    time.sleep(0.3)
    place.again()

    def decided() -> bool:
        found = place.client.records()["j.0.1"]
        return found["state"] == "ended" or found["checkpoint"] is None

    # The child goes on without its parent, and seals: what counts is on disk. Who asks the next
    # supervisor waits for that one, and begins none of its own.
    reply = place.dump()
    eventually(decided)
    assert place.client.records()["j.0.1"]["checkpoint"]["digest"] == reply["checkpoint"]["digest"]
    found = place.client.records()["j.0.1"]
    assert (found["state"], found["reason"]) == ("ended", "checkpointed")
    assert not alive(record["pid"])
    assert place.restore(found["checkpoint"]["digest"])["ok"]


def test_a_supervisor_killed_during_a_dump_that_fails(place: Place) -> None:
    record = place.begin()
    place.mode("dump-hangs")
    place.client.send("checkpoint", key="j.0.1", root=str(place.root), limit_s=1)
    time.sleep(0.3)
    place.again()
    eventually(lambda: place.client.records()["j.0.1"]["checkpoint"] is None)
    ticks_on(record)
    assert place.left() == []


def test_it_is_restored_supervised_and_its_end_is_told(place: Place) -> None:
    first = place.begin()
    digest = place.checkpoint()
    place.mode("restore-brief")
    reply = place.restore(digest)
    assert reply["ok"], reply
    record = reply["record"]
    assert (record["pid"], record["state"]) == (first["pid"], "running")
    ended = place.client.event("exited", "j.0.2")
    assert (ended["reason"], ended["exit_code"]) == ("exited", 7)
    assert output(record) == f"restored {first['pid']}\n"
    assert place.left() == []
    again = place.restore(digest)
    assert again["duplicate"] is True


def test_a_restored_one_is_adopted_and_stopped(place: Place) -> None:
    place.begin()
    record = place.restore(place.checkpoint())["record"]
    eventually(lambda: "restored" in output(record))
    # As if its supervisor had been killed between recording it and letting it run.
    os.kill(record["pid"], signal.SIGSTOP)
    place.again()
    stat = Path(f"/proc/{record['pid']}/stat")
    eventually(lambda: stat.read_text().rpartition(")")[2].split()[0] == "S")
    found = place.client.records()["j.0.2"]
    assert (found["pid"], found["adopted"]) == (record["pid"], True)
    place.client.ok("stop", key="j.0.2", grace_s=5)
    assert place.client.event("exited", "j.0.2")["reason"] == "stopped"
    assert not alive(record["pid"])


@pytest.mark.parametrize(
    ("mode", "why"),
    [
        ("restore-fails", "File /x has bad size 7"),
        ("restore-other", "criu restored another process"),
    ],
)
def test_where_it_cannot_be_restored_nothing_is_left(place: Place, mode: str, why: str) -> None:
    first = place.begin()
    digest = place.checkpoint()
    place.mode(mode)
    refused = place.restore(digest)
    assert (refused["code"], refused["step"]) == ("SPAWN_FAILED", "restore")
    assert why in refused["error"]
    assert "j.0.2" not in place.client.records()
    assert place.left() == ["j.0.1"], "for another place to try"
    place.mode("well")
    reply = place.restore(digest)
    assert reply["ok"], reply
    assert reply["record"]["pid"] == first["pid"]


def test_images_that_are_not_what_was_sealed(place: Place) -> None:
    place.begin()
    digest = place.checkpoint()
    folder = place.root / "j.0.1"

    def refused(why: str, of: str = digest) -> None:
        reply = place.restore(of)
        assert not reply["ok"]
        assert why in reply["error"], reply

    refused("is not the one of digest sha256:0", "sha256:0")
    pages = folder / "pages-1.img"
    kept = pages.read_bytes()
    pages.write_bytes(kept + b"!")
    refused("is not as it was written")
    pages.unlink()
    refused("image 'pages-1.img': No such file")
    pages.symlink_to("/etc/passwd")
    refused("image 'pages-1.img'")
    pages.unlink()
    pages.write_bytes(kept)
    (folder / "more.img").write_bytes(b"")
    refused("image 'more.img' is in no manifest")
    (folder / "more.img").unlink()
    manifest = folder / "manifest.json"
    whole = manifest.read_bytes()
    manifest.unlink()
    refused("no checkpoint in")
    manifest.write_bytes(whole)
    place.root.chmod(0o777)
    refused("can be written by others")
    place.root.chmod(0o700)
    assert place.restore(digest)["ok"]


def test_a_pid_that_is_taken(place: Place) -> None:
    record = place.begin()
    digest = place.checkpoint()
    manifest = place.root / "j.0.1/manifest.json"
    mine = manifest.read_text().replace(f'"pid":{record["pid"]}', f'"pid":{os.getpid()}')
    manifest.write_text(mine)
    refused = place.restore(digest_of(mine.encode()))
    assert f"its process id {os.getpid()} is taken on this node" in refused["error"]
    assert digest != digest_of(mine.encode())


def test_requests_are_checked(place: Place) -> None:
    for field, value in (("root", "relative"), ("max_bytes", 0), ("limit_s", -1), ("key", "a/b")):
        fields = {"key": "j.0.1", "root": "/x", field: value}
        assert place.client.call("checkpoint", **fields)["field"] == field
    assert place.dump("nobody")["code"] == "NOT_FOUND"
    wrong = place.client.call("start", key="k", argv=["x"], env={}, restore={"root": "x"})
    assert wrong["field"] == "restore.root"
