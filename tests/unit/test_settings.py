"""Daemon configuration: the shipped files load, every wrong value is named with file and line."""

from __future__ import annotations

import pwd
from collections.abc import Callable
from pathlib import Path

import pytest

from tango.adapters.cluster_snapshots import load_snapshot
from tango.adapters.manifests import load_manifests
from tango.adapters.master_settings import load_central, load_edge
from tango.adapters.placement_profiles import load_profile
from tango.adapters.setting_fields import is_loopback, split_host_port
from tango.adapters.worker_settings import check_run_as, load_worker
from tango.model.affinity import Taint
from tango.model.errors import InvalidField
from tango.model.reassurance import ReassuranceRule
from tango.model.settings import (
    CentralSettings,
    DelaySettings,
    DelaySource,
    EdgeSettings,
    EngineSettings,
    PeerSettings,
    RegistryHost,
    RegistrySettings,
    TlsSettings,
    WorkerSettings,
)

CONFIGS = Path(__file__).parents[2] / "configs"
SERVER = '[server]\nlisten = "127.0.0.1:1"\ntoken_file = "t"\nstate_dir = "s"\n'
TLS = '[tls]\nca_file = "ca"\ncert_file = "c"\nkey_file = "/abs/k"\n'
EDGE = SERVER + '[edge]\nname = "e"\n'
WORKER = SERVER + '[worker]\nnode = "n"\nedge = "127.0.0.1:1"\n'

Loader = Callable[[Path], object]


def worker(path: Path) -> WorkerSettings:
    return load_worker(path, uid=1000)


def test_every_shipped_file_loads() -> None:
    loaders: dict[str, Loader] = {
        "central.toml": load_central,
        "edge.toml": load_edge,
        "placement.toml": load_profile,
        "cluster.yaml": load_snapshot,
        "worker.toml": lambda path: load_worker(path, uid=0),
        "service.yaml": load_manifests,
        "job.yaml": load_manifests,
    }
    # Scenarios are loaded in test_scenario_file.py.
    assert {path.name for path in CONFIGS.iterdir() if path.is_file()} == set(loaders)
    for name, load in loaders.items():
        assert load(CONFIGS / name)


def test_the_shipped_values(tmp_path: Path) -> None:
    edge = load_edge(CONFIGS / "edge.toml")
    assert edge == EdgeSettings(edge.server, "edge-a", "127.0.0.1:7400")
    assert edge.server.state_dir == str(CONFIGS.parent / "out/edge-a")
    assert load_central(CONFIGS / "central.toml").max_jobs_waiting == 100_000
    node = load_worker(CONFIGS / "worker.toml", uid=0)
    assert (node.node, node.labels, node.cpu_millis) == ("node-1", (("zone", "a"),), 0)
    assert node.taints == ()


def test_labels_and_taints_of_a_node(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(
        WORKER
        + 'taints = ["spot:PreferNoSchedule", "gpu=true:NoSchedule"]\n'
        + '[worker.labels]\nzone = "west"\n"example.com/rack" = "r-1"\n'
    )
    found = worker(path)
    assert found.labels == (("example.com/rack", "r-1"), ("zone", "west"))
    assert found.taints == (Taint("gpu", "true"), Taint("spot", "", "PreferNoSchedule"))


def test_peers_of_an_edge(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    table = '[[edge.peers]]\nname = "{}"\naddress = "{}"\n'
    path.write_text(EDGE + table.format("b", "127.0.0.1:2") + table.format("c", "[::1]:3"))
    found = load_edge(path)
    assert found.peers == (PeerSettings("b", "127.0.0.1:2"), PeerSettings("c", "[::1]:3"))
    assert (found.neighbours, found.peer_interval_ms, found.peer_max_age_ms) == (4, 100, 1000)


@pytest.mark.parametrize(
    ("tables", "field", "problem"),
    [
        ('name = "e"\naddress = "127.0.0.1:2"\n', "edge.peers[0].name", "this site itself"),
        ('name = "B"\naddress = "127.0.0.1:2"\n', "edge.peers[0].name", "not a valid name"),
        ('name = "b"\n', "edge.peers[0].address", "is missing"),
        ('name = "b"\naddress = "10.0.0.1:2"\n', "edge.peers[0].address", "beyond loopback"),
        ('name = "b"\naddress = "127.0.0.1:0"\n', "edge.peers[0].address", "port 0"),
        ('name = "b"\naddress = "127.0.0.1:2"\nrole = 1\n', "edge.peers[0].role", "known key"),
        (
            'name = "b"\naddress = "[::1]:2"\n[[edge.peers]]\nname = "b"\naddress = "[::1]:3"\n',
            "edge.peers[1].name",
            "twice",
        ),
    ],
)
def test_a_peer_that_is_none(tmp_path: Path, tables: str, field: str, problem: str) -> None:
    path = tmp_path / "c.toml"
    path.write_text(EDGE + "[[edge.peers]]\n" + tables)
    with pytest.raises(InvalidField) as caught:
        load_edge(path)
    assert caught.value.field == field
    assert problem in caught.value.problem
    assert caught.value.where.startswith(f"{path}:")


def test_defaults_are_those_of_the_model(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(SERVER)
    central = load_central(path)
    assert central == CentralSettings(central.server)
    path.write_text(WORKER)
    found = worker(path)
    assert found == WorkerSettings(found.server, "n", "127.0.0.1:1")
    assert found.server.token_file == str(tmp_path / "t")
    assert (found.server.metrics, found.server.log_level) == ("", "info")


def test_where_delays_are_from(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    table = '[delays]\nsource = "file"\npath = "rtt.toml"\nevery_s = 30\nupdates = 5\n'
    path.write_text(SERVER + table + 'max_age_s = 60\n[delays.nodes]\nh1 = "site-a/a1"\n')
    assert load_central(path).delays == DelaySettings(
        DelaySource.FILE,
        path=str(tmp_path / "rtt.toml"),
        every_s=30,
        updates=5,
        max_age_s=60,
        nodes=(("h1", "site-a/a1"),),
    )


def test_paths_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/c.toml").write_text(SERVER.replace('"t"', '"../t"').replace('"s"', '"/abs"'))
    monkeypatch.chdir(tmp_path)
    server = load_central("etc/c.toml").server
    assert (server.token_file, server.state_dir) == (str(tmp_path / "t"), "/abs")


@pytest.mark.parametrize(
    ("load", "text", "expected"),
    [
        (load_central, "", "c.toml: server: is missing"),
        (load_central, "[server]\n", "c.toml:1: server.listen: is missing"),
        (load_central, SERVER + "lisen = 1", "c.toml:5: server.lisen: is not a known key; did you"),
        (load_central, SERVER + "[central]\nx = 1", "c.toml:6: central.x: is not a known key"),
        (load_central, SERVER + "[edge]\nx = 1", "c.toml:5: edge: is not a known key"),
        (
            load_central,
            SERVER.replace("127.0.0.1", "0.0.0.0"),
            "listens beyond loopback; that need",
        ),
        (
            load_central,
            SERVER.replace("127.0.0.1", "10.1.2.3"),
            "c.toml:2: server.listen: 10.1.2.3",
        ),
        (load_central, SERVER.replace("127.0.0.1", "[::]"), "listens beyond loopback"),
        (load_central, SERVER.replace(":1", ""), "'127.0.0.1' is not HOST:PORT"),
        (load_central, SERVER.replace(":1", ":99999"), "99999 is not a port"),
        (load_central, SERVER.replace("127.0.0.1:1", "[::x]:1"), "is not HOST:PORT"),
        (load_central, SERVER + 'metrics = "0.0.0.0:9"', "c.toml:5: server.metrics: 0.0.0.0"),
        (
            load_central,
            SERVER + 'metrics = "127.0.0.1:1"',
            "c.toml:5: server.metrics: is the address",
        ),
        (load_central, SERVER + 'log_level = "loud"', "is not one of debug, info, warning, error"),
        (load_central, SERVER.replace('"t"', '""'), "c.toml:3: server.token_file: is not a path"),
        (
            load_central,
            SERVER.replace('"s"', '"~nobody-at-all/x"'),
            "server.state_dir: is not a pa",
        ),
        (load_central, SERVER + "[central]\nmax_jobs_waiting = 0", "0 is out of range"),
        (load_central, SERVER + '[central]\nbatch_policy = "a b"', "is not the name of a policy"),
        (load_central, SERVER + '[delays]\nsource = "ping"', "not one of own, file, goldpinger"),
        (load_central, SERVER + '[delays]\nsource = "file"', "delays.path: is missing"),
        (load_central, SERVER + '[delays]\nsource = "goldpinger"', "delays.url: is missing"),
        (load_central, SERVER + '[delays]\npath = "x"', "delays.path: is for source = 'file'"),
        (load_central, SERVER + "[delays]\nupdates = 0", "0 is out of range; use 1 to 100"),
        (load_central, SERVER + "[delays]\nx = 1", "delays.x: is not a known key"),
        (
            load_central,
            SERVER + '[delays]\nsource = "file"\npath = "x"\n[delays.nodes]\na = "b"',
            "delays.nodes: a is 'b'; write \"site/node\"",
        ),
        (load_edge, SERVER, "edge: is missing"),
        (load_edge, SERVER + '[edge]\nname = "E"', "c.toml:6: edge.name: 'E' is not a valid name"),
        (load_edge, SERVER + "[edge]\nname = 1", "c.toml:6: edge.name: is the number 1, not a te"),
        (load_edge, EDGE + 'central = "10.0.0.1:1"', "10.0.0.1 is beyond loopback; that needs"),
        (load_edge, EDGE + 'central = "localhost:0"', "port 0 is nothing to dial"),
        (load_edge, EDGE + "tick_ms = 0", "c.toml:7: edge.tick_ms: 0 is out of range"),
        (load_edge, EDGE + 'max_body = "1Gi"', "edge.max_body: 1073741824 bytes is out of range"),
        (worker, SERVER + '[worker]\nnode = "n"', "worker.edge: is missing"),
        (worker, WORKER + 'cpu = "lots"', "c.toml:8: worker.cpu: 'lots' is not a CPU quantity"),
        (worker, WORKER + 'cgroup_root = "../x"', "worker.cgroup_root: '../x' is not valid"),
        (worker, WORKER + 'cgroup_root = "/x"', "worker.cgroup_root: '/x' is not valid"),
        (worker, WORKER + 'cgroup_root = "x/"', "worker.cgroup_root: 'x/' is not valid"),
        (worker, WORKER + 'cpuset = "0-"', "worker.cpuset: '0-' is not valid"),
        (worker, WORKER + "cpu_weight = 0", "0 is out of range; use 1 to 10000"),
        (worker, WORKER + "quota_period_ms = 0.5", "0.5 is out of range; use 1 to 1000"),
        (worker, WORKER + 'log_max = "1k"', "worker.log_max: 1000 bytes is out of range"),
        (worker, WORKER + '[worker.labels]\n"a b" = "c"', "c.toml:9: worker.labels.a b: "),
        (worker, WORKER + '[worker.labels]\na = "b/c"', "c.toml:9: worker.labels.a: 'b/c' is not"),
        (worker, WORKER + 'taints = ["gpu"]', "c.toml:8: worker.taints[0]: 'gpu' is not a taint"),
        (
            worker,
            WORKER + 'taints = ["a:NoSchedule", "b:NoExecute"]',
            "worker.taints[1]: 'b:NoExecute' would end what runs there, which no taint does here",
        ),
        (worker, WORKER + 'taints = ["a=1:NoSchedule", "a:NoSchedule"]', "is there twice"),
        (worker, WORKER + "taints = 1", "c.toml:8: worker.taints: is the number 1, not a list"),
        (worker, WORKER + 'run_as = "no-such-user-x"', "c.toml:8: worker.run_as: there is no user"),
        (worker, WORKER + 'run_as = "nobody"', "only root can start processes as 'nobody'"),
        (load_central, SERVER + '[tls]\nca_file = "x"', "c.toml:5: tls.cert_file: is missing"),
        (load_central, SERVER + TLS + 'key = "x"', "c.toml:9: tls.key: is not a known key; known"),
        (load_central, SERVER + 'metrics = "0.0.0.0:9"\n' + TLS, "metrics speak no TLS"),
        (
            load_central,
            SERVER.replace('token_file = "t"', 'metrics = "[::1]:9"') + TLS,
            "server.token_file: is missing",
        ),
        (worker, WORKER + TLS, "worker.edge_name: is missing"),
        (worker, WORKER + 'edge_name = "A"', "c.toml:8: worker.edge_name: 'A' is not a valid name"),
        (
            worker,
            WORKER + f'supervisor_socket = "/{"x" * 107}"',
            "worker.supervisor_socket: is too",
        ),
        (worker, WORKER + "allow_rot = true", "c.toml:8: worker.allow_rot: is not a known key; di"),
    ],
)
def test_every_wrong_value_has_its_place(
    tmp_path: Path, load: Loader, text: str, expected: str
) -> None:
    path = tmp_path / "c.toml"
    path.write_text(text)
    with pytest.raises(InvalidField) as caught:
        load(path)
    assert expected in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_with_tls_the_network_is_open(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    anywhere = SERVER.replace("127.0.0.1", "0.0.0.0").replace('token_file = "t"\n', "")
    tls = TlsSettings(str(tmp_path / "ca"), str(tmp_path / "c"), "/abs/k")
    path.write_text(anywhere + TLS)
    server = load_central(path).server
    assert (server.listen, server.tls, server.token_file) == ("0.0.0.0:1", tls, "")
    path.write_text(EDGE.replace("127.0.0.1", "[::]") + 'central = "central.example:7400"\n' + TLS)
    assert load_edge(path).central == "central.example:7400"
    named = WORKER.replace('edge = "127.0.0.1:1"', 'edge = "10.0.0.1:7"\nedge_name = "site-a"')
    path.write_text(named + TLS)
    found = worker(path)
    assert (found.edge, found.edge_name, found.server.tls) == ("10.0.0.1:7", "site-a", tls)


def test_a_supervisor_of_ones_own_or_of_a_unit(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(WORKER)
    assert worker(path).supervisor_socket == ""
    path.write_text(WORKER + 'supervisor_socket = "s/supervisor.sock"\n')
    assert worker(path).supervisor_socket == str(tmp_path / "s/supervisor.sock")


@pytest.mark.parametrize("root", ["", "tango", "tango/node-1", "a.b_c/d"])
def test_cgroup_roots(tmp_path: Path, root: str) -> None:
    path = tmp_path / "c.toml"
    path.write_text(WORKER + f'cgroup_root = "{root}"\n')
    assert worker(path).cgroup_root == root


def test_root_payload_takes_permission(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(WORKER)
    with pytest.raises(InvalidField, match=r"c\.toml:5: worker\.run_as: is empty, so that"):
        load_worker(path, uid=0)
    path.write_text(WORKER + "allow_root = true\n")
    assert load_worker(path, uid=0).allow_root
    path.write_text(WORKER + 'run_as = "root"\n')
    with pytest.raises(InvalidField, match=r"c\.toml:8: worker\.run_as: 'root' is root"):
        load_worker(path, uid=0)


def test_run_as() -> None:
    nobody = pwd.getpwnam("nobody").pw_uid
    check_run_as("", False, 1000)
    check_run_as("", True, 0)
    check_run_as("nobody", False, 0)
    check_run_as("nobody", False, nobody)
    check_run_as("root", True, 0)
    with pytest.raises(InvalidField):
        check_run_as("", False, 0)
    with pytest.raises(InvalidField):
        check_run_as("nobody", True, nobody + 1)


def test_host_port() -> None:
    assert split_host_port("[::1]:80") == ("::1", 80)
    assert split_host_port("localhost:0") == ("localhost", 0)
    assert is_loopback("127.9.9.9")
    assert is_loopback("::1")
    assert not is_loopback("example.org")
    for text in ("", ":80", "host", "host:", "a b:1", "http://x:1", "::1:80", "h:1 "):
        with pytest.raises(ValueError):
            split_host_port(text)


def test_reassurance_is_a_table_of_the_edge(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(
        EDGE
        + "[edge.reassurance]\npercentile = 99\nalpha = 0\nwindow_ms = 500\ngrow_percent = 50\n"
    )
    rule = load_edge(path).reassurance
    assert (rule.percentile, rule.alpha, rule.window_s, rule.grow_share) == (99, 0, 0.5, 0.5)
    assert rule.beta == ReassuranceRule().beta
    assert rule.enabled


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ("alpha = 0.3", "edge.reassurance.beta"),
        ("beta = 0.11", "edge.reassurance.beta"),
        ("percentile = 20", "edge.reassurance.percentile"),
        ("step_percent = 0", "edge.reassurance.step_percent"),
        ("swing = 1", "edge.reassurance.swing"),
    ],
)
def test_a_reassurance_that_would_swing_is_refused(tmp_path: Path, line: str, field: str) -> None:
    path = tmp_path / "c.toml"
    path.write_text(f"{EDGE}[edge.reassurance]\n{line}\n")
    with pytest.raises(InvalidField) as caught:
        load_edge(path)
    assert caught.value.field == field
    assert caught.value.where.startswith(str(path))


def test_a_common_root_of_be_and_own_cores_exclude_each_other(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(WORKER + 'be_root = "tango/be"\n')
    assert worker(path).be_root == "tango/be"
    path.write_text(WORKER + 'be_root = "tango/be"\ncpuset = "0"\n')
    with pytest.raises(InvalidField, match="tasks would run on all cores"):
        worker(path)


IMAGES = WORKER + '[images]\nsocket = "engine.sock"\n'
REGISTRY = SERVER + "[registry]\n"
HOST = '[[registry.hosts]]\nname = "host:5000"\n'


def test_an_engine_and_registries_as_files_name_them(tmp_path: Path) -> None:
    path = tmp_path / "w.toml"
    path.write_text(WORKER)
    assert worker(path).engine == EngineSettings()
    path.write_text(IMAGES + "every_s = 5\ndownload_mbit_s = 80\n")
    assert worker(path).engine == EngineSettings(str(tmp_path / "engine.sock"), 5.0, 1e7)
    path.write_text(
        REGISTRY
        + 'others = true\nplatform = "linux/arm64/v8"\nrefresh_s = 60\nwait_s = 0\n'
        + HOST
        + 'credentials_file = "login"\nca_file = "/abs/ca"\nplain_http = true\n'
    )
    host = RegistryHost("host:5000", str(tmp_path / "login"), "/abs/ca", plain_http=True)
    assert load_central(path).registry == RegistrySettings(
        (host,), others=True, platform="linux/arm64/v8", refresh_s=60.0, wait_s=0.0
    )
    path.write_text(SERVER)
    assert load_central(path).registry == RegistrySettings()


@pytest.mark.parametrize(
    ("loader", "text", "problem"),
    [
        (worker, WORKER + "[images]\n", "images.socket: is missing"),
        (worker, WORKER + f'[images]\nsocket = "{"x" * 200}"\n', "images.socket: is too long"),
        (worker, IMAGES + "every_s = 0.1\n", "images.every_s: .* out of range"),
        (worker, IMAGES + "download_mbit_s = 0\n", "images.download_mbit_s: .* out of range"),
        (worker, IMAGES + "sockets = 1\n", "images.sockets"),
        (load_central, REGISTRY, "registry.hosts: is empty"),
        (load_central, REGISTRY + HOST + HOST, "is there twice"),
        (load_central, REGISTRY + '[[registry.hosts]]\nname = "Host/x"\n', "is not a registry"),
        (load_central, REGISTRY + 'platform = "linux"\n', "registry.platform"),
        (load_central, REGISTRY + HOST + "plain = true\n", r"registry.hosts\[0\].plain"),
        (load_central, REGISTRY + "wait_s = 60\n" + HOST, "registry.wait_s"),
    ],
)
def test_what_makes_no_sense_of_images_is_named(
    tmp_path: Path, loader: Loader, text: str, problem: str
) -> None:
    path = tmp_path / "x.toml"
    path.write_text(text)
    with pytest.raises(InvalidField, match=problem):
        loader(path)
