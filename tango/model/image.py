"""Image references to the standard: registry with port, repository, tag and digest.

Grammar and defaults are those of github.com/distribution/reference, which Docker, containerd and
Kubernetes share: `nginx` is `docker.io/library/nginx:latest`. Stricter in one thing: an owner in
capitals (`Team/app`) is refused, where newer versions of theirs take it for a host.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tango.model.errors import InvalidField

DEFAULT_REGISTRY = "docker.io"
DEFAULT_TAG = "latest"
# Docker Hub's own images are named without an owner.
DEFAULT_OWNER = "library"
# Its old name, still found in references.
_OLD_REGISTRY = "index.docker.io"
MAX_REPOSITORY = 255
# Of one task, or replica.
MAX_IMAGES = 32
# The algorithms that the OCI image specification registers (descriptor.md), with their hex digits.
DIGEST_HEX = {"sha256": 64, "sha512": 128}

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_REGISTRY = re.compile(
    rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9A-Fa-f:]+\])(?::(?P<port>[0-9]{{1,5}}))?"
)
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_PART}(?:/{_PART})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_IDENTIFIER = re.compile(r"[0-9a-f]{64}")
_HEX = re.compile(r"[0-9a-f]+")
# What is far too long is not worth a closer look, nor fit to be shown.
_MAX_TEXT = 1024


@dataclass(frozen=True, slots=True)
class ImageReference:
    """A normalised reference; equal where the standard says that two texts name the same image.

    registry: host, with its port where one is given, in lower case. tag: "" only beside a digest.
    digest: "" where none is given; where both are, the digest decides.
    """

    registry: str
    repository: str
    tag: str
    digest: str = ""

    @property
    def pinned(self) -> bool:
        """Whether it names one content for ever."""
        return bool(self.digest)

    @property
    def version(self) -> str:
        """What a registry is asked for: the digest, else the tag."""
        return self.digest or self.tag

    @property
    def name(self) -> str:
        """Registry and repository, without tag and digest."""
        return f"{self.registry}/{self.repository}"

    def at(self, digest: str) -> ImageReference:
        """The same repository, pinned to a content."""
        return ImageReference(self.registry, self.repository, "", check_digest(digest))

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.name}{tag}{digest}"


def parse_image(text: str, field: str = "image") -> ImageReference:
    """The reference of "nginx", "host:5000/team/app:1.2", "app@sha256:...".

    Raises InvalidField, which names the part that is wrong.
    """
    if not text or len(text) > _MAX_TEXT:
        problem = "is empty" if not text else f"is longer than {_MAX_TEXT} characters"
        raise InvalidField(field, problem, 'write "nginx:1.27" or "host:5000/team/app:1.2"')
    if "://" in text:
        problem = f"{text!r} is a URL, not an image reference"
        raise InvalidField(field, problem, "leave out the scheme")
    rest, at, digest = text.partition("@")
    if at:
        check_digest(digest, field)
    # A colon before the last slash belongs to the registry's port.
    path_begins = rest.rfind("/") + 1
    last, colon, tag = rest[path_begins:].partition(":")
    if colon and not _TAG.fullmatch(tag):
        fix = "use 1 to 128 of letters, digits, '_', '.' and '-', not beginning with '.' or '-'"
        raise InvalidField(field, f"{tag!r} in {text!r} is not a tag", fix)
    registry, repository = _split(rest[:path_begins] + last)
    _check_registry(registry, text, field)
    _check_repository(repository, text, field)
    if not tag and not digest:
        tag = DEFAULT_TAG
    return ImageReference(registry.lower(), repository, tag, digest)


def check_images(images: tuple[str, ...], field: str = "images") -> None:
    """Refuse what is no reference, what names an image twice, and more than MAX_IMAGES."""
    if len(images) > MAX_IMAGES:
        raise InvalidField(field, f"has {len(images)}", f"at most {MAX_IMAGES}")
    seen: dict[ImageReference, str] = {}
    for index, text in enumerate(images):
        other = seen.setdefault(parse_image(text, f"{field}[{index}]"), text)
        if other is not text:
            problem = f"{text!r} is the image of {other!r} once more"
            raise InvalidField(f"{field}[{index}]", problem, "keep one")


def in_full(images: tuple[str, ...]) -> tuple[str, ...]:
    """References in the one form in which all ways to write a name are the same.

    Raises InvalidField.
    """
    return tuple(str(parse_image(text)) for text in images)


def check_digest(text: str, field: str = "digest") -> str:
    """The digest itself, or InvalidField: "sha256:" and 64 lower-case hex digits, or sha512."""
    algorithm, _, digits = text.partition(":")
    wanted = DIGEST_HEX.get(algorithm)
    if wanted is None:
        known = " or ".join(DIGEST_HEX)
        problem = f"{text[:80]!r} is not a digest of a known algorithm"
        raise InvalidField(field, problem, f"write {known}, ':' and hex digits")
    if len(digits) != wanted or not _HEX.fullmatch(digits):
        problem = f"{text[:160]!r} is not a digest"
        raise InvalidField(field, problem, f"{algorithm} has {wanted} lower-case hex digits")
    return text


def _split(name: str) -> tuple[str, str]:
    """Registry and repository. The first part is a registry where it could not be an owner."""
    first, slash, rest = name.partition("/")
    looks_like_host = "." in first or ":" in first or first.lower() == "localhost"
    if not slash or not looks_like_host:
        registry, repository = DEFAULT_REGISTRY, name
    else:
        registry, repository = first, rest
    if registry.lower() in {DEFAULT_REGISTRY, _OLD_REGISTRY}:
        registry = DEFAULT_REGISTRY
        if "/" not in repository:
            repository = f"{DEFAULT_OWNER}/{repository}"
    return registry, repository


def _check_registry(registry: str, text: str, field: str) -> None:
    match = _REGISTRY.fullmatch(registry)
    if match is None:
        problem = f"{registry!r} in {text!r} is not a registry"
        raise InvalidField(field, problem, 'write host or host:port ("[::1]:5000" for IPv6)')
    if match["port"] and not 0 < int(match["port"]) <= 65535:
        problem = f"port {match['port']} in {text!r} is out of range"
        raise InvalidField(field, problem, "use 1 to 65535")


def _check_repository(repository: str, text: str, field: str) -> None:
    bare = repository.removeprefix(f"{DEFAULT_OWNER}/")
    if _IDENTIFIER.fullmatch(bare):
        problem = f"{text!r} reads like the identifier of an image, not like its name"
        raise InvalidField(field, problem, "write name@sha256:...")
    if len(repository) > MAX_REPOSITORY:
        problem = f"the repository's name is longer than {MAX_REPOSITORY} characters"
        raise InvalidField(field, problem, "use a shorter one")
    if not _REPOSITORY.fullmatch(repository):
        fix = "use parts of a-z and 0-9, within them '.', '_', '__' or '-', with '/' between them"
        if repository != repository.lower():
            fix = "write it in lower case"
        raise InvalidField(field, f"{bare!r} in {text!r} is not a repository", fix)
