"""An authority, certificates, and the probe server of wire_probe behind mutual TLS."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
from cryptography import x509
from wire_probe import Probe, probed

from tango.adapters import authority
from tango.model.access import Identity, Role, server_name
from tango.model.settings import TlsSettings
from tango.v1.edge_service_pb2_grpc import EdgeServiceStub
from tango.wire.channels import open_channel
from tango.wire.servers import RpcServer
from tango.wire.tls import Tls

SITE = "site-a"


class World:
    """One authority in a directory, and what it issued."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        authority.make_authority(directory)

    def issue(self, role: Role, name: str, *, force: bool = False) -> TlsSettings:
        made = authority.issue(self.directory, Identity(role, name), force=force)
        return TlsSettings(str(made.ca_file), str(made.cert_file), str(made.key_file))

    def tls(self, role: Role, name: str) -> Tls:
        return Tls(self.issue(role, name))

    def expired(self, settings: TlsSettings, *, days: float = 1) -> None:
        """Write the same certificate again with its time over since `days`."""
        self.rewritten(settings, dt.timedelta(days=-days))

    def rewritten(
        self, settings: TlsSettings, valid: dt.timedelta, *, stating: bool = True
    ) -> None:
        """Write the same certificate again, valid until now + valid. stating: role and names."""
        key, _ = authority._authority(self.directory)
        old = x509.load_pem_x509_certificate(Path(settings.cert_file).read_bytes())
        now = dt.datetime.now(dt.UTC)
        builder = x509.CertificateBuilder(
            issuer_name=old.issuer,
            subject_name=old.subject,
            public_key=old.public_key(),
            serial_number=x509.random_serial_number(),
            not_valid_before=now - dt.timedelta(days=30),
            not_valid_after=now + valid,
            extensions=[
                each
                for each in old.extensions
                if stating or not isinstance(each.value, x509.SubjectAlternativeName)
            ],
        )
        made = builder.sign(key, authority.hashes.SHA256())
        encoded = made.public_bytes(authority.serialization.Encoding.PEM)
        Path(settings.cert_file).write_bytes(encoded)


@contextlib.asynccontextmanager
async def guarded_by(
    tls: Tls, listen: str = "127.0.0.1:0"
) -> AsyncIterator[tuple[Probe, RpcServer]]:
    async with probed(listen, tls=tls) as found:
        yield found


@contextlib.asynccontextmanager
async def stub_as(
    server: RpcServer, tls: Tls | None, name: str = SITE, role: Role = Role.EDGE
) -> AsyncIterator[Any]:
    async with open_channel(
        str(server.address), tls=tls, server=server_name(role, name)
    ) as channel:
        yield EdgeServiceStub(channel)


def raw_credentials(settings: TlsSettings, *, certificate: bool = True) -> grpc.ChannelCredentials:
    """What a client that checks nothing itself would use."""
    ca, cert, key = (
        Path(path).read_bytes()
        for path in (settings.ca_file, settings.cert_file, settings.key_file)
    )
    return (
        grpc.ssl_channel_credentials(ca, key, cert)
        if certificate
        else grpc.ssl_channel_credentials(ca)
    )


@contextlib.asynccontextmanager
async def raw_stub(
    server: RpcServer, credentials: grpc.ChannelCredentials | None, name: str = SITE
) -> AsyncIterator[Any]:
    """Past our own client's checks, as somebody else's program would dial."""
    where = str(server.address)
    options = (("grpc.ssl_target_name_override", server_name(Role.EDGE, name)),)
    channel = (
        grpc.aio.insecure_channel(where)
        if credentials is None
        else grpc.aio.secure_channel(where, credentials, options=options)
    )
    async with channel:
        yield EdgeServiceStub(channel)
