"""Configuration of the masters: TOML files to the frozen settings of tango.model.settings."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from tango.adapters.delay_settings import read_delay_settings
from tango.adapters.documents import Section
from tango.adapters.image_settings import read_registry_settings
from tango.adapters.placement_profiles import read_profile
from tango.adapters.server_settings import SERVER, read_decisions, read_record, read_server
from tango.adapters.setting_fields import read_body, read_name, read_peer
from tango.adapters.toml_documents import load_toml
from tango.adapters.tuning import central_tuning, edge_tuning
from tango.model.settings import CentralSettings, EdgeSettings, PeerSettings, TlsSettings

_POLICY = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_MAX_PEERS = 64

_CENTRAL = CentralSettings(SERVER)
_EDGE = EdgeSettings(SERVER, "edge")


def load_central(path: Path | str) -> CentralSettings:
    """[server], [tls], [decisions], [record], [placement], [delays], [registry] and [central].

    Raises InvalidField with field, file and line.
    """
    document = load_toml(Path(path))
    server = read_server(document, Path(path), rest=True)
    section = document.section("central")
    settings = replace(
        central_tuning(section, _CENTRAL),
        server=server,
        batch_policy=_policy(section, "batch_policy", _CENTRAL.batch_policy),
        placement=read_profile(document),
        delays=read_delay_settings(document, Path(path)),
        registry=read_registry_settings(document, Path(path)),
        decisions=read_decisions(document, Path(path)),
        record=read_record(document, Path(path)),
    )
    document.finish()
    return settings


def load_edge(path: Path | str) -> EdgeSettings:
    """[server], [tls], [decisions], [record], [placement] and [edge] of a file.

    Raises InvalidField with field, file and line.
    """
    document = load_toml(Path(path))
    server = read_server(document, Path(path))
    section = document.section("edge", required=True)
    settings = replace(
        edge_tuning(section, _EDGE),
        server=server,
        direct_calls=section.boolean("direct_calls", _EDGE.direct_calls),
        name=read_name(section, "name"),
        central=read_peer(section, "central", server.tls, optional=True),
        traffic_policy=_policy(section, "traffic_policy", _EDGE.traffic_policy),
        max_body_bytes=read_body(section, _EDGE.max_body_bytes),
        peers=_peers(section, server.tls),
        neighbours=section.integer("neighbours", _EDGE.neighbours, low=0, high=_MAX_PEERS),
        placement=read_profile(document),
        decisions=read_decisions(document, Path(path)),
        record=read_record(document, Path(path)),
    )
    document.finish()
    return settings


def _peers(section: Section, tls: TlsSettings | None) -> tuple[PeerSettings, ...]:
    own = section.string("name")
    tables = section.sections("peers") if "peers" in section else ()
    if len(tables) > _MAX_PEERS:
        raise section.error("peers", f"are {len(tables)}", f"at most {_MAX_PEERS}")
    found: dict[str, PeerSettings] = {}
    for table in tables:
        name = read_name(table, "name")
        if name == own:
            raise table.error("name", f"{name!r} is this site itself", "name another site")
        if name in found:
            raise table.error("name", f"{name!r} is there twice", "leave one of them out")
        found[name] = PeerSettings(name, read_peer(table, "address", tls))
    return tuple(found.values())


def _policy(section: Section, key: str, default: str) -> str:
    name = section.string(key, default)
    if not _POLICY.fullmatch(name):
        raise section.error(key, f"{name!r} is not the name of a policy", f"write {default!r}")
    return name
