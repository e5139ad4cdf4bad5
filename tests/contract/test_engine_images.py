"""A node's images from its container engine: one that behaves, hostile ones, and a real Podman."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from engine_server import EngineServer, image
from hostile_registry import Answer, Write, answer, flood, silence, trickle

from tango.adapters.engine_images import MAX_BYTES, EngineImages
from tango.daemons.worker.images import report_images
from tango.model.errors import TangoError
from tango.model.events import ImagesListed
from tango.model.layers import MAX_HELD_IMAGES, HeldImage
from tango.model.settings import EngineSettings

DIGEST = "sha256:" + "a" * 64
PODMAN = shutil.which("podman")


@pytest.fixture(name="engine")
async def _engine(tmp_path: Path) -> AsyncIterator[EngineServer]:
    async with EngineServer(tmp_path / "e.sock") as running:
        yield running


@pytest.fixture(name="short")
def _short() -> Iterator[Path]:
    """A directory whose path is short enough for Podman's run root."""
    with tempfile.TemporaryDirectory(prefix="tp-") as path:
        yield Path(path)


async def images(engine: EngineServer, timeout_s: float = 5.0) -> tuple[HeldImage, ...]:
    found, _ = await EngineImages(str(engine.socket), timeout_s=timeout_s).images()
    return found


async def test_names_are_in_full_by_tag_and_by_digest(engine: EngineServer) -> None:
    engine.has(
        image("nginx:1.27", "host:5000/nginx:latest", digests=(f"nginx@{DIGEST}",), size=7),
        image("<none>:<none>", digests=("<none>@<none>",)),
        image(digests=(f"app@{DIGEST}",)),
        {"Id": "sha256:1", "RepoTags": None, "RepoDigests": None, "Size": 0},
    )
    assert await images(engine) == (
        HeldImage((f"docker.io/library/app@{DIGEST}",), size_bytes=1000),
        HeldImage(
            ("docker.io/library/nginx:1.27", f"docker.io/library/nginx@{DIGEST}",
             "host:5000/nginx:latest"), size_bytes=7,
        ),
    )  # fmt: skip
    assert engine.asked == ["GET /images/json HTTP/1.1"], "and nothing else, ever"


async def test_an_answer_in_chunks(engine: EngineServer) -> None:
    body = json.dumps([image("nginx")]).encode()
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:9], body[9:]))
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    engine.answer = head + chunks + b"0\r\n\r\n"
    assert [one.names for one in await images(engine)] == [("docker.io/library/nginx:latest",)]


async def test_of_too_many_the_largest_count(engine: EngineServer) -> None:
    rows = [image(f"app-{at}", size=at) for at in range(MAX_HELD_IMAGES + 3)]
    engine.has(*rows)
    found, left_out = await EngineImages(str(engine.socket)).images()
    assert (len(found), left_out) == (MAX_HELD_IMAGES, 3)
    assert min(one.size_bytes for one in found) == 3


async def endless_head(write: Write) -> None:
    await write(b"HTTP/1.1 200 X\r\n")
    while True:
        await write(b"X: " + b"y" * 4000 + b"\r\n")


async def half(write: Write) -> None:
    await write(b"HTTP/1.1 200 X\r\nContent-Length: 100\r\n\r\n[")


async def interim(write: Write) -> None:
    while True:
        await write(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)


@pytest.mark.parametrize(
    ("sent", "problem"),
    [
        (silence, "no answer within 0.3 s"),
        (trickle, "no answer within 0.3 s"),
        (flood, f"above {MAX_BYTES} bytes"),
        (endless_head, "its head is above|no HTTP/1.1"),
        (interim, "answered 100"),
        (half, "closed before the whole answer"),
        (b"HTTP/1.0 200 X\r\n\r\n[]", "closed before the whole answer"),
        (b"", "closed before the whole answer"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "no HTTP/1.1"),
        (answer(500, {"message": "no"}), "answered 500"),
        (answer(301, b"", Location="http://elsewhere/"), "answered 301"),
        (b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n", "no HTTP|answered 101"),
        (answer(200, b"<html>"), "no JSON"),
        (answer(200, b"[" * 100_000), "no JSON"),
        (answer(200, {"images": []}), "no list of images"),
        (answer(200, [1]), "no list of images"),
        (answer(200, [{"RepoTags": ["a"], "Size": "big"}]), "without a size"),
        (answer(200, [{"RepoTags": ["a"], "Size": -1}]), "without a size"),
        (answer(200, [{"RepoTags": "nginx", "Size": 1}]), "no texts"),
        (answer(200, [{"RepoTags": [None], "Size": 1}]), "no texts"),
    ],
    ids=lambda one: getattr(one, "__name__", None) or (one[:30] if isinstance(one, bytes) else ""),
)
async def test_what_cannot_be_used_is_refused_in_time(
    engine: EngineServer, sent: Answer, problem: str
) -> None:
    engine.answer = sent
    begun = time.monotonic()
    with pytest.raises(TangoError, match=problem) as error:
        await images(engine, timeout_s=0.3 if sent in (silence, trickle) else 5.0)
    assert str(error.value).startswith(str(engine.socket))
    assert time.monotonic() - begun < 3


async def test_a_socket_that_is_not_there_or_nobody_answers(tmp_path: Path) -> None:
    for path, problem in ((tmp_path / "none", "No such file"), (tmp_path, "refused|not a socket|")):
        with pytest.raises(TangoError, match=problem):
            await EngineImages(str(path)).images()


async def test_an_engine_that_is_away_is_said_once_and_its_last_word_stands(
    engine: EngineServer, caplog: pytest.LogCaptureFixture
) -> None:
    engine.has(image("nginx"))
    told: list[ImagesListed] = []
    settings = EngineSettings(str(engine.socket), 0.01, 5e5)
    caplog.set_level("INFO")
    source = EngineImages(str(engine.socket), timeout_s=1.0)
    task = asyncio.create_task(report_images(source, "n1", settings, told.append))

    async def until(problem: bool) -> ImagesListed:
        async with asyncio.timeout(5):
            while not told or bool(told[-1].images.problem) is not problem:
                await asyncio.sleep(0.005)
        return told[-1]

    try:
        first = await until(problem=False)
        assert (first.images.node, first.images.bandwidth_bytes_per_s) == ("n1", 5e5)
        engine.answer = answer(503)
        away = await until(problem=True)
        assert away.images.images == first.images.images
        assert "answered 503" in away.images.problem
        await asyncio.sleep(0.1)
        assert told == [first, away], "and nothing else, for nothing else is new"
        engine.has()
        assert (await until(problem=False)).images.images == ()
    finally:
        task.cancel()
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


@pytest.mark.skipif(PODMAN is None, reason="not installed: apt-get install podman")
async def test_a_real_podman(short: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("as root only: without, Podman takes subordinate user ids")
    socket, layer = short / "p.sock", short / "one.tar"
    (short / "data").write_bytes(os.urandom(5000))
    with tarfile.open(layer, "w") as tar:
        tar.add(short / "data", "data")
    assert PODMAN is not None
    podman = [PODMAN, "--root", str(short / "root"), "--runroot", str(short / "run"),
              "--tmpdir", str(short / "tmp"), "--storage-driver", "vfs"]  # fmt: skip
    made = subprocess.run(
        [*podman, "import", str(layer), "localhost/team/app:1"], capture_output=True, timeout=60
    )
    if made.returncode:
        pytest.skip(f"Podman makes no image here: {made.stderr.decode()[-200:]}")
    with subprocess.Popen(
        [*podman, "system", "service", "--time=0", f"unix://{socket}"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as service:  # fmt: skip
        try:
            end = time.monotonic() + 20
            while not socket.exists():
                assert service.poll() is None
                assert time.monotonic() < end
                await asyncio.sleep(0.05)
            ((found,), left_out) = await EngineImages(str(socket)).images()
        finally:
            service.terminate()
            service.wait(20)
    assert left_out == 0
    assert found.names[0] == "localhost/team/app:1"
    assert found.names[1].startswith("localhost/team/app@sha256:")
    assert found.size_bytes > 5000
