"""Challenges of registries as written in the wild (RFC 9110, 11.6.1), and tokens' lives."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tango.adapters.registry_auth import (
    Challenge,
    Credentials,
    parse_challenges,
    parse_token,
    token_url,
)
from tango.model.errors import Refused

HUB = (
    'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",'
    'scope="repository:library/nginx:pull"'
)


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ([], []),
        ([""], []),
        (["Basic"], [("basic", {})]),
        (['Basic realm="a, b"'], [("basic", {"realm": "a, b"})]),
        (['BASIC Realm = "a \\"b\\""'], [("basic", {"realm": 'a "b"'})]),
        (
            [HUB],
            [
                (
                    "bearer",
                    {
                        "realm": "https://auth.docker.io/token",
                        "service": "registry.docker.io",
                        "scope": "repository:library/nginx:pull",
                    },
                )
            ],
        ),
        (
            ['Basic realm=x, Bearer realm="y", error="invalid_token"'],
            [("basic", {"realm": "x"}), ("bearer", {"realm": "y", "error": "invalid_token"})],
        ),
        (["Negotiate", "Basic realm=x"], [("negotiate", {}), ("basic", {"realm": "x"})]),
        (
            ["Negotiate abc+/==, Basic realm=x"],
            [("negotiate", {}), ("basic", {"realm": "x"})],
        ),
        (['Basic realm="never ends'], [("basic", {})]),
        (["=,=,=", "Basic realm=x"], [("basic", {"realm": "x"})]),
    ],
)
def test_challenges(fields: list[str], found: list[tuple[str, dict[str, str]]]) -> None:
    assert [(c.scheme, c.parameters) for c in parse_challenges(fields)] == found


@given(st.lists(st.text(alphabet='Basic ="\\,x;\t', max_size=40)))
def test_any_field_has_an_end(fields: list[str]) -> None:
    parse_challenges(fields)


def test_where_to_ask_for_a_token() -> None:
    [hub] = parse_challenges([HUB])
    url = token_url(hub, "ours", "", plain_http=False)
    assert url == (
        "https://auth.docker.io/token?service=registry.docker.io"
        "&scope=repository%3Alibrary%2Fnginx%3Apull"
    )
    two = Challenge("bearer", {"realm": "https://x/t", "scope": "a:b:c d:e:f"})
    assert token_url(two, "", "me", plain_http=False) == (
        "https://x/t?scope=a%3Ab%3Ac&scope=d%3Ae%3Af&account=me"
    )
    plain = Challenge("bearer", {"realm": "http://x/t"})
    assert token_url(plain, "ours", "", plain_http=True) == "http://x/t?scope=ours"
    with pytest.raises(Refused, match="not an https URL"):
        token_url(plain, "ours", "", plain_http=False)


@pytest.mark.parametrize(
    ("says", "expires_at"),
    [(300, 390.0), (16, 108.0), (None, 150.0), (-1, 150.0), ("9", 150.0), (1e12, 86_490.0)],
)
def test_lives_of_tokens(says: object, expires_at: float) -> None:
    fields = {"token": "t"} if says is None else {"token": "t", "expires_in": says}
    token = parse_token(json.dumps(fields).encode(), now=100.0)
    assert token.expires_at == expires_at
    assert token.bearer == "Bearer t"
    assert "'t'" not in repr(token)


def test_basic_credentials_are_not_shown() -> None:
    credentials = Credentials("Aladdin", "open sesame")
    assert credentials.basic == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="  # of RFC 7617
    assert "sesame" not in repr(credentials)
