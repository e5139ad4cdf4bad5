"""A certificate authority in a directory: makes it, and issues certificates that state a role.

Needs the `cryptography` package (extra `certs`), where certificates are made and nowhere else.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tango.model.access import Identity, Role
from tango.model.errors import AlreadyExists, InvalidField, NotFound, TangoError
from tango.model.names import check_name

try:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
except ImportError:
    raise TangoError(
        "certificates need the package cryptography: install the extra `certs` "
        "(in a clone: pip install '.[certs]')"
    ) from None

CA_CERT, CA_KEY = "ca.pem", "ca.key"
CA_DAYS = 3650
MAX_DAYS = 3650
# Clocks differ: what is issued now must already be valid for those that are behind.
BACKDATED = dt.timedelta(minutes=5)
SERVERS = {Role.CENTRAL, Role.EDGE, Role.WORKER}
_DNS = re.compile(r"(?=.{1,253}$)(?:\*\.)?(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.?)+")


@dataclass(frozen=True, slots=True)
class Issued:
    """The files of a new certificate. expires: with its time zone, UTC."""

    cert_file: Path
    key_file: Path
    ca_file: Path
    identity: Identity
    expires: dt.datetime


def make_authority(directory: Path, *, days: int = CA_DAYS, force: bool = False) -> Path:
    """A new key and its own certificate in ca.key (0600) and ca.pem; the directory is 0700.

    Raises AlreadyExists where there is one and `force` is not given: what it issued would be
    worth nothing any more.
    """
    _check_days(days, CA_DAYS * 3)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    cert_path, key_path = directory / CA_CERT, directory / CA_KEY
    _check_free((cert_path, key_path), force)
    key = ec.generate_private_key(ec.SECP256R1())
    now = dt.datetime.now(dt.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"tango {now:%Y-%m-%d %H:%M}")])
    usage = x509.KeyUsage(
        key_cert_sign=True, crl_sign=True, digital_signature=False, content_commitment=False,
        key_encipherment=False, data_encipherment=False, key_agreement=False,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip
    own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    certificate = (
        _builder(name, name, key.public_key(), now, dt.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(own, critical=False)
        .sign(key, hashes.SHA256())
    )
    _write(key_path, _key_pem(key), 0o600)
    _write(cert_path, certificate.public_bytes(serialization.Encoding.PEM), 0o644)
    return cert_path


def issue(
    directory: Path,
    identity: Identity,
    *,
    hosts: Sequence[str] = (),
    days: float = 365,
    out: Path | None = None,
    force: bool = False,
) -> Issued:
    """A key and a certificate for a role and a name, in `out` or DIRECTORY/ROLE-NAME.

    hosts: further names or addresses of a server, for clients that check those (grpcurl). Raises
    NotFound without an authority, AlreadyExists, and InvalidField for what cannot be issued.
    """
    check_name(identity.name, "--name")
    _check_days(days, MAX_DAYS)
    if hosts and identity.role not in SERVERS:
        raise InvalidField("--host", f"a {identity.role.value} listens nowhere", "leave it out")
    ca_key, ca = _authority(directory)
    now = dt.datetime.now(dt.UTC)
    valid = min(dt.timedelta(days=days), ca.not_valid_after_utc - now)
    if valid <= dt.timedelta(0):
        problem = f"the authority in {directory} has expired"
        raise InvalidField("authority", problem, "make a new one: `tango certs init`")
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(identity.uri)]
    purposes = [ExtendedKeyUsageOID.CLIENT_AUTH]
    if identity.role in SERVERS:
        purposes.append(ExtendedKeyUsageOID.SERVER_AUTH)
        names.extend(x509.DNSName(name) for name in identity.server_names)
        names.extend(_host(host) for host in hosts)
    place = out or directory / f"{identity.role.value}-{identity.name}"
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    cert_path, key_path, ca_path = place / "cert.pem", place / "key.pem", place / CA_CERT
    _check_free((cert_path, key_path), force)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, identity.role.value),
            x509.NameAttribute(NameOID.COMMON_NAME, identity.name),
        ]
    )
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    certificate = (
        _builder(subject, ca.subject, key.public_key(), now, valid)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        .add_extension(issuer, critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    # A daemon that reads them in between sees two that do not fit, and keeps what it has.
    _write(key_path, _key_pem(key), 0o600)
    _write(cert_path, certificate.public_bytes(serialization.Encoding.PEM), 0o644)
    _write(ca_path, ca.public_bytes(serialization.Encoding.PEM), 0o644)
    return Issued(cert_path, key_path, ca_path, identity, certificate.not_valid_after_utc)


def describe(path: Path) -> dict[str, object]:
    """What a certificate says, for people. Raises InvalidField where the file has none."""
    certificate = _read(path)
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
        hosts = names.get_values_for_type(x509.DNSName)
        addresses = [str(a) for a in names.get_values_for_type(x509.IPAddress)]
    except x509.ExtensionNotFound:
        uris, hosts, addresses = [], [], []
    try:
        ca = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        ca = False
    return {
        "subject": certificate.subject.rfc4514_string(),
        "issuer": certificate.issuer.rfc4514_string(),
        "authority": ca,
        "roles": list(uris),
        "hosts": [*hosts, *addresses],
        "valid_from": f"{certificate.not_valid_before_utc:%Y-%m-%dT%H:%M:%SZ}",
        "valid_until": f"{certificate.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}",
        "expired": certificate.not_valid_after_utc <= dt.datetime.now(dt.UTC),
        "sha256": certificate.fingerprint(hashes.SHA256()).hex(),
    }


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    now: dt.datetime,
    valid: dt.timedelta,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + valid)
    )


def _authority(directory: Path) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    cert_path, key_path = directory / CA_CERT, directory / CA_KEY
    if not cert_path.exists() or not key_path.exists():
        raise NotFound(f"no authority in {directory}: make one with `tango certs init {directory}`")
    certificate = _read(cert_path)
    try:
        key = serialization.load_pem_private_key(key_path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise InvalidField("ca.key", f"{key_path} cannot be read: {error}") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise InvalidField("ca.key", f"{key_path} is no key of `tango certs init`")
    try:
        certificate.verify_directly_issued_by(certificate)
        fits = certificate.public_key() == key.public_key()
    except (ValueError, TypeError, InvalidSignature):
        fits = False
    if not fits:
        raise InvalidField("ca.key", f"{key_path} and {cert_path} do not belong together")
    return key, certificate


def _read(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except OSError as error:
        raise InvalidField("certificate", f"cannot read {path}: {error.strerror}") from None
    except ValueError:
        raise InvalidField("certificate", f"{path} holds no certificate in PEM form") from None


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        if _DNS.fullmatch(host) is None:
            problem = f"{host!r} is neither a name nor an address"
            raise InvalidField("--host", problem, "write it without port or scheme") from None
        return x509.DNSName(host)


def _check_days(days: float, most: float) -> None:
    if not 0 < days <= most:
        raise InvalidField("--days", f"{days:g} is out of range", f"more than 0, up to {most:g}")


def _check_free(paths: Sequence[Path], force: bool) -> None:
    for path in paths:
        if path.exists() and not force:
            raise AlreadyExists(f"{path} is there already: --force replaces it")


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _write(path: Path, content: bytes, mode: int) -> None:
    """Whole or not at all, and never open to more than `mode` allows."""
    partial = path.with_name(f".{path.name}.new")
    partial.unlink(missing_ok=True)
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
