"""The token file: private, plain, and with a token in it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tango.model.errors import InvalidField, Refused
from tango.wire.channels import bearer, open_channel, read_token

TOKEN = "0123456789abcdef"


def written(path: Path, content: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_the_token_without_its_line_end(tmp_path: Path) -> None:
    token = read_token(written(tmp_path / "token", f"{TOKEN}\n".encode()))
    assert bearer(token) == (("authorization", f"Bearer {TOKEN}"),)
    assert read_token(str(written(tmp_path / "ro", TOKEN.encode(), 0o400))) == TOKEN


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601, 0o777])
def test_a_file_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    path = written(tmp_path / "token", TOKEN.encode(), mode)
    with pytest.raises(InvalidField, match=rf"mode 0{mode:o}\); chmod 600 {path}$") as raised:
        read_token(path)
    assert raised.value.field == "token_file"


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"short", b"two words of some length", b"\xff" * 32, b"a" * 5000]
)
def test_what_is_no_token_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(InvalidField, match="token"):
        read_token(written(tmp_path / "token", content))


def test_what_is_no_plain_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidField, match="No such file"):
        read_token(tmp_path / "absent")
    with pytest.raises(InvalidField, match="not a plain file"):
        read_token(tmp_path)
    os.mkfifo(tmp_path / "fifo", 0o600)
    with pytest.raises(InvalidField, match="not a plain file"):
        read_token(tmp_path / "fifo")
    with pytest.raises(InvalidField, match="null"):
        read_token("a\0b")


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a file away needs root")
def test_somebody_elses_file_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "token", TOKEN.encode())
    os.chown(path, 65534, 65534)
    with pytest.raises(InvalidField, match="belongs to uid 65534"):
        read_token(path)


async def test_channels_stay_on_this_machine() -> None:
    with pytest.raises(Refused, match="mutual TLS"):
        open_channel("example.org:7000")
    with pytest.raises(InvalidField, match="port 0"):
        open_channel("127.0.0.1:0")
    with pytest.raises(InvalidField, match="host:port"):
        open_channel("nonsense")
