"""One image on a hostile registry, and clients with little patience that ask for it."""

from __future__ import annotations

import json
import random
from typing import Any

from hostile_registry import HostileRegistry, answer
from real_registry import digest_of

from tango.adapters.registry import RegistryClient
from tango.adapters.registry_manifests import (
    OCI_MANIFEST,
)
from tango.adapters.registry_transport import RegistryAccess, Retry
from tango.model.image import ImageReference
from tango.model.layers import ImageLayers, Layer

Json = dict[str, Any]
LAYER = Layer("sha256:" + "1" * 64, 1000)
ENTRY = {"mediaType": "x", "digest": LAYER.digest, "size": LAYER.size_bytes}
GOOD: Json = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": ENTRY, "layers": [ENTRY]}
BODY = json.dumps(GOOD).encode()
OK = answer(200, BODY, Content_Type=OCI_MANIFEST)
IMAGE = ImageLayers(digest_of(BODY), (LAYER,), digest_of(BODY))
TAG, TAGS = "/v2/app/manifests/v1", "/v2/app/tags/list"
FAST = Retry(attempts=3, first_s=0.01, max_s=0.02, attempt_s=3.0)


def client(
    there: HostileRegistry, timeout_s: float = 9.0, retry: Retry = FAST, **access: Any
) -> RegistryClient:
    one = RegistryAccess(there.host, plain_http=True, **access)
    return RegistryClient([one], timeout_s=timeout_s, retry=retry, generator=random.Random(1))


def reference(there: HostileRegistry, tag: str = "v1") -> ImageReference:
    return ImageReference(there.host, "app", tag)


async def resolve(there: HostileRegistry, **options: Any) -> ImageLayers:
    async with client(there, **options) as asks:
        return await asks.resolve(reference(there))
