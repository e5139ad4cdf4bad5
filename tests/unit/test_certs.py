"""`tango certs`, and the files it makes as daemons read them: modes, mistakes, what fits what."""

from __future__ import annotations

import datetime as dt
import json
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tango.adapters import authority
from tango.cli.main import tango
from tango.model.access import Identity, Role
from tango.model.errors import AlreadyExists, InvalidField, NotFound, TangoError
from tango.model.settings import TlsSettings
from tango.wire.certificate import expiry
from tango.wire.tls import Tls

WORKER = Identity(Role.WORKER, "n1")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("certs") / "ca"
    authority.make_authority(directory)
    return directory


def issued(made: Path, out: Path, identity: Identity = WORKER, days: float = 1) -> TlsSettings:
    files = authority.issue(made, identity, out=out, days=days)
    return TlsSettings(str(files.ca_file), str(files.cert_file), str(files.key_file))


def run(*words: str) -> Result:
    return CliRunner().invoke(tango, ["certs", *words], standalone_mode=False)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_from_nothing_to_a_daemons_certificate(tmp_path: Path) -> None:
    ca = tmp_path / "deep/ca"
    assert run("init", str(ca)).return_value == 0
    done = run("issue", "--ca", str(ca), "--role", "edge", "--name", "site-a", "--host", "10.0.0.1")
    assert done.return_value == 0, done.output
    place = ca / "edge-site-a"
    assert [mode(path) for path in (ca, place)] == [0o700, 0o700]
    assert [mode(path) for path in (ca / "ca.key", place / "key.pem")] == [0o600, 0o600]
    assert {path.name for path in place.iterdir()} == {"ca.pem", "cert.pem", "key.pem"}
    assert f'key_file = "{place}/key.pem"' in done.output
    assert "PRIVATE" not in done.output
    files = TlsSettings(*(str(place / name) for name in ("ca.pem", "cert.pem", "key.pem")))
    assert Tls(files).identity == Identity(Role.EDGE, "site-a")
    shown = run("show", str(place / "cert.pem"), "-o", "json")
    found = json.loads(shown.output)
    assert found["roles"] == ["tango://edge/site-a"]
    assert found["hosts"] == ["edge.tango.internal", "site-a.edge.tango.internal", "10.0.0.1"]
    assert (found["authority"], found["expired"]) == (False, False)
    assert "tango://edge/site-a" in run("show", str(place / "cert.pem")).output
    assert json.loads(run("show", str(ca / "ca.pem"), "-o", "json").output)["authority"] is True


def test_nothing_is_overwritten_unless_told(made: Path, tmp_path: Path) -> None:
    issued(made, tmp_path)
    before = (tmp_path / "key.pem").read_bytes()
    with pytest.raises(AlreadyExists, match="--force"):
        issued(made, tmp_path)
    assert (tmp_path / "key.pem").read_bytes() == before
    authority.issue(made, WORKER, out=tmp_path, force=True)
    assert (tmp_path / "key.pem").read_bytes() != before
    with pytest.raises(AlreadyExists, match="is there already: --force"):
        authority.make_authority(made)


@pytest.mark.parametrize(
    ("words", "kind", "text"),
    [
        (("--role", "worker", "--name", "N 1"), InvalidField, "--name: 'N 1' is not a valid name"),
        (("--role", "user", "--name", "a", "--host", "b"), InvalidField, "a user listens nowhere"),
        (("--role", "edge", "--name", "a", "--host", "a b"), InvalidField, "neither a name nor"),
        (("--role", "edge", "--name", "a", "--host", "a:1"), InvalidField, "without port"),
        (("--role", "edge", "--name", "a", "--days", "0"), InvalidField, "--days: 0 is out of"),
        (("--role", "edge", "--name", "a", "--days", "1e9"), InvalidField, "--days"),
        (("--role", "edge", "--name", "a", "--days", "nan"), InvalidField, "--days"),
    ],
)
def test_what_cannot_be_issued(
    made: Path, words: tuple[str, ...], kind: type[TangoError], text: str
) -> None:
    result = run("issue", "--ca", str(made), *words)
    assert isinstance(result.exception, kind)
    assert text in str(result.exception)
    assert [path.name for path in made.iterdir() if path.is_dir()] == []


def test_without_an_authority_or_with_a_wrong_one(made: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=f"`tango certs init {tmp_path}`"):
        authority.issue(tmp_path, WORKER)
    authority.make_authority(tmp_path / "other")
    shutil.copy(made / "ca.pem", tmp_path / "other/ca.pem")
    with pytest.raises(InvalidField, match="do not belong together"):
        authority.issue(tmp_path / "other", WORKER)
    for content in ("", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
        (tmp_path / "x.pem").write_text(content)
        result = run("show", str(tmp_path / "x.pem"))
        assert "holds no certificate" in str(result.exception)
    assert "No such file" in str(run("show", str(tmp_path / "absent")).exception)


def test_no_node_needs_the_package() -> None:
    code = (
        "import sys; sys.modules['cryptography'] = None\n"
        "import tango.daemons.worker.main, tango.daemons.edge.main, tango.daemons.central.main\n"
        "import tango.sdk.client, tango.wire.tls, tango.cli.certs\n"
        "try:\n    import tango.adapters.authority\n"
        "except Exception as error:\n    print(type(error).__name__, error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout.startswith("TangoError certificates need the package cryptography: install")


# ---- what daemons and clients make of the files


def test_modes_are_checked(made: Path, tmp_path: Path) -> None:
    files = issued(made, tmp_path)
    for name, bad, good, mend in (
        ("key.pem", 0o640, 0o600, "600"),
        ("key.pem", 0o604, 0o400, "600"),
        ("ca.pem", 0o666, 0o644, "go-w"),
        ("cert.pem", 0o664, 0o444, "go-w"),
    ):
        path = tmp_path / name
        path.chmod(bad)
        with pytest.raises(InvalidField, match=rf"mode 0{bad:o}\); chmod {mend} {path}$") as raised:
            Tls(files)
        assert raised.value.field == f"tls.{name.partition('.')[0]}_file"
        path.chmod(good)
        assert Tls(files).identity == WORKER


def test_files_that_do_not_fit(made: Path, tmp_path: Path) -> None:
    files = issued(made, tmp_path / "a")
    other = issued(made, tmp_path / "b")
    mixed = TlsSettings(files.ca_file, files.cert_file, other.key_file)
    with pytest.raises(InvalidField, match=r"^tls.key_file: .* do not fit: .*mismatch"):
        Tls(mixed)
    with pytest.raises(InvalidField, match=r"^tls.ca_file: .* holds none in PEM form"):
        Tls(TlsSettings(files.key_file, files.cert_file, files.key_file))
    with pytest.raises(InvalidField, match=r"^tls.cert_file: cannot read .*No such file"):
        Tls(TlsSettings(files.ca_file, str(tmp_path / "absent"), files.key_file))
    authority.make_authority(tmp_path / "ca2")
    with pytest.raises(InvalidField, match=r"^tls.cert_file: .* is not valid under .*ca.pem"):
        Tls(TlsSettings(str(tmp_path / "ca2/ca.pem"), files.cert_file, files.key_file))
    locked = authority.serialization.load_pem_private_key(
        Path(files.key_file).read_bytes(), None
    ).private_bytes(
        authority.serialization.Encoding.PEM,
        authority.serialization.PrivateFormat.PKCS8,
        authority.serialization.BestAvailableEncryption(b"pass"),
    )
    Path(files.key_file).write_bytes(locked)
    with pytest.raises(InvalidField, match=r"^tls.key_file: .* asks for a passphrase"):
        Tls(files)


def test_an_expired_certificate_does_not_start_anything(made: Path, tmp_path: Path) -> None:
    files = issued(made, tmp_path, days=0.3 / 86400)
    time.sleep(0.35)
    with pytest.raises(InvalidField, match=r"has expired; `tango certs issue` makes a new one"):
        Tls(files)


def test_a_daemon_wants_its_own_certificate(made: Path, tmp_path: Path) -> None:
    tls = Tls(issued(made, tmp_path))
    tls.require(Role.WORKER, "n1")
    tls.require(Role.WORKER)
    for role, name in ((Role.WORKER, "n2"), (Role.EDGE, "n1"), (Role.EDGE, "")):
        with pytest.raises(InvalidField, match=r"^tls.cert_file: .* is for worker n1, this is"):
            tls.require(role, name)


def test_a_certificate_without_a_role(made: Path, tmp_path: Path) -> None:
    files = issued(made, tmp_path)
    key, ca = authority._authority(made)
    own = authority.serialization.load_pem_private_key(Path(files.key_file).read_bytes(), None)
    now = dt.datetime.now(dt.UTC)
    uris = ["tango://user/a", "tango://worker/n1"]
    for stated in ([], uris, ["tango://root/a"], ["https://example.org/"]):
        builder = authority._builder(
            authority.x509.Name([]),
            ca.subject,
            own.public_key(),
            now,
            dt.timedelta(1),  # type: ignore[arg-type]
        )
        names = [authority.x509.UniformResourceIdentifier(uri) for uri in stated]
        if names:
            builder = builder.add_extension(authority.x509.SubjectAlternativeName(names), False)
        made_cert = builder.sign(key, authority.hashes.SHA256())
        encoded = made_cert.public_bytes(authority.serialization.Encoding.PEM)
        Path(files.cert_file).write_bytes(encoded)
        with pytest.raises(InvalidField, match="states no role, or more than one"):
            Tls(files)


@pytest.mark.parametrize("days", [0.5, 400, 365 * 30, 365 * 70])
def test_expiry_is_read_from_the_certificate(tmp_path: Path, days: float) -> None:
    key = authority.ec.generate_private_key(authority.ec.SECP256R1())
    name = authority.x509.Name([])
    now = dt.datetime.now(dt.UTC)
    built = authority._builder(name, name, key.public_key(), now, dt.timedelta(days=days))
    certificate = built.sign(key, authority.hashes.SHA256())
    pem = certificate.public_bytes(authority.serialization.Encoding.PEM)
    assert expiry(pem) == certificate.not_valid_after_utc.timestamp()
    for cut in range(0, len(pem) - 30, 7):
        assert expiry(pem[:cut] + b"\n-----END CERTIFICATE-----") in (0.0, expiry(pem))
