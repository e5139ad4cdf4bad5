"""Configuration of the daemons: TOML files to the frozen settings of tango.model.settings."""

from __future__ import annotations

import enum
import ipaddress
import os
import pwd
import re
from dataclasses import replace
from pathlib import Path

from tango.adapters.delay_settings import read_delay_settings
from tango.adapters.documents import Section
from tango.adapters.image_settings import read_engine_settings, read_registry_settings
from tango.adapters.node_marks import read_labels, read_taints
from tango.adapters.placement_profiles import read_profile
from tango.adapters.supervisor_start import MAX_SOCKET_PATH
from tango.adapters.toml_documents import load_toml
from tango.adapters.tuning import central_tuning, edge_tuning, worker_tuning
from tango.model.errors import InvalidField
from tango.model.names import check_name
from tango.model.settings import (
    CentralSettings,
    DecisionSettings,
    EdgeSettings,
    LoggedRequests,
    PeerSettings,
    RecordSettings,
    ServerSettings,
    TlsSettings,
    WorkerSettings,
)

_HOST_PORT = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9.-]+)):(?P<port>\d+)")
_CGROUP_ROOT = re.compile(r"(?:(?!\.{1,2}(?:/|$))[A-Za-z0-9._-]+(?:/(?!$)|$))*")
_CPUSET = re.compile(r"\d+(?:-\d+)?(?:,\d+(?:-\d+)?)*")
_TASK_CORES = re.compile(rf"none|{_CPUSET.pattern}")
_POLICY = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_MAX_PATH = 4096
_MAX_PEERS = 64

_SERVER = ServerSettings("127.0.0.1:0", "token", "state")
_CENTRAL = CentralSettings(_SERVER)
_EDGE = EdgeSettings(_SERVER, "edge")
_WORKER = WorkerSettings(_SERVER, "node", "127.0.0.1:0")
_DECISIONS = DecisionSettings()
_RECORD = RecordSettings()


class LogLevel(enum.Enum):
    """How much a daemon logs."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def load_central(path: Path | str) -> CentralSettings:
    """[server], [tls], [decisions], [record], [placement], [delays], [registry] and [central].

    Raises InvalidField with field, file and line.
    """
    document = load_toml(Path(path))
    server = _server(document, Path(path), rest=True)
    section = document.section("central")
    settings = replace(
        central_tuning(section, _CENTRAL),
        server=server,
        batch_policy=_policy(section, "batch_policy", _CENTRAL.batch_policy),
        placement=read_profile(document),
        delays=read_delay_settings(document, Path(path)),
        registry=read_registry_settings(document, Path(path)),
        decisions=_decisions(document, Path(path)),
        record=_record(document, Path(path)),
    )
    document.finish()
    return settings


def load_edge(path: Path | str) -> EdgeSettings:
    """[server], [tls], [decisions], [record], [placement] and [edge] of a file.

    Raises InvalidField with field, file and line.
    """
    document = load_toml(Path(path))
    server = _server(document, Path(path))
    section = document.section("edge", required=True)
    settings = replace(
        edge_tuning(section, _EDGE),
        server=server,
        name=_name(section, "name"),
        central=_peer(section, "central", server.tls, optional=True),
        traffic_policy=_policy(section, "traffic_policy", _EDGE.traffic_policy),
        max_body_bytes=_body(section, _EDGE.max_body_bytes),
        peers=_peers(section, server.tls),
        neighbours=section.integer("neighbours", _EDGE.neighbours, low=0, high=_MAX_PEERS),
        placement=read_profile(document),
        decisions=_decisions(document, Path(path)),
        record=_record(document, Path(path)),
    )
    document.finish()
    return settings


def load_worker(path: Path | str, *, uid: int | None = None) -> WorkerSettings:
    """[server], [tls], [decisions], [record], [images] and [worker] of a file.

    Raises InvalidField with field, file and line.

    uid: whose rights the worker will have, its own effective ones where None.
    """
    document = load_toml(Path(path))
    server = _server(document, Path(path))
    section = document.section("worker", required=True)
    settings = replace(
        worker_tuning(section, _WORKER),
        server=server,
        node=_name(section, "node"),
        edge=_peer(section, "edge", server.tls),
        edge_name=_edge_name(section, server.tls),
        cpu_millis=section.cpu("cpu", _WORKER.cpu_millis),
        memory_bytes=section.memory("memory", _WORKER.memory_bytes),
        cgroup_root=_matching(
            section, "cgroup_root", _WORKER.cgroup_root, _CGROUP_ROOT, "a path like 'tango/node-1'"
        ),
        be_root=_matching(
            section, "be_root", _WORKER.be_root, _CGROUP_ROOT, "a path like 'tango/be'"
        ),
        enforce=section.boolean("enforce", _WORKER.enforce),
        cpu_weight=section.integer("cpu_weight", _WORKER.cpu_weight, low=1, high=10_000),
        cpuset=_matching(
            section, "cpuset", _WORKER.cpuset, _CPUSET, "a list of cores like '0-1,3'"
        ),
        task_cores=_matching(
            section, "task_cores", _WORKER.task_cores, _TASK_CORES, "like '0-1,3', or none"
        ),
        labels=read_labels(section),
        taints=read_taints(section),
        run_as=section.string("run_as", _WORKER.run_as),
        allow_root=section.boolean("allow_root", _WORKER.allow_root),
        supervisor_socket=_socket(section, "supervisor_socket", Path(path).absolute().parent),
        checkpoint_dir=_optional_path(section, "checkpoint_dir", Path(path).absolute().parent),
        checkpoint_max_bytes=_bounded_memory(
            section, "checkpoint_max", _WORKER.checkpoint_max_bytes, 2**20, 2**40
        ),
        checkpoint_limit_s=section.number(
            "checkpoint_limit_s", _WORKER.checkpoint_limit_s, low=1, high=3600
        ),
        log_max_bytes=_bounded_memory(section, "log_max", _WORKER.log_max_bytes, 4096, 2**40),
        log_files=section.integer("log_files", _WORKER.log_files, low=1, high=100),
        max_body_bytes=_body(section, _WORKER.max_body_bytes),
        decisions=_decisions(document, Path(path)),
        record=_record(document, Path(path)),
        engine=read_engine_settings(document, Path(path)),
    )
    document.finish()
    if settings.be_root and settings.cpuset:
        problem = "with cpuset: tasks would run on all cores"
        raise section.error("be_root", problem, "leave one of the two out")
    try:
        check_run_as(settings.run_as, settings.allow_root, os.geteuid() if uid is None else uid)
    except InvalidField as error:
        raise error.at(section.where("run_as")) from None
    return settings


def check_run_as(run_as: str, allow_root: bool, uid: int) -> None:
    """Refuse payload as root unless it is allowed, and a user that this uid cannot become.

    Raises InvalidField("worker.run_as").
    """
    field = "worker.run_as"
    if not run_as:
        if uid == 0 and not allow_root:
            raise InvalidField(
                field,
                "is empty, so that replicas and tasks would run as root",
                "name an unprivileged user, or set allow_root = true",
            )
        return
    try:
        user = pwd.getpwnam(run_as)
    except (KeyError, ValueError):
        raise InvalidField(
            field, f"there is no user {run_as!r}", "create it, or name one"
        ) from None
    if user.pw_uid == 0 and not allow_root:
        problem = f"{run_as!r} is root"
        raise InvalidField(field, problem, "name an unprivileged user, or set allow_root = true")
    if uid not in (0, user.pw_uid):
        problem = f"only root can start processes as {run_as!r}, the worker runs as uid {uid}"
        raise InvalidField(field, problem, "leave it empty, or run the worker as root")


def split_host_port(text: str) -> tuple[str, int]:
    """("127.0.0.1", 50051) from "127.0.0.1:50051", IPv6 in brackets; ValueError with the reason."""
    match = _HOST_PORT.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not HOST:PORT")
    if len(match["port"]) > 5 or int(match["port"]) > 65535:
        raise ValueError(f"{match['port'][:20]} is not a port (0 to 65535)")
    host = match["six"] or match["host"]
    if match["six"]:
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise ValueError(f"{host!r} is not an IPv6 address") from None
    return host, int(match["port"])


def is_loopback(host: str) -> bool:
    """Whether a host is this machine only: "localhost" or a loopback address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _server(document: Section, path: Path, *, rest: bool = False) -> ServerSettings:
    """rest: whether this daemon may have a REST face."""
    section = document.section("server", required=True)
    base = path.absolute().parent
    tls = _tls(document, base)
    # Metrics speak no TLS: they stay on loopback, with the token.
    metrics = _listen(section, "metrics", None) if section.string("metrics", "") else ""
    listen = _listen(section, "listen", tls)
    face = _listen(section, "rest", tls) if rest and section.string("rest", "") else ""
    _check_apart(section, {"listen": listen, "metrics": metrics, "rest": face})
    needs_token = tls is None or bool(metrics) or "token_file" in section
    return ServerSettings(
        listen=listen,
        token_file=_path(section, "token_file", base) if needs_token else "",
        state_dir=_path(section, "state_dir", base),
        metrics=metrics,
        log_level=section.choice("log_level", LogLevel, LogLevel(_SERVER.log_level)).value,
        tls=tls,
        rest=face,
    )


def _check_apart(section: Section, listeners: dict[str, str]) -> None:
    """Raise InvalidField where two of them have one address; port 0 is another each time."""
    taken: dict[str, str] = {}
    for key, address in listeners.items():
        if not address or split_host_port(address)[1] == 0:
            continue
        if address in taken:
            fix = "give it a port of its own, or leave it out"
            raise section.error(key, f"is the address of {taken[address]}, {address}", fix)
        taken[address] = key


def _tls(document: Section, base: Path) -> TlsSettings | None:
    if "tls" not in document:
        return None
    section = document.section("tls")
    return TlsSettings(
        ca_file=_path(section, "ca_file", base),
        cert_file=_path(section, "cert_file", base),
        key_file=_path(section, "key_file", base),
    )


def _decisions(document: Section, path: Path) -> DecisionSettings:
    if "decisions" not in document:
        return _DECISIONS
    section = document.section("decisions")
    log = ""
    if section.string("log", ""):
        log = _path(section, "log", path.absolute().parent)
    ring = section.integer("ring", _DECISIONS.ring, low=0, high=65_536)
    if log and not ring:
        raise section.error("log", "needs a ring to come from", "set decisions.ring above 0")
    return DecisionSettings(
        ring=ring,
        log=log,
        log_max_bytes=_bounded_memory(section, "log_max", _DECISIONS.log_max_bytes, 4096, 2**40),
        log_files=section.integer("log_files", _DECISIONS.log_files, low=1, high=100),
        log_requests=section.choice("log_requests", LoggedRequests, _DECISIONS.log_requests),
    )


def _record(document: Section, path: Path) -> RecordSettings:
    if "record" not in document:
        return _RECORD
    section = document.section("record")
    return RecordSettings(
        dir=_path(section, "dir", path.absolute().parent),
        max_bytes=_bounded_memory(section, "max", _RECORD.max_bytes, 65_536, 2**40),
        files=section.integer("files", _RECORD.files, low=1, high=1000),
    )


def _edge_name(section: Section, tls: TlsSettings | None) -> str:
    # Without it any certificate that the authority ever made for an edge would do.
    if tls is None and "edge_name" not in section:
        return ""
    return _name(section, "edge_name")


def _listen(section: Section, key: str, tls: TlsSettings | None) -> str:
    return _reached(section, key, tls, "listens beyond loopback")


def _peer(section: Section, key: str, tls: TlsSettings | None, *, optional: bool = False) -> str:
    if optional and not section.string(key, ""):
        return ""
    # The token would cross the network in the clear.
    address = _reached(section, key, tls, "is beyond loopback")
    if split_host_port(address)[1] == 0:
        raise section.error(key, "port 0 is nothing to dial", "write the port that it listens on")
    return address


def _peers(section: Section, tls: TlsSettings | None) -> tuple[PeerSettings, ...]:
    own = section.string("name")
    tables = section.sections("peers") if "peers" in section else ()
    if len(tables) > _MAX_PEERS:
        raise section.error("peers", f"are {len(tables)}", f"at most {_MAX_PEERS}")
    found: dict[str, PeerSettings] = {}
    for table in tables:
        name = _name(table, "name")
        if name == own:
            raise table.error("name", f"{name!r} is this site itself", "name another site")
        if name in found:
            raise table.error("name", f"{name!r} is there twice", "leave one of them out")
        found[name] = PeerSettings(name, _peer(table, "address", tls))
    return tuple(found.values())


def _reached(section: Section, key: str, tls: TlsSettings | None, problem: str) -> str:
    address = section.string(key)
    try:
        host, _ = split_host_port(address)
    except ValueError as error:
        raise section.error(key, str(error), 'write "127.0.0.1:50051"') from None
    if tls is None and not is_loopback(host):
        if key == "metrics":
            fix = "metrics speak no TLS; use 127.0.0.1, [::1] or localhost"
        else:
            fix = "that needs mutual TLS: add a [tls] table, or use 127.0.0.1, [::1] or localhost"
        raise section.error(key, f"{host} {problem}", fix)
    return address


def _path(section: Section, key: str, base: Path) -> str:
    """An absolute path; a relative one is relative to the configuration file."""
    text = section.string(key)
    if not text or "\0" in text or len(text) > _MAX_PATH:
        raise section.error(key, "is not a path", "write a path, absolute or relative to this file")
    try:
        return os.path.normpath(base / Path(text).expanduser())
    except RuntimeError:  # "~nobody-of-that-name"
        raise section.error(key, "is not a path", "name a home directory that exists") from None


def _name(section: Section, key: str) -> str:
    try:
        return check_name(section.string(key), section.field(key))
    except InvalidField as error:
        raise error if error.where else error.at(section.where(key)) from None


def _policy(section: Section, key: str, default: str) -> str:
    name = section.string(key, default)
    if not _POLICY.fullmatch(name):
        raise section.error(key, f"{name!r} is not the name of a policy", f"write {default!r}")
    return name


def _matching(section: Section, key: str, default: str, form: re.Pattern[str], what: str) -> str:
    text = section.string(key, default)
    if text and not form.fullmatch(text):
        raise section.error(key, f"{text!r} is not valid", f"write {what}, or '' for none")
    return text


def _socket(section: Section, key: str, base: Path) -> str:
    if not section.string(key, ""):
        return ""
    path = _path(section, key, base)
    if len(os.fsencode(path)) > MAX_SOCKET_PATH:
        problem = f"is too long: {path} is above {MAX_SOCKET_PATH} bytes"
        raise section.error(key, problem, "a unix socket's path is short; move it")
    return path


def _optional_path(section: Section, key: str, base: Path) -> str:
    return _path(section, key, base) if section.string(key, "") else ""


def _body(section: Section, default: int) -> int:
    return _bounded_memory(section, "max_body", default, 1024, 64 * 2**20)


def _bounded_memory(section: Section, key: str, default: int, low: int, high: int) -> int:
    size = section.memory(key, default)
    if not low <= size <= high:
        raise section.error(key, f"{size} bytes is out of range", f"use {low} to {high} bytes")
    return size
