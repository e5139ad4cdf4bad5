"""Clients of the registries that [registry] names, with their credentials. Needs aiohttp."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path

from tango.adapters.registry import RegistryClient
from tango.adapters.registry_auth import Credentials
from tango.adapters.registry_transport import RegistryAccess
from tango.model.errors import InvalidField
from tango.model.layers import Platform
from tango.model.settings import RegistryHost, RegistrySettings
from tango.wire.secret_files import read_secret

MAX_CREDENTIALS_BYTES = 4096
# What [registry] calls all that it does not list.
OTHERS = ""


def registry_clients(settings: RegistrySettings) -> Mapping[str, RegistryClient]:
    """One for each registry by name, so that none waits for another; OTHERS for the rest.

    Raises InvalidField for a file that cannot be read or used.
    """
    platform = Platform(*settings.platform.split("/"))
    found = {
        host.name: RegistryClient((_access(at, host),), platform=platform)
        for at, host in enumerate(settings.hosts)
    }
    if settings.others:
        found[OTHERS] = RegistryClient(others=True, platform=platform)
    return found


def _access(at: int, host: RegistryHost) -> RegistryAccess:
    field = f"registry.hosts[{at}]"
    ca_file = Path(host.ca_file) if host.ca_file else None
    if ca_file is not None:
        try:
            ssl.create_default_context(cafile=ca_file)
        except (OSError, ssl.SSLError) as error:
            problem = f"cannot read certificates of {ca_file}: {error}"
            raise InvalidField(f"{field}.ca_file", problem, "name a PEM file") from None
    return RegistryAccess(
        host.name,
        _credentials(host.credentials_file, f"{field}.credentials_file"),
        ca_file,
        host.plain_http,
    )


def _credentials(path: str, field: str) -> Credentials | None:
    if not path:
        return None
    content = read_secret(path, field, "the file with USER:PASSWORD", MAX_CREDENTIALS_BYTES)
    try:
        user, colon, password = content.decode().strip().partition(":")
    except UnicodeDecodeError:
        user, colon, password = "", "", ""
    # Never quoted: what is wrong with it may be the password.
    if not user or not colon or "\n" in password or len(content) > MAX_CREDENTIALS_BYTES:
        raise InvalidField(field, f"{path} is not one line USER:PASSWORD", "write it so")
    return Credentials(user, password)
