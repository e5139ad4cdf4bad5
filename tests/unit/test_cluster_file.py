"""cluster.json: written and read back, by hand with TLS, and what is wrong with it said."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from tango.model.errors import InvalidField, Unavailable
from tango.model.settings import TlsSettings
from tango.sdk.client import Client
from tango.sdk.cluster_file import ClusterFile, read_cluster_file, write_cluster_file

EDGES = (("site-a", "10.0.0.1:7410"),)


@pytest.mark.parametrize(
    "cluster",
    [
        ClusterFile("127.0.0.1:1", EDGES, "/x/token"),
        ClusterFile("127.0.0.1:1", EDGES, "/x/token", rest="http://127.0.0.1:2"),
        ClusterFile("10.0.0.1:1", EDGES, tls=TlsSettings("/x/ca.pem", "/x/c.pem", "/x/k.pem")),
    ],
)
def test_as_it_was_written(tmp_path: Path, cluster: ClusterFile) -> None:
    write_cluster_file(tmp_path, cluster)
    assert read_cluster_file(tmp_path) == cluster
    assert stat.S_IMODE((tmp_path / "cluster.json").stat().st_mode) == 0o600


def test_by_hand_with_paths_beside_it(tmp_path: Path) -> None:
    tls = {"ca_file": "ca.pem", "cert_file": "/abs/cert.pem", "key_file": "key.pem"}
    edges = [{"name": "site-a", "address": "10.0.0.1:7410"}]
    text = json.dumps({"central": "10.0.0.1:1", "edges": edges, "tls": tls})
    (tmp_path / "cluster.json").write_text(text)
    found = read_cluster_file(tmp_path)
    assert found.tls == TlsSettings(f"{tmp_path}/ca.pem", "/abs/cert.pem", f"{tmp_path}/key.pem")
    assert (found.token_file, found.edges) == ("", EDGES)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "cannot be read"),
        ("[]", "cannot be read"),
        ('{"central": "a:1", "edges": []}', "lacks 'token_file'"),
        ('{"central": "a:1", "edges": [], "tls": {"ca_file": "x"}}', "lacks 'cert_file'"),
        ('{"central": "a:1", "edges": [], "tls": "x"}', "cannot be read"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "cluster.json").write_text(text)
    with pytest.raises(Unavailable, match=problem):
        read_cluster_file(tmp_path)


async def test_a_client_says_which_file_is_wrong(tmp_path: Path) -> None:
    tls = TlsSettings(*(str(tmp_path / name) for name in ("ca.pem", "cert.pem", "key.pem")))
    with pytest.raises(InvalidField, match=r"^tls.ca_file: cannot read .*/ca.pem: No such file"):
        async with Client(cluster=ClusterFile("10.0.0.1:1", EDGES, tls=tls)):
            pass
