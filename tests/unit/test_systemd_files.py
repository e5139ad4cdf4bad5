"""The systemd units and their configuration agree with each other and with what Tango accepts."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tango.adapters.master_settings import load_central, load_edge
from tango.adapters.worker_settings import load_worker
from tango.supervisor.__main__ import Arguments

SYSTEMD = Path(__file__).parents[2] / "systemd"
ETC = SYSTEMD / "etc"
DAEMONS = ("central", "edge", "worker")
UNITS = (*DAEMONS, "payload")
SANDBOX = (
    ("NoNewPrivileges", "yes"),
    ("ProtectSystem", "strict"),
    ("ProtectHome", "yes"),
    ("PrivateTmp", "yes"),
    ("PrivateDevices", "yes"),
    ("ProtectControlGroups", "yes"),
    ("RestrictNamespaces", "yes"),
    ("SystemCallArchitectures", "native"),
)


def unit(name: str) -> dict[str, list[str]]:
    """Every setting of a unit; sections do not matter, for no name is in two of them."""
    text = (SYSTEMD / f"tango-{name}.service").read_text().replace("\\\n", " ")
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


@pytest.mark.parametrize("name", UNITS)
def test_units_are_watched_restarted_and_sandboxed(name: str) -> None:
    settings = unit(name)
    assert settings["Type"] == ["notify"]
    assert settings["Restart"] == ["always"]
    assert settings["StartLimitIntervalSec"] == ["0"], "it never gives up"
    assert int(settings["WatchdogSec"][0]) > 0
    assert settings["Slice"] == ["tango.slice"]
    assert settings["StateDirectoryMode"] == ["0700"]
    for key, value in SANDBOX:
        assert settings[key] == [value], key


@pytest.mark.parametrize("words", [(), ("tango-edge",), ("a.whl", "b.whl")])
def test_install_takes_no_name_from_a_package_index(words: tuple[str, ...]) -> None:
    argv = ["/bin/sh", str(SYSTEMD / "install"), *words]
    found = subprocess.run(argv, capture_output=True, text=True, check=False, cwd="/")
    assert found.returncode == 2
    assert found.stderr.startswith("usage: systemd/install WHEEL|DIRECTORY")


def test_only_the_payload_is_delegated_and_it_may_lose_a_task_to_the_oom_killer() -> None:
    assert unit("payload")["Delegate"] == ["yes"]
    assert unit("payload")["OOMPolicy"] == ["continue"]
    assert all("Delegate" not in unit(name) for name in DAEMONS)


@pytest.mark.parametrize("name", DAEMONS)
def test_configuration_names_what_the_unit_gives(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"{name}.toml"
    # A user of the installed machine, not of this one.
    path.write_text((ETC / f"{name}.toml").read_text().replace('"tango-payload"', '"nobody"'))
    load = {
        "central": load_central,
        "edge": load_edge,
        "worker": lambda path: load_worker(path, uid=0),
    }[name]
    server = load(path).server  # type: ignore[attr-defined]
    settings = unit(name)
    assert settings["ExecStart"] == [f"/opt/tango/bin/tango {name} -c /etc/tango/{name}.toml"]
    assert server.token_file == f"/run/credentials/tango-{name}.service/token"
    assert settings["LoadCredential"] == ["token:/etc/tango/token"]
    assert server.state_dir == f"/var/lib/{settings['StateDirectory'][0]}"


def test_the_worker_looks_for_the_supervisor_where_its_unit_puts_it(tmp_path: Path) -> None:
    path = tmp_path / "worker.toml"
    text = (ETC / "worker.toml").read_text()
    assert 'run_as = "tango-payload"' in text
    assert "u tango-payload " in (SYSTEMD / "tango.sysusers").read_text()
    path.write_text(text.replace('"tango-payload"', '"nobody"'))
    settings = unit("payload")
    words = settings["ExecStart"][0].split()
    arguments = Arguments(words[words.index("tango.supervisor") + 1 :])
    assert load_worker(path, uid=0).supervisor_socket == arguments.socket
    assert arguments.socket.startswith(f"/run/{settings['RuntimeDirectory'][0]}/")
    assert arguments.state == f"/var/lib/{settings['StateDirectory'][0]}"
    assert arguments.leaf == "supervisor"
    # TERM, the grace, KILL, and the time that the kernel may take: all before systemd's own KILL.
    assert arguments.grace_s + 15 < float(settings["TimeoutStopSec"][0])


def test_clients_find_the_site() -> None:
    found = json.loads((ETC / "cluster.json").read_text())
    assert found["central"] == load_central(ETC / "central.toml").server.listen
    edge = load_edge(ETC / "edge.toml")
    assert found["edges"] == [{"name": edge.name, "address": edge.server.listen}]
    assert edge.central == found["central"]
