"""The central master asks registries: one that is away or lies holds up nobody, and is told of."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from real_registry import PASSWORD, USER, basic, blob, needs_registry, real_registry

from tango.adapters.registry_errors import DigestMismatch
from tango.daemons.central.images import LayerKeeper, registries
from tango.model.errors import InvalidField, NotFound, TangoError, Unavailable
from tango.model.events import ImagesLearned
from tango.model.image import ImageReference
from tango.model.layers import HeldImage, ImageLayers, Layer, NodeImages
from tango.model.settings import RegistryHost, RegistrySettings

DIGEST = "sha256:" + "1" * 64
IMAGE = ImageLayers(DIGEST, (Layer("sha256:" + "a" * 64, 5),), DIGEST)
APP = "good:1/app:v1"


class FakeRegistry:
    """images: by reference; an error is raised, a time is waited before the answer."""

    def __init__(self, images: Mapping[str, ImageLayers | TangoError], wait_s: float = 0.0) -> None:
        self.images = dict(images)
        self.wait_s = wait_s
        self.asked: list[str] = []

    async def resolve(self, reference: ImageReference) -> ImageLayers:
        self.asked.append(str(reference))
        await asyncio.sleep(self.wait_s)
        found = self.images.get(str(reference), NotFound(f"{reference}: does not have it"))
        if isinstance(found, TangoError):
            raise found
        return found

    async def digest(self, reference: ImageReference) -> str | None:
        return (await self.resolve(reference)).tag_digest


class Learned(dict[str, ImageLayers | None]):
    """What the controller was told, all of it."""

    def post(self, event: ImagesLearned) -> None:
        self.update(event.images)

    async def until(self, name: str, image: ImageLayers | None) -> None:
        async with asyncio.timeout(10):
            while name not in self or self[name] != image:
                await asyncio.sleep(0.005)


@asynccontextmanager
async def keeping(
    clients: Mapping[str, FakeRegistry],
    *jobs: str,
    held: tuple[NodeImages, ...] = (),
    wait_s: float = 1.0,
    refresh_s: float = 300.0,
) -> AsyncIterator[tuple[LayerKeeper, Learned]]:
    keeper = LayerKeeper(RegistrySettings(wait_s=wait_s, refresh_s=refresh_s), clients)
    learned = Learned()
    async with (
        asyncio.TaskGroup() as group,
        keeper.asking(group, lambda: jobs, lambda: held, learned.post),
    ):
        yield keeper, learned


async def test_images_of_stored_jobs_and_of_nodes_are_looked_up_by_themselves() -> None:
    pinned = f"good:1/other@{DIGEST}"
    registry = FakeRegistry({APP: IMAGE, pinned: IMAGE})
    node = NodeImages("n1", (HeldImage(("good:1/other:v1", pinned)),))
    async with keeping({"good:1": registry}, APP, "elsewhere/app", held=(node,)) as (_, learned):
        await learned.until(APP, IMAGE)
        await learned.until(pinned, IMAGE)
    assert sorted(registry.asked) == sorted([APP, pinned]), "what a node has counts by its digest"


async def test_a_job_waits_for_the_first_answer_and_only_then() -> None:
    registry = FakeRegistry({APP: IMAGE}, wait_s=0.1)
    async with keeping({"good:1": registry}) as (keeper, learned):
        await asyncio.gather(*(keeper.look_first((APP, "nowhere.example/x")) for _ in range(9)))
        assert learned == {APP: IMAGE}
        begun = time.monotonic()
        await keeper.look_first((APP,))
        assert time.monotonic() - begun < 0.05
    assert registry.asked == [APP], "one question, however many wait for it"


async def test_a_slow_registry_costs_a_job_no_more_than_the_wait_and_others_nothing() -> None:
    slow, good = FakeRegistry({"slow:1/app:v1": IMAGE}, wait_s=60), FakeRegistry({APP: IMAGE})
    clients = {"slow:1": slow, "good:1": good}
    async with keeping(clients, "slow:1/app:v1", wait_s=0.2) as (keeper, learned):
        begun = time.monotonic()
        await keeper.look_first(("slow:1/app:v1", APP))
        assert 0.15 < time.monotonic() - begun < 2
        assert learned == {APP: IMAGE}
        await keeper.look_first((APP,))


async def test_a_push_is_seen_and_what_is_gone_is_unknown() -> None:
    moved = ImageLayers("sha256:" + "2" * 64, IMAGE.layers, "sha256:" + "2" * 64)
    registry = FakeRegistry({APP: IMAGE})
    async with keeping({"good:1": registry}, APP, refresh_s=0.05) as (_, learned):
        await learned.until(APP, IMAGE)
        registry.images[APP] = moved
        await learned.until(APP, moved)
        del registry.images[APP]
        await learned.until(APP, None)


async def test_a_push_of_what_only_a_first_look_knows_is_seen() -> None:
    """The registry's own task had nothing to wait for when the job came."""
    moved = ImageLayers("sha256:" + "2" * 64, IMAGE.layers, "sha256:" + "2" * 64)
    registry = FakeRegistry({APP: IMAGE})
    async with keeping({"good:1": registry}, refresh_s=0.05) as (keeper, learned):
        await asyncio.sleep(0.5)
        await keeper.look_first((APP,))
        assert learned == {APP: IMAGE}
        registry.images[APP] = moved
        await learned.until(APP, moved)


async def test_what_nobody_asks_about_is_shown_with_the_reason() -> None:
    nodes = (
        NodeImages("n1", (HeldImage(("good:1/held:v1", f"far:1/b@{DIGEST}", "far:1/b:v1", "?")),)),
    )
    here, away = FakeRegistry({}), "docker.io/library/busybox:latest"
    jobs = (APP, "busybox", f"far:1/a@{DIGEST}")
    problem = "not asked: its registry is not in [registry]"
    async with keeping({"good:1": here}, *jobs, held=nodes) as (keeper, _):
        shown = {view.image: view.problem for view in keeper.views() if view.problem == problem}
        assert sorted(shown) == [away, f"far:1/a@{DIGEST}", "far:1/b:v1"]
    async with keeping({"good:1": here, "": here}, *jobs, held=nodes) as (keeper, _):
        assert problem not in {view.problem for view in keeper.views()}


async def test_what_fails_is_logged_once_and_shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    lie = DigestMismatch("the registry lies about a digest")
    registry = FakeRegistry({APP: Unavailable("connection refused"), "good:1/lie:v1": lie})
    async with keeping({"good:1": registry}, APP, "good:1/lie:v1", wait_s=0.1) as (keeper, learned):
        async with asyncio.timeout(5):
            while len(registry.asked) < 2:
                await asyncio.sleep(0.005)
        await keeper.look_first((APP,))  # tried: nothing to wait for
        await asyncio.sleep(0.05)
        shown = {view.image: (view.content, view.problem) for view in keeper.views()}
        assert not learned
    assert shown == {
        APP: (None, "connection refused"),
        "good:1/lie:v1": (None, "the registry lies about a digest"),
    }
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1


async def test_files_that_cannot_be_used_are_named_and_never_quoted(tmp_path: Path) -> None:
    secret = tmp_path / "login"
    for content, mode, problem in (
        (b"no-colon", 0o600, "not one line USER:PASSWORD"),
        (b"a:b\nc", 0o600, "not one line"),
        (b"\xff:x", 0o600, "not one line"),
        (b"ada:hunter-2", 0o644, "read or written by others"),
    ):
        secret.write_bytes(content)
        secret.chmod(mode)
        settings = RegistrySettings((RegistryHost("good:1", credentials_file=str(secret)),))
        with pytest.raises(InvalidField, match=problem) as error:
            async with registries(settings):
                pass
        assert error.value.field == "registry.hosts[0].credentials_file"
        assert "hunter" not in str(error.value)
    (tmp_path / "ca").write_text("no certificate")
    settings = RegistrySettings((RegistryHost("good:1", ca_file=str(tmp_path / "ca")),))
    with pytest.raises(InvalidField, match=r"registry.hosts\[0\].ca_file"):
        async with registries(settings):
            pass


async def test_without_a_registry_there_is_no_keeper() -> None:
    async with registries(RegistrySettings()) as keeper:
        assert keeper is None


@needs_registry
async def test_a_real_registry_with_credentials(tmp_path: Path) -> None:
    login = tmp_path / "login"
    login.write_text(f"{USER}:{PASSWORD}\n")
    login.chmod(0o600)
    with real_registry(tmp_path, htpasswd=True) as real:
        real.headers["Authorization"] = basic(USER, PASSWORD)
        image = await real.push("team/app", [blob(1, 3000)])
        host = RegistryHost(real.host, credentials_file=str(login), plain_http=True)
        async with (
            registries(RegistrySettings((host,))) as keeper,
            asyncio.TaskGroup() as group,
        ):
            assert keeper is not None
            learned = Learned()
            async with keeper.asking(group, tuple, tuple, learned.post):
                name = f"{real.host}/team/app:v1"
                await keeper.look_first((name,))
                await learned.until(name, image)
                (view,) = keeper.views()
                assert (view.image, view.content, view.problem) == (name, image, "")


async def test_without_aiohttp_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    for module in (
        "daemons.central.registries",
        "adapters.registry",
        "adapters.registry_transport",
    ):
        monkeypatch.delitem(sys.modules, f"tango.{module}", raising=False)
    settings = RegistrySettings((RegistryHost("good:1"),))
    with pytest.raises(TangoError, match="install the extra `registry`"):
        async with registries(settings):
            pass
