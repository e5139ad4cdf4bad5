"""Where the REST face is asked for: central's configuration alone, and what it takes."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tango.adapters.master_settings import load_central, load_edge
from tango.adapters.worker_settings import load_worker
from tango.cli.config import check_file
from tango.daemons.central.rest import rest_face
from tango.model.errors import InvalidField
from tango.model.settings import ServerSettings
from tango.sdk.embedded import EmbeddedCluster
from tango.sdk.embedded_plan import central_toml
from tango.wire.credentials import Credentials
from tango.wire.servers import Service

SERVER = '[server]\nlisten = "127.0.0.1:1"\ntoken_file = "t"\nstate_dir = "s"\n'
TLS = '[tls]\nca_file = "ca"\ncert_file = "c"\nkey_file = "k"\n'
NOTHING = Service("tango.v1.CentralService", lambda server: None)


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "central.toml"
    path.write_text(text)
    return path


def test_it_is_off_unless_asked_for(tmp_path: Path) -> None:
    assert load_central(written(tmp_path, SERVER)).server.rest == ""
    found = load_central(written(tmp_path, SERVER + 'rest = "127.0.0.1:2"\n'))
    assert found.server.rest == "127.0.0.1:2"
    assert load_central(written(tmp_path, SERVER + 'rest = ""\n')).server.rest == ""


def test_with_tls_it_may_be_anywhere(tmp_path: Path) -> None:
    found = load_central(written(tmp_path, SERVER + 'rest = "0.0.0.0:443"\n' + TLS))
    assert found.server.rest == "0.0.0.0:443"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (SERVER + 'rest = "0.0.0.0:2"\n', "c.toml:5: server.rest: 0.0.0.0 listens beyond loopback"),
        (SERVER + 'rest = "127.0.0.1:1"\n', "c.toml:5: server.rest: is the address of listen"),
        (
            SERVER + 'metrics = "127.0.0.1:2"\nrest = "127.0.0.1:2"\n',
            "c.toml:6: server.rest: is the address of metrics",
        ),
        (SERVER + 'rest = "127.0.0.1"\n', "is not HOST:PORT"),
        (SERVER + "rest = true\n", "c.toml:5: server.rest: is true, not a text"),
        (SERVER + "rest = 7402\n", "c.toml:5: server.rest: is the number 7402, not a text"),
    ],
)
def test_what_is_no_address(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "c.toml"
    path.write_text(text)
    with pytest.raises(InvalidField) as caught:
        load_central(path)
    assert expected in str(caught.value)


def test_free_ports_are_never_the_same(tmp_path: Path) -> None:
    text = SERVER.replace(":1", ":0") + 'metrics = "127.0.0.1:0"\nrest = "127.0.0.1:0"\n'
    assert load_central(written(tmp_path, text)).server.rest == "127.0.0.1:0"


@pytest.mark.parametrize(
    ("load", "section"),
    [
        (load_edge, '[edge]\nname = "e"\n'),
        (lambda path: load_worker(path, uid=1000), '[worker]\nnode = "n"\nedge = "127.0.0.1:3"\n'),
    ],
)
def test_only_central_has_one(tmp_path: Path, load: Callable[[Path], object], section: str) -> None:
    path = written(tmp_path, SERVER + 'rest = "127.0.0.1:2"\n' + section)
    with pytest.raises(InvalidField, match=r"server\.rest: is not a known key"):
        load(path)


def test_an_embedded_cluster_has_one_where_asked(tmp_path: Path) -> None:
    with_face = written(tmp_path, central_toml(tmp_path, 1, 2, rest="127.0.0.1:3"))
    assert load_central(with_face).server.rest == "127.0.0.1:3"
    assert load_central(written(tmp_path, central_toml(tmp_path, 1, 2))).server.rest == ""


async def test_without_aiohttp_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "aiohttp"]:
        monkeypatch.delitem(sys.modules, name)
    for name in [name for name in sys.modules if name.startswith("tango.wire.rest.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    settings = ServerSettings("127.0.0.1:0", "t", "s", rest="127.0.0.1:0")
    with pytest.raises(InvalidField) as caught:
        async with rest_face(settings, Credentials("t"), NOTHING):
            pass
    assert caught.value.field == "server.rest"
    assert "pip install '.[rest]'" in caught.value.fix, "tango-edge of PyPI is not ours"


def test_up_says_so_before_it_starts_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    cluster = EmbeddedCluster(tmp_path / "state")
    monkeypatch.setattr(cluster, "_start", lambda *args: pytest.fail("a daemon is started"))
    with pytest.raises(InvalidField, match=r"--rest: needs aiohttp.*pip install '\.\[rest\]'"):
        cluster.start(rest_port=0)
    assert not cluster.state_dir.exists()


async def test_where_it_is_off_nothing_of_it_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    monkeypatch.delitem(sys.modules, "tango.wire.rest.listener", raising=False)
    async with rest_face(ServerSettings("127.0.0.1:0", "t", "s"), Credentials("t"), NOTHING):
        assert "tango.wire.rest.listener" not in sys.modules


def test_config_check_says_what_this_machine_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, SERVER + 'rest = "127.0.0.1:2"\n[central]\n')
    token = tmp_path / "t"
    token.touch(mode=0o600)
    token.write_text("x" * 32)
    assert check_file(path)[1] == []
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    (warning,) = check_file(path)[1]
    assert (warning.field, "aiohttp" in warning.problem) == ("server.rest", True)
    assert warning.where.endswith("central.toml:5")
