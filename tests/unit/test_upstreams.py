"""Upstream files of proxies: what they hold, what may not stand in them, and their replacement."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tango.cli.routes import _check
from tango.cli.upstreams import haproxy, nginx, replace_file
from tango.model.errors import InvalidField
from tango.model.routes import ReplicaRoute, RouteTable

ROUTES = (
    ReplicaRoute("web-g1-0", "a1", "127.0.0.1", 8001, 3, 4),
    ReplicaRoute("web-g1-1", "a2", "2001:db8::7", 8002, 1),
    ReplicaRoute("web-g1-2", "a3", "a3.example", 8003, 1, 1),
)
TABLE = RouteTable("web", "site-a", 7, 12, ROUTES)
EMPTY = replace(TABLE, routes=())


def test_an_nginx_upstream() -> None:
    assert nginx(TABLE) == (
        "# Written by `tango routes web`; version 12 of site-a. Changes here are lost.\n"
        "upstream web {\n"
        "    zone tango_web 64k;\n"
        "    server 127.0.0.1:8001 weight=3 max_conns=4;  # web-g1-0 on a1\n"
        "    server [2001:db8::7]:8002 weight=1;  # web-g1-1 on a2\n"
        "    server a3.example:8003 weight=1 max_conns=1;  # web-g1-2 on a3\n"
        "    keepalive 32;\n"
        "}\n"
    )
    assert "server 127.0.0.1:1 down;" in nginx(EMPTY)


def test_a_haproxy_backend() -> None:
    assert haproxy(TABLE) == (
        "# Written by `tango routes web`; version 12 of site-a. Changes here are lost.\n"
        "backend web\n"
        "    mode http\n"
        "    balance roundrobin\n"
        "    server web-g1-0 127.0.0.1:8001 weight 3 maxconn 4\n"
        "    server web-g1-1 [2001:db8::7]:8002 weight 1\n"
        "    server web-g1-2 a3.example:8003 weight 1 maxconn 1\n"
    )
    assert "server" not in haproxy(EMPTY)


def test_weights_stay_in_proportion_and_in_range() -> None:
    routes = tuple(replace(ROUTES[0], weight=weight) for weight in (1024, 512, 1))
    text = haproxy(replace(TABLE, routes=routes))
    assert [line.split()[4] for line in text.splitlines() if "server " in line] == [
        "256", "128", "1",
    ]  # fmt: skip


@pytest.mark.parametrize("style", [nginx, haproxy])
@pytest.mark.parametrize(
    ("field", "table"),
    [
        ("service", replace(TABLE, service="web {}\n")),
        ("service", replace(TABLE, service="")),
        ("edge", replace(TABLE, edge="a\nb")),
        ("replica", replace(TABLE, routes=(replace(ROUTES[0], replica="x; return 200"),))),
        ("host", replace(TABLE, routes=(replace(ROUTES[0], host="h;}\nserver evil"),))),
        ("host", replace(TABLE, routes=(replace(ROUTES[0], host="unix:/x"),))),
        ("host", replace(TABLE, routes=(replace(ROUTES[0], host=""),))),
        ("host", replace(TABLE, routes=(replace(ROUTES[0], host="fe80::1%eth0\n;"),))),
        ("port", replace(TABLE, routes=(replace(ROUTES[0], port=0),))),
        ("port", replace(TABLE, routes=(replace(ROUTES[0], port=70_000),))),
    ],
)
def test_nothing_else_gets_into_a_file(style, field: str, table: RouteTable) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InvalidField) as caught:
        style(table)
    assert caught.value.field == field


def test_a_file_is_replaced_whole_and_only_where_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "web.conf"
    assert replace_file(path, "one\n")
    assert path.read_text() == "one\n"
    assert path.stat().st_mode & 0o777 == 0o644
    path.chmod(0o640)
    before = path.stat().st_ino
    assert not replace_file(path, "one\n")
    assert path.stat().st_ino == before
    assert replace_file(path, "two\n")
    assert path.stat().st_ino != before
    assert path.stat().st_mode & 0o777 == 0o640
    assert [one.name for one in tmp_path.iterdir()] == ["web.conf"]
    with pytest.raises(InvalidField, match="No such file"):
        replace_file(tmp_path / "nowhere/web.conf", "x")


def test_what_cannot_be_told_to_reload(tmp_path: Path) -> None:
    path = tmp_path / "web.conf"
    _check("nginx", path, None)
    _check("nginx", path, os.getpid())
    for style, write in (("table", path), ("json", path), ("nginx", None)):
        with pytest.raises(InvalidField, match="nothing to reload"):
            _check(style, write, os.getpid())
    ended = subprocess.Popen(["/bin/true"])
    ended.wait()
    with pytest.raises(InvalidField, match=f"no process {ended.pid}"):
        _check("haproxy", path, ended.pid)


# ---- the proxies' own word


def _program(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.skip(f"{name} is not installed here")
    return found


@pytest.mark.parametrize("table", [replace(TABLE, routes=ROUTES[:2]), EMPTY])
def test_nginx_takes_it(tmp_path: Path, table: RouteTable) -> None:
    program = _program("nginx")
    replace_file(tmp_path / "web.conf", nginx(table))
    config = tmp_path / "nginx.conf"
    temporary = "".join(
        f"    {kind}_temp_path {tmp_path}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config.write_text(
        f"pid {tmp_path}/pid;\nerror_log stderr;\nevents {{}}\nhttp {{\n    access_log off;\n"
        f"{temporary}"
        f"    include {tmp_path}/web.conf;\n"
        "    server { listen 127.0.0.1:1; location / { proxy_pass http://web; } }\n}\n"
    )
    done = subprocess.run(
        [program, "-t", "-p", str(tmp_path), "-c", str(config)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("table", [replace(TABLE, routes=ROUTES[:2]), EMPTY])
def test_haproxy_takes_it(tmp_path: Path, table: RouteTable) -> None:
    program = _program("haproxy")
    replace_file(tmp_path / "web.cfg", haproxy(table))
    main = tmp_path / "main.cfg"
    main.write_text(
        "defaults\n    mode http\n    timeout connect 1s\n    timeout client 5s\n"
        "    timeout server 5s\nfrontend in\n    bind 127.0.0.1:1\n    default_backend web\n"
    )
    done = subprocess.run(
        [program, "-c", "-f", str(main), "-f", str(tmp_path / "web.cfg")],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
