"""Image manifests and indexes as registries send them: Docker schema 2 and OCI, checked."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass

from tango.adapters.registry_errors import BadManifest, DigestMismatch
from tango.model.errors import InvalidField
from tango.model.image import check_digest
from tango.model.layers import Layer, Platform

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
MANIFESTS, INDEXES = (OCI_MANIFEST, DOCKER_MANIFEST), (OCI_INDEX, DOCKER_INDEX)
ACCEPT = ", ".join((*INDEXES, *MANIFESTS))
_SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1"
# Distribution refuses larger ones too (OCI distribution specification, "Pushing manifests").
MAX_MANIFEST_BYTES = 4 * 2**20
MAX_LAYER_BYTES = 2**50


@dataclass(frozen=True, slots=True)
class Manifest:
    """One platform's image."""

    layers: tuple[Layer, ...]


@dataclass(frozen=True, slots=True)
class Descriptor:
    """An entry of an index. size_bytes: of the manifest that it points to."""

    digest: str
    size_bytes: int
    platform: Platform | None


@dataclass(frozen=True, slots=True)
class Index:
    """Manifests by platform."""

    entries: tuple[Descriptor, ...]

    def choose(self, wanted: Platform) -> Descriptor | None:
        """The first entry of the very platform, else of one without a variant, else of any variant.

        Entries without a platform are taken where there is nothing better (an index of indexes).
        """
        same = [e for e in self.entries if e.platform is not None and _fits(e.platform, wanted)]
        exact = [e for e in same if e.platform is not None and e.platform.variant == wanted.variant]
        plain = [e for e in same if e.platform is not None and not e.platform.variant]
        nameless = [e for e in self.entries if e.platform is None]
        if wanted.variant:
            same = []  # arm/v7 does not run what was built for arm/v8
        return next(iter((*exact, *plain, *same, *nameless)), None)


def verify(body: bytes, digest: str, what: str) -> None:
    """Raise DigestMismatch unless the content has this digest."""
    algorithm, _, expected = digest.partition(":")
    found = hashlib.new(algorithm, body).hexdigest()
    if not hmac.compare_digest(found, expected):
        raise DigestMismatch(
            f"{what}: the registry lies about a digest: it sent {algorithm}:{found} "
            f"({len(body)} bytes) for {digest}"
        )


def sha256(body: bytes) -> str:
    """The digest that content is stored by."""
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


def parse_manifest(body: bytes, content_type: str, what: str) -> Manifest | Index:
    """What a body of this media type says. Raises BadManifest, which says what is wrong."""
    content_type = content_type.partition(";")[0].strip().lower()
    if content_type.startswith(_SCHEMA_1):
        raise BadManifest(
            f"{what}: only as Docker schema 1, which is retired and states no sizes; push it again"
        )
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadManifest(f"{what}: the manifest is not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise BadManifest(f"{what}: the manifest is no JSON object")
    stated = fields.get("mediaType", "")
    kinds = (*MANIFESTS, *INDEXES)
    if stated and content_type in kinds and stated != content_type:
        # One body read as two things is an old trick (CVE-2021-41190).
        raise BadManifest(f"{what}: sent as {content_type}, but calls itself {stated!r}")
    kind = content_type if content_type in kinds else stated
    if kind not in kinds:
        raise BadManifest(
            f"{what}: {str(kind or content_type)[:80]!r} is neither a manifest nor an index"
        )
    if fields.get("schemaVersion") != 2:
        raise BadManifest(f"{what}: schemaVersion is {fields.get('schemaVersion')!r}, not 2")
    if kind in INDEXES:
        return _index(fields, what)
    return _manifest(fields, what)


def _manifest(fields: Mapping[str, object], what: str) -> Manifest:
    if "manifests" in fields:
        raise BadManifest(f"{what}: has both layers and manifests")
    found: dict[str, Layer] = {}
    for number, entry in enumerate(_list(fields, "layers", what)):
        digest, size = _descriptor(entry, f"{what}: layers[{number}]")
        layer = found.setdefault(digest, Layer(digest, size))
        if layer.size_bytes != size:
            raise BadManifest(
                f"{what}: layers[{number}]: {digest} has {size} bytes here, "
                f"{layer.size_bytes} before"
            )
    return Manifest(tuple(found.values()))


def _index(fields: Mapping[str, object], what: str) -> Index:
    if "layers" in fields:
        raise BadManifest(f"{what}: has both layers and manifests")
    entries = []
    for number, entry in enumerate(_list(fields, "manifests", what)):
        where = f"{what}: manifests[{number}]"
        digest, size = _descriptor(entry, where)
        assert isinstance(entry, dict)
        platform = entry.get("platform")
        if platform is not None and not isinstance(platform, dict):
            raise BadManifest(f"{where}: platform is no object")
        built_for = None if platform is None else _platform(platform, where)
        entries.append(Descriptor(digest, size, built_for))
    return Index(tuple(entries))


def _list(fields: Mapping[str, object], key: str, what: str) -> list[object]:
    value = fields.get(key)
    if not isinstance(value, list):
        raise BadManifest(f"{what}: {key} is no list")
    return value


def _descriptor(entry: object, where: str) -> tuple[str, int]:
    if not isinstance(entry, dict):
        raise BadManifest(f"{where}: is no object")
    digest, size = entry.get("digest"), entry.get("size")
    if not isinstance(digest, str):
        raise BadManifest(f"{where}: has no digest")
    try:
        check_digest(digest)
    except InvalidField as error:
        raise BadManifest(f"{where}: {error.problem}") from None
    if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= MAX_LAYER_BYTES:
        raise BadManifest(f"{where}: {str(size)[:40]!r} is no size in bytes")
    return digest, size


def _platform(fields: Mapping[str, object], where: str) -> Platform:
    values = [fields.get(key, "") for key in ("os", "architecture", "variant")]
    texts = [value for value in values if isinstance(value, str)]
    if len(texts) != len(values):
        raise BadManifest(f"{where}: platform holds something that is no text")
    return Platform(*texts)


def _fits(built_for: Platform, wanted: Platform) -> bool:
    return (built_for.os, built_for.architecture) == (wanted.os, wanted.architecture)
