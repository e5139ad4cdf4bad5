"""Image references: what the standard makes of a text, and what is none."""

from __future__ import annotations

import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tango.model.errors import InvalidField
from tango.model.image import ImageReference, check_digest, parse_image

SHA256 = "sha256:" + "0123456789abcdef" * 4
SHA512 = "sha512:" + "0123456789abcdef" * 8


@pytest.mark.parametrize(
    ("text", "registry", "repository", "tag", "digest"),
    [
        ("nginx", "docker.io", "library/nginx", "latest", ""),
        ("nginx:1.27-alpine", "docker.io", "library/nginx", "1.27-alpine", ""),
        ("team/app", "docker.io", "team/app", "latest", ""),
        ("docker.io/nginx", "docker.io", "library/nginx", "latest", ""),
        ("index.docker.io/nginx:1", "docker.io", "library/nginx", "1", ""),
        ("docker.io/library/nginx", "docker.io", "library/nginx", "latest", ""),
        ("host:5000/name:tag", "host:5000", "name", "tag", ""),
        ("host:5000/name", "host:5000", "name", "latest", ""),
        ("name:5000", "docker.io", "library/name", "5000", ""),
        ("localhost/app", "localhost", "app", "latest", ""),
        ("LOCALHOST/app", "localhost", "app", "latest", ""),
        ("127.0.0.1:5000/a/b/c:x", "127.0.0.1:5000", "a/b/c", "x", ""),
        ("[::1]:5000/app:x", "[::1]:5000", "app", "x", ""),
        ("ghcr.io/o/a_b__c-d--e.f", "ghcr.io", "o/a_b__c-d--e.f", "latest", ""),
        ("GHCR.io/o/app", "ghcr.io", "o/app", "latest", ""),
        ("nginx@" + SHA256, "docker.io", "library/nginx", "", SHA256),
        ("nginx:1@" + SHA256, "docker.io", "library/nginx", "1", SHA256),
        ("host:5000/n@" + SHA512, "host:5000", "n", "", SHA512),
        ("a:" + "T" * 128, "docker.io", "library/a", "T" * 128, ""),
    ],
)
def test_references(text: str, registry: str, repository: str, tag: str, digest: str) -> None:
    reference = parse_image(text)
    assert reference == ImageReference(registry, repository, tag, digest)
    assert reference.version == (digest or tag)
    assert parse_image(str(reference)) == reference


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("https://ghcr.io/o/a", "is a URL"),
        ("Nginx", "lower case"),
        ("team/App", "lower case"),
        ("Team/app", "lower case"),
        ("a//b", "is not a repository"),
        ("/a", "is not a repository"),
        ("a/", "is not a repository"),
        ("a..b", "is not a repository"),
        ("a___b", "is not a repository"),
        ("-a", "is not a repository"),
        ("a b", "is not a repository"),
        ("ä", "is not a repository"),
        ("a\n", "is not a repository"),
        ("host:5000/", "is not a repository"),
        ("a" * 256, "longer than 255"),
        ("a" * 1025, "longer than 1024"),
        ("a:", "is not a tag"),
        ("a:.x", "is not a tag"),
        ("a:" + "t" * 129, "is not a tag"),
        ("a:b:c", "is not a tag"),
        ("host:port/a", "is not a registry"),
        ("-h.io/a", "is not a registry"),
        ("h..io/a", "is not a registry"),
        ("::1:5000/a", "is not a registry"),
        ("host:0/a", "out of range"),
        ("host:65536/a", "out of range"),
        ("a@", "known algorithm"),
        ("a@md5:" + "0" * 32, "known algorithm"),
        ("a@sha256:" + "0" * 63, "64 lower-case hex"),
        ("a@sha256:" + "A" * 64, "64 lower-case hex"),
        ("a@" + SHA256 + "\n", "64 lower-case hex"),
        ("a@" + SHA256 + "@" + SHA256, "64 lower-case hex"),
        ("0123456789abcdef" * 4, "identifier"),
    ],
)
def test_no_references(text: str, says: str) -> None:
    with pytest.raises(InvalidField, match=says) as raised:
        parse_image(text, "container.image")
    assert raised.value.field == "container.image"
    assert raised.value.fix or "longer" in raised.value.problem


def test_a_digest_pins_and_replaces_the_tag() -> None:
    reference = parse_image("host:5000/app:1")
    assert not reference.pinned
    assert reference.name == "host:5000/app"
    pinned = reference.at(SHA256)
    assert pinned.pinned
    assert str(pinned) == f"host:5000/app@{SHA256}"
    with pytest.raises(InvalidField, match="digest"):
        reference.at("latest")
    assert check_digest(SHA512) == SHA512


@example("A/b")
@given(st.text(alphabet=string.ascii_letters + string.digits + "/:@._-[]\n é", max_size=80))
def test_any_text_is_a_reference_or_an_error_of_ours(text: str) -> None:
    try:
        reference = parse_image(text)
    except InvalidField:
        return
    assert parse_image(str(reference)) == reference
