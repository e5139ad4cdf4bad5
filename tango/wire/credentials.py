"""What a daemon or client shows to those it talks to: a certificate, or its cluster's token."""

from __future__ import annotations

from dataclasses import dataclass

import grpc

from tango.model.access import Role, server_name
from tango.model.settings import ServerSettings, TlsSettings
from tango.wire.channels import bearer, open_channel, read_token
from tango.wire.tls import Tls

Metadata = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Credentials:
    """tls: None on loopback, where the token counts. token: "" where nothing needs one."""

    token: str
    tls: Tls | None = None

    @property
    def metadata(self) -> Metadata:
        """What each call carries: nothing under TLS, where the certificate says it all."""
        return bearer(self.token) if self.tls is None else ()

    def channel(self, address: str, role: Role, name: str = "") -> grpc.aio.Channel:
        """A channel to the daemon of that role (and name); under TLS it must prove to be that.

        Under TLS with the certificate files as they are now. Raises as `open_channel`.
        """
        return open_channel(address, tls=self.tls, server=server_name(role, name))


def daemon_credentials(settings: ServerSettings, role: Role, name: str = "") -> Credentials:
    """Of a daemon, whose certificate must be for it. Raises InvalidField."""
    token = read_token(settings.token_file, "server.token_file") if settings.token_file else ""
    if settings.tls is None:
        return Credentials(token)
    tls = Tls(settings.tls)
    tls.require(role, name)
    return Credentials(token, tls)


def client_credentials(token_file: str, tls: TlsSettings | None) -> Credentials:
    """Of a client of the cluster: its certificate, else the token. Raises InvalidField."""
    if tls is None:
        return Credentials(read_token(token_file))
    return Credentials("", Tls(tls))
