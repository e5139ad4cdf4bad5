"""The images of a checkpoint on disk: one directory each, sealed by a manifest with digests.

ROOT/KEY/ holds what CRIU wrote and manifest.json, which is written last, whole and durably: with it
the checkpoint exists, without it the directory is rubbish. ROOT is given by the node's operator and
may be shared between nodes; who can write there can make a node restore anything, so it must belong
to us or to root, and be writable for nobody else.

Hashing takes its time and its module takes memory: seal() and verify() are for tool processes.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat

from .fields import is_key
from .store import sync_directory, write_durably

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .protocol import Json

MANIFEST = "manifest.json"
VERSION = 1
_SUFFIX = ".img"
_MAX_MANIFEST = 1 << 20
_PIECE = 1 << 20


class BadImages(Exception):
    """The images cannot be made, or are not what they should be; the text says why."""


def directory(root: str, key: str) -> str:
    """Where the checkpoint of an attempt is."""
    return f"{root.rstrip('/')}/{key}"


def make(root: str, key: str) -> str:
    """A new directory for an attempt's images; what an earlier try left is removed."""
    check_root(root)
    path = directory(root, key)
    remove(root, key)
    os.mkdir(path, 0o700)
    return path


def check_root(root: str) -> None:
    """BadImages where the directory is missing, or others may write into it."""
    try:
        held = os.stat(root)
    except OSError as problem:
        raise BadImages(f"checkpoint directory {root!r}: {problem.strerror}") from None
    if not stat.S_ISDIR(held.st_mode):
        raise BadImages(f"checkpoint directory {root!r} is no directory")
    if held.st_uid not in (0, os.geteuid()) or held.st_mode & 0o022:
        raise BadImages(f"checkpoint directory {root!r} can be written by others: chmod 0700")


def remove(root: str, key: str) -> None:
    """Remove a checkpoint, whole or half; fine if there is none."""
    path = directory(root, key)
    if not is_key(key) or key in (".", "..") or os.path.islink(path):
        return
    with contextlib.suppress(OSError):
        # The manifest first: half a checkpoint must not look like one.
        for name in sorted(os.listdir(path), key=lambda name: name != MANIFEST):
            os.unlink(f"{path}/{name}")
        os.rmdir(path)


def seal(path: str, about: Json, max_bytes: int) -> tuple[str, int]:
    """Make the images durable and final; (digest of the manifest, bytes in all)."""
    files = []
    total = 0
    for name in sorted(os.listdir(path)):
        if not name.endswith(_SUFFIX):
            continue
        fd = _open(f"{path}/{name}")
        try:
            os.fchmod(fd, 0o600)
            size, digest = _digest(fd)
            os.fsync(fd)
        finally:
            os.close(fd)
        total += size
        files.append([name, size, digest])
    if not files:
        raise BadImages("criu left no images")
    if total > max_bytes:
        raise BadImages(f"the images take {total} bytes, more than the {max_bytes} allowed")
    manifest = {"version": VERSION, **about, "bytes": total, "files": files}
    data = json.dumps(manifest, separators=(",", ":")).encode("ascii")
    write_durably(path, MANIFEST, data)
    sync_directory(os.path.dirname(path))
    return digest_of(data), total


def sealed(path: str) -> tuple[str, int] | None:
    """(digest, bytes) of a checkpoint that was sealed; None where it was not."""
    try:
        data = _manifest(path)
        return digest_of(data), int(json.loads(data)["bytes"])
    except (OSError, BadImages, ValueError, KeyError, TypeError):
        return None


def about(path: str) -> Json | None:
    """What a sealed checkpoint says of itself, unverified; None where there is none."""
    try:
        found = json.loads(_manifest(path))
    except (OSError, BadImages, ValueError):
        return None
    return found if isinstance(found, dict) else None


def verify(path: str, digest: str) -> Json:
    """The manifest, once it and every image are what the digest stands for. BadImages if not."""
    try:
        data = _manifest(path)
    except OSError as problem:
        raise BadImages(f"no checkpoint in {path!r}: {problem.strerror}") from None
    if digest_of(data) != digest:
        raise BadImages(f"the manifest in {path!r} is not the one of digest {digest}")
    manifest = json.loads(data)
    if not isinstance(manifest, dict) or manifest.get("version") != VERSION:
        raise BadImages(f"the checkpoint in {path!r} is of another version")
    named = {MANIFEST}
    for name, size, wanted in manifest["files"]:
        named.add(name)
        try:
            fd = _open(f"{path}/{name}")
        except OSError as problem:
            raise BadImages(f"image {name!r}: {problem.strerror}") from None
        try:
            found = _digest(fd)
        finally:
            os.close(fd)
        if found != (size, wanted):
            raise BadImages(f"image {name!r} is not as it was written: {found[0]} of {size} bytes")
    for name in os.listdir(path):
        if name.endswith(_SUFFIX) and name not in named:
            raise BadImages(f"image {name!r} is in no manifest")
    return manifest


def digest_of(data: bytes) -> str:
    """ "sha256:" and the digest in hexadecimal."""
    import hashlib

    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _manifest(path: str) -> bytes:
    fd = _open(f"{path}/{MANIFEST}")
    try:
        data = os.read(fd, _MAX_MANIFEST + 1)
    finally:
        os.close(fd)
    if len(data) > _MAX_MANIFEST:
        raise BadImages(f"the manifest in {path!r} is longer than {_MAX_MANIFEST} bytes")
    return data


def _open(path: str) -> int:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise BadImages(f"{path!r} is no file")
    return fd


def _digest(fd: int) -> tuple[int, str]:
    import hashlib

    found = hashlib.sha256()
    size = 0
    while piece := os.read(fd, _PIECE):
        found.update(piece)
        size += len(piece)
    return size, found.hexdigest()
