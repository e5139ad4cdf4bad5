"""Tables that every daemon's file has: [server], [tls], [decisions], [record]."""

from __future__ import annotations

import enum
from pathlib import Path

from tango.adapters.documents import Section
from tango.adapters.setting_fields import (
    read_bounded_memory,
    read_listen,
    read_path,
    split_host_port,
)
from tango.model.settings import (
    DecisionSettings,
    LoggedRequests,
    RecordSettings,
    ServerSettings,
    TlsSettings,
)

# Its values are the defaults; never used to listen.
SERVER = ServerSettings("127.0.0.1:0", "token", "state")
_DECISIONS = DecisionSettings()
_RECORD = RecordSettings()


class LogLevel(enum.Enum):
    """How much a daemon logs."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def read_server(document: Section, path: Path, *, rest: bool = False) -> ServerSettings:
    """[server] and [tls]. rest: whether this daemon may have a REST face."""
    section = document.section("server", required=True)
    base = path.absolute().parent
    tls = _tls(document, base)
    # Metrics speak no TLS: they stay on loopback, with the token.
    metrics = read_listen(section, "metrics", None) if section.string("metrics", "") else ""
    listen = read_listen(section, "listen", tls)
    face = read_listen(section, "rest", tls) if rest and section.string("rest", "") else ""
    _check_apart(section, {"listen": listen, "metrics": metrics, "rest": face})
    needs_token = tls is None or bool(metrics) or "token_file" in section
    return ServerSettings(
        listen=listen,
        token_file=read_path(section, "token_file", base) if needs_token else "",
        state_dir=read_path(section, "state_dir", base),
        metrics=metrics,
        log_level=section.choice("log_level", LogLevel, LogLevel(SERVER.log_level)).value,
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
        ca_file=read_path(section, "ca_file", base),
        cert_file=read_path(section, "cert_file", base),
        key_file=read_path(section, "key_file", base),
    )


def read_decisions(document: Section, path: Path) -> DecisionSettings:
    """[decisions]. path: of the file, which the log's may be relative to."""
    if "decisions" not in document:
        return _DECISIONS
    section = document.section("decisions")
    log = ""
    if section.string("log", ""):
        log = read_path(section, "log", path.absolute().parent)
    ring = section.integer("ring", _DECISIONS.ring, low=0, high=65_536)
    if log and not ring:
        raise section.error("log", "needs a ring to come from", "set decisions.ring above 0")
    return DecisionSettings(
        ring=ring,
        log=log,
        log_max_bytes=read_bounded_memory(
            section, "log_max", _DECISIONS.log_max_bytes, 4096, 2**40
        ),
        log_files=section.integer("log_files", _DECISIONS.log_files, low=1, high=100),
        log_requests=section.choice("log_requests", LoggedRequests, _DECISIONS.log_requests),
    )


def read_record(document: Section, path: Path) -> RecordSettings:
    """[record]. path: of the file, which the directory may be relative to."""
    if "record" not in document:
        return _RECORD
    section = document.section("record")
    return RecordSettings(
        dir=read_path(section, "dir", path.absolute().parent),
        max_bytes=read_bounded_memory(section, "max", _RECORD.max_bytes, 65_536, 2**40),
        files=section.integer("files", _RECORD.files, low=1, high=1000),
    )
