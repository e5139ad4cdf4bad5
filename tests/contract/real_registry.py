"""The registry of Debian's package docker-registry, on loopback, and small images pushed to it."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tango.adapters.authority import Issued
from tango.adapters.registry_manifests import (
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
)
from tango.adapters.registry_transport import RegistryAccess
from tango.model.image import ImageReference
from tango.model.layers import ImageLayers, Layer, Platform

BINARY = shutil.which("docker-registry")
needs_registry = pytest.mark.skipif(
    BINARY is None, reason="not installed: apt-get install docker-registry"
)
PATIENCE_S = 20.0
AMD64 = Platform()
USER, PASSWORD = "ada", "hunter-2"
# Of that password; the registry takes bcrypt only, which Python has not.
HTPASSWD = "ada:$2y$04$FoGOCpOwS3kXR0xM7x6FUuWiyT1PckG9RYvZ9IAJ2ShQJ/frVvJ2q\n"

Json = dict[str, Any]
DOCKER, OCI = (DOCKER_MANIFEST, DOCKER_INDEX), (OCI_MANIFEST, OCI_INDEX)
CONFIGS = {
    DOCKER_MANIFEST: "application/vnd.docker.container.image.v1+json",
    OCI_MANIFEST: "application/vnd.oci.image.config.v1+json",
}
LAYERS = {
    DOCKER_MANIFEST: "application/vnd.docker.image.rootfs.diff.tar.gzip",
    OCI_MANIFEST: "application/vnd.oci.image.layer.v1.tar+gzip",
}


def digest_of(body: bytes) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


def blob(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


@dataclass
class RealRegistry:
    """headers: what lets a push in."""

    host: str
    tls: Issued | None = None
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def access(self) -> RegistryAccess:
        if self.tls is None:
            return RegistryAccess(self.host, plain_http=True)
        return RegistryAccess(self.host, ca_file=self.tls.ca_file)

    def reference(self, repository: str, tag: str = "v1") -> ImageReference:
        return ImageReference(self.host, repository, tag)

    async def push(
        self,
        repository: str,
        layers: Sequence[bytes],
        *,
        tag: str = "v1",
        kind: str = OCI_MANIFEST,
        platform: Platform = AMD64,
    ) -> ImageLayers:
        """An image of one platform; what a client is to make of it."""
        config = json.dumps(
            {"os": platform.os, "architecture": platform.architecture, "rootfs": {"diff_ids": []}}
        ).encode()
        async with self._session() as session:
            for data in (config, *layers):
                await self._push_blob(session, repository, data)
            body = json.dumps(
                {
                    "schemaVersion": 2,
                    "mediaType": kind,
                    "config": _descriptor(CONFIGS[kind], config),
                    "layers": [_descriptor(LAYERS[kind], data) for data in layers],
                }
            ).encode()
            await self._push_manifest(session, repository, tag or digest_of(body), kind, body)
        each = dict.fromkeys(Layer(digest_of(data), len(data)) for data in layers)
        return ImageLayers(digest_of(body), tuple(each), digest_of(body))

    async def push_index(
        self,
        repository: str,
        images: Mapping[Platform, Sequence[bytes]],
        *,
        tag: str = "v1",
        kinds: tuple[str, str] = OCI,
    ) -> dict[Platform, ImageLayers]:
        """An image of several platforms."""
        made, entries = {}, []
        for platform, layers in images.items():
            made[platform] = image = await self.push(
                repository, layers, tag="", kind=kinds[0], platform=platform
            )
            size = await self._size(repository, image.digest)
            about = {"os": platform.os, "architecture": platform.architecture}
            if platform.variant:
                about["variant"] = platform.variant
            entries.append(
                {"mediaType": kinds[0], "digest": image.digest, "size": size, "platform": about}
            )
        index = {"schemaVersion": 2, "mediaType": kinds[1], "manifests": entries}
        body = json.dumps(index).encode()
        async with self._session() as session:
            await self._push_manifest(session, repository, tag, kinds[1], body)
        return {
            platform: ImageLayers(image.digest, image.layers, digest_of(body))
            for platform, image in made.items()
        }

    def _session(self) -> aiohttp.ClientSession:
        context: ssl.SSLContext | bool = True
        if self.tls is not None:
            context = ssl.create_default_context(cafile=self.tls.ca_file)
        scheme = "https" if self.tls is not None else "http"
        return aiohttp.ClientSession(
            f"{scheme}://{self.host}/",
            headers=self.headers,
            connector=aiohttp.TCPConnector(ssl=context),
            raise_for_status=True,
        )

    async def _push_blob(
        self, session: aiohttp.ClientSession, repository: str, data: bytes
    ) -> None:
        async with session.post(f"/v2/{repository}/blobs/uploads/") as response:
            place = response.headers["Location"]
        glue = "&" if "?" in place else "?"
        async with session.put(f"{place}{glue}digest={digest_of(data)}", data=data):
            pass

    async def _push_manifest(
        self, session: aiohttp.ClientSession, repository: str, version: str, kind: str, body: bytes
    ) -> None:
        headers = {"Content-Type": kind}
        path = f"/v2/{repository}/manifests/{version}"
        async with session.put(path, data=body, headers=headers) as response:
            assert response.headers["Docker-Content-Digest"] == digest_of(body)

    async def _size(self, repository: str, digest: str) -> int:
        headers = {"Accept": f"{OCI_MANIFEST}, {DOCKER_MANIFEST}"}
        async with (
            self._session() as session,
            session.get(f"/v2/{repository}/manifests/{digest}", headers=headers) as response,
        ):
            return len(await response.read())


def _descriptor(kind: str, data: bytes) -> Json:
    return {"mediaType": kind, "digest": digest_of(data), "size": len(data)}


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def real_registry(
    directory: Path,
    *,
    port: int = 0,
    tls: Issued | None = None,
    htpasswd: bool = False,
    token: Json | None = None,
) -> Iterator[RealRegistry]:
    """A registry whose storage is in `directory`, until the end of the block.

    token: the registry's own settings for its token service.
    """
    assert BINARY is not None
    host = f"127.0.0.1:{port or free_port()}"
    http: Json = {"addr": host, "secret": "of a test"}
    if tls is not None:
        http["tls"] = {"certificate": str(tls.cert_file), "key": str(tls.key_file)}
    config: Json = {
        "version": "0.1",
        "log": {"level": "warn", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(directory / "storage")}},
        "http": http,
    }
    if htpasswd:
        (directory / "htpasswd").write_text(HTPASSWD)
        config["auth"] = {"htpasswd": {"realm": "test", "path": str(directory / "htpasswd")}}
    if token is not None:
        config["auth"] = {"token": token}
    (directory / "config.yml").write_text(json.dumps(config))  # JSON is YAML
    with (directory / "log").open("ab") as log:
        process = subprocess.Popen(
            [BINARY, "serve", str(directory / "config.yml")],
            stdout=log, stderr=log, env={"PATH": "/usr/bin:/bin"}, cwd=directory,
        )  # fmt: skip
    try:
        _wait_for(host, process, directory / "log")
        yield RealRegistry(host, tls)
    finally:
        process.kill()
        process.wait(PATIENCE_S)


def _wait_for(host: str, process: subprocess.Popen[bytes], log: Path) -> None:
    name, _, port = host.partition(":")
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            with socket.create_connection((name, int(port)), timeout=1):
                return
        except OSError:
            if process.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"no registry: {log.read_text()}") from None
            time.sleep(0.02)
