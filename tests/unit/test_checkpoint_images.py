"""Images of checkpoints on their way: the same there, or refused; nothing outside of its place."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from tango.adapters.checkpoint_dir import KEEP_WRITTEN_S, Checkpoints
from tango.adapters.checkpoint_images import PIECE_BYTES, Incoming, Outgoing, images_of
from tango.model.job import Checkpoint
from tango.model.settings import ServerSettings, WorkerSettings
from tango.ports import CheckpointFailed

KEY = "j.0.1"
LIMIT = 1 << 20
IMAGES = {"a.img": b"first", "empty.img": b"", "pages-1.img": bytes(range(256)) * 2000}


def written(path: Path, images: dict[str, bytes]) -> Checkpoint:
    """As the supervisor leaves it."""
    path.mkdir(mode=0o700, parents=True)
    for name, data in images.items():
        (path / name).write_bytes(data)
    rows = [[name, len(data), hashlib.sha256(data).hexdigest()] for name, data in images.items()]
    return sealed(path, rows, sum(len(data) for data in images.values()))


def sealed(path: Path, rows: list[Any], total: int, **more: object) -> Checkpoint:
    manifest = json.dumps({"version": 1, "bytes": total, "files": rows, **more}).encode()
    (path / "manifest.json").write_bytes(manifest)
    return Checkpoint(path.name, f"sha256:{hashlib.sha256(manifest).hexdigest()}", total)


def settings(tmp_path: Path, **fields: Any) -> WorkerSettings:
    server = ServerSettings("127.0.0.1:0", "token", str(tmp_path / "state"))
    fields.setdefault("checkpoint_transfer", True)
    return WorkerSettings(server, "n", "127.0.0.1:1", **fields)


@pytest.fixture
def made(tmp_path: Path) -> tuple[Path, Checkpoint]:
    path = tmp_path / "source" / KEY
    return path, written(path, IMAGES)


def sent(path: Path, made: Checkpoint) -> tuple[bytes, list[bytes]]:
    outgoing = Outgoing(path, made.digest, LIMIT)
    return outgoing.manifest, list(outgoing.pieces())


def below(path: Path) -> list[str]:
    return sorted(str(found.relative_to(path)) for found in path.rglob("*") if found.is_file())


def test_they_are_the_same_there_and_nobody_else_can_read_them(
    tmp_path: Path, made: tuple[Path, Checkpoint]
) -> None:
    source, checkpoint = made
    manifest, pieces = sent(source, checkpoint)
    assert max(map(len, pieces)) <= PIECE_BYTES
    partial, whole = tmp_path / "partial", tmp_path / "whole"
    incoming = Incoming(partial, manifest, checkpoint.digest, LIMIT)
    data = b"".join(pieces)
    for start in range(0, len(data), 70_001):  # no piece need end where an image does
        assert not whole.exists()
        incoming.take(data[start : start + 70_001])
    incoming.finish(whole)
    assert {path.name: path.read_bytes() for path in whole.iterdir()} == {
        **IMAGES,
        "manifest.json": manifest,
    }
    assert {path.stat().st_mode & 0o777 for path in whole.iterdir()} == {0o600}
    assert whole.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([["../x.img", 1, "0" * 64]], "no name"),
        ([["/x.img", 1, "0" * 64]], "no name"),
        ([[".x.img", 1, "0" * 64]], "no name"),
        ([["a/x.img", 1, "0" * 64]], "no name"),
        ([["x.img\n", 1, "0" * 64]], "no name"),
        ([["manifest.json", 1, "0" * 64]], "no name"),
        ([[7, 1, "0" * 64]], "no name"),
        ([["x.img", -1, "0" * 64]], "a size of"),
        ([["x.img", True, "0" * 64]], "a size of"),
        ([["x.img", 1, "0" * 63]], "no digest"),
        ([["x.img", 1, "0" * 64], ["x.img", 0, "0" * 64]], "twice"),
        ([["x.img", 2, "0" * 64]], "the manifest says 1"),
        ([["x.img", 1]], "cannot be read"),
        ([[f"{number}.img", 0, "0" * 64] for number in range(5000)], "5000 images"),
    ],
)
def test_no_manifest_writes_elsewhere(tmp_path: Path, rows: list[Any], why: str) -> None:
    path = tmp_path / KEY
    path.mkdir()
    made = sealed(path, rows, 1)
    partial = tmp_path / "partial"
    with pytest.raises(CheckpointFailed, match=why):
        Incoming(partial, (path / "manifest.json").read_bytes(), made.digest, LIMIT)
    assert not partial.exists()


def test_what_is_damaged_short_or_long_is_refused(
    tmp_path: Path, made: tuple[Path, Checkpoint]
) -> None:
    manifest, pieces = sent(*made)
    data, digest = b"".join(pieces), made[1].digest
    with pytest.raises(CheckpointFailed, match="is not the one of digest"):
        images_of(manifest + b" ", digest, LIMIT)
    with pytest.raises(CheckpointFailed, match="100 are allowed"):
        images_of(manifest, digest, 100)
    for number, (wrong, why) in enumerate(
        ((b"X" + data[1:], "'a.img' is not as it was"), (data + b"x", "more bytes"))
    ):
        incoming = Incoming(tmp_path / str(number), manifest, digest, LIMIT)
        with pytest.raises(CheckpointFailed, match=why):
            incoming.take(wrong)
        incoming.close()
    incoming = Incoming(tmp_path / "short", manifest, digest, LIMIT)
    incoming.take(data[:-1])
    with pytest.raises(CheckpointFailed, match="before all of the checkpoint"):
        incoming.finish(tmp_path / "whole")
    incoming.close()
    assert not (tmp_path / "whole").exists()


def test_nothing_but_plain_files_is_sent(made: tuple[Path, Checkpoint]) -> None:
    path, checkpoint = made
    (path / "a.img").unlink()
    (path / "a.img").symlink_to("/etc/passwd")
    with pytest.raises(OSError, match="symbolic link"):
        sent(path, checkpoint)
    (path / "a.img").unlink()
    os.mkfifo(path / "a.img")
    with pytest.raises(CheckpointFailed, match="is no file"):
        sent(path, checkpoint)
    (path / "a.img").unlink()
    (path / "a.img").write_bytes(b"fir")
    with pytest.raises(CheckpointFailed, match="shorter than it was"):
        sent(path, checkpoint)


def test_where_a_checkpoint_is_found_and_where_it_goes(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    places = Checkpoints(settings(tmp_path, checkpoint_dir=str(shared)))
    places.prepare()
    own = tmp_path / "state/checkpoints"
    assert {path.stat().st_mode & 0o777 for path in (own, *own.iterdir())} == {0o700}
    assert places.request()[1]["root"] == str(shared)
    here = written(own / "in" / KEY, IMAGES)
    assert places.source(here)[1]["root"] == f"{own}/in"
    assert places.find(Checkpoint(KEY, "sha256:0")) == ""
    assert places.find(Checkpoint("../in", here.digest)) == ""
    there = written(shared / "j.1.1", IMAGES)
    assert places.find(there) == str(shared), "the faster way"
    places.discard(there)
    places.discard(here)
    assert below(own) == []
    places.remove("j.1.1")
    places.remove("..")
    assert (below(shared), shared.exists()) == ([], True)


def test_what_does_not_fit_or_is_not_wanted_does_not_come(tmp_path: Path) -> None:
    off = Checkpoints(settings(tmp_path, checkpoint_transfer=False, checkpoint_dir=str(tmp_path)))
    with pytest.raises(CheckpointFailed, match="checkpoint_transfer is off"):
        off.room(Checkpoint(KEY, "sha256:0", 1))
    places = Checkpoints(settings(tmp_path, checkpoint_max_bytes=1 << 60))
    places.prepare()
    with pytest.raises(CheckpointFailed, match="are free in"):
        places.room(Checkpoint(KEY, "sha256:0", 1 << 59))
    with pytest.raises(CheckpointFailed, match="is no attempt"):
        places.room(Checkpoint("../x", "sha256:0", 1))
    small = Checkpoints(settings(tmp_path, checkpoint_max_bytes=10))
    with pytest.raises(CheckpointFailed, match=r"more than this node's worker.checkpoint_max, 10"):
        small.room(Checkpoint(KEY, "sha256:0", 11))
    with pytest.raises(CheckpointFailed, match="takes a worker and a supervisor of one user"):
        places.check(os.geteuid() + 1)


def test_what_an_earlier_life_left_is_removed(tmp_path: Path) -> None:
    places = Checkpoints(settings(tmp_path))
    places.prepare()
    own = tmp_path / "state/checkpoints"
    for name in ("partial/a.0.1", "in/a.0.1", "in/b.0.1", "out/a.0.1", "out/b.0.1"):
        written(own / name, {"a.img": b"x"})
    now = time.time()
    os.utime(own / "in/a.0.1", (now, now - 300))
    os.utime(own / "out/a.0.1", (now, now - KEEP_WRITTEN_S - 1))
    os.utime(own / "out/b.0.1", (now, now - KEEP_WRITTEN_S + 60))
    places.prepare()
    left = sorted(str(path.relative_to(own)) for path in own.glob("*/*"))
    assert left == ["in/b.0.1", "out/b.0.1"]
