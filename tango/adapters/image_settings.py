"""Strict reading of a worker's [images] and the central master's [registry]."""

from __future__ import annotations

import os
import re
from pathlib import Path

from tango.adapters.documents import Section
from tango.adapters.supervisor_start import MAX_SOCKET_PATH
from tango.model.errors import InvalidField
from tango.model.image import parse_image
from tango.model.settings import EngineSettings, RegistryHost, RegistrySettings

MAX_HOSTS = 64
BYTES_PER_MBIT = 125_000.0
_ENGINE = EngineSettings()
_REGISTRY = RegistrySettings()
_PLATFORM = re.compile(r"[a-z0-9]+/[a-z0-9_]+(/[a-z0-9]+)?")


def read_engine_settings(document: Section, where: Path) -> EngineSettings:
    """[images], off where it is missing; paths are relative to the file. Raises InvalidField."""
    if "images" not in document:
        return _ENGINE
    section = document.section("images")
    socket = _path(section, "socket", where)
    if not socket:
        fix = 'write socket = "/run/docker.sock", or leave out [images]'
        raise section.error("socket", "is missing", fix)
    if len(os.fsencode(socket)) > MAX_SOCKET_PATH:
        problem = f"is too long: {socket} is above {MAX_SOCKET_PATH} bytes"
        raise section.error("socket", problem, "a unix socket's path is short; link to it")
    mbit_s = section.number("download_mbit_s", 0.0, low=0.01, high=1e6)
    return EngineSettings(
        socket=socket,
        every_s=section.number("every_s", _ENGINE.every_s, low=1, high=3600),
        bandwidth_bytes_per_s=mbit_s * BYTES_PER_MBIT or None,
    )


def read_registry_settings(document: Section, where: Path) -> RegistrySettings:
    """[registry], nobody is asked where it is missing. Raises InvalidField."""
    if "registry" not in document:
        return _REGISTRY
    section = document.section("registry")
    tables = section.sections("hosts", required=False)
    if len(tables) > MAX_HOSTS:
        raise section.error("hosts", f"are {len(tables)}", f"at most {MAX_HOSTS}")
    hosts: dict[str, RegistryHost] = {}
    for table in tables:
        host = _host(table, where)
        if host.name in hosts:
            raise table.error("name", f"{host.name!r} is there twice", "leave one of them out")
        hosts[host.name] = host
    platform = section.string("platform", _REGISTRY.platform)
    if not _PLATFORM.fullmatch(platform):
        raise section.error("platform", f"{platform!r} is none", 'write "linux/arm64/v8"')
    settings = RegistrySettings(
        tuple(hosts.values()),
        others=section.boolean("others", _REGISTRY.others),
        platform=platform,
        refresh_s=section.number("refresh_s", _REGISTRY.refresh_s, low=1, high=86_400),
        wait_s=section.number("wait_s", _REGISTRY.wait_s, low=0, high=5),
    )
    if not settings.hosts and not settings.others:
        fix = 'list one ([[registry.hosts]] name = "docker.io"), or leave out [registry]'
        raise section.error("hosts", "is empty", fix)
    return settings


def _host(table: Section, where: Path) -> RegistryHost:
    name = table.string("name")
    try:
        same = parse_image(f"{name}/any").registry == name
    except InvalidField:
        same = False
    if not same:
        fix = 'write a host, or host:port, in lower case ("docker.io", "localhost:5000")'
        raise table.error("name", f"{name!r} is not a registry", fix)
    return RegistryHost(
        name,
        credentials_file=_path(table, "credentials_file", where),
        ca_file=_path(table, "ca_file", where),
        plain_http=table.boolean("plain_http", False),
    )


def _path(section: Section, key: str, where: Path) -> str:
    text = section.string(key, "")
    if "\0" in text:
        raise section.error(key, "is not a path", "remove the NUL byte")
    return str(where.absolute().parent / text) if text else ""
