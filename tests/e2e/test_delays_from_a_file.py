"""A central master with delays from a file: it takes them, and ends when it is told to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

CONFIG = """\
[server]
listen = "127.0.0.1:0"
state_dir = "state"
token_file = "token"

[delays]
source = "file"
path = "rtt.toml"
every_s = 60
"""


def test_sigterm_ends_it_in_the_midst_of_a_pause(tmp_path: Path) -> None:
    (tmp_path / "central.toml").write_text(CONFIG)
    (tmp_path / "rtt.toml").write_text("[rtt_ms.a1]\na2 = 5\n")
    (tmp_path / "token").touch(mode=0o600)
    (tmp_path / "token").write_text("x" * 44)
    log = tmp_path / "log"
    argv = [sys.executable, "-P", "-m", "tango.daemons", "central", "-c", "central.toml"]
    with (
        log.open("wb") as out,
        subprocess.Popen(
            argv, cwd=tmp_path, stdout=out, stderr=out, env={**os.environ, "PYTHONUNBUFFERED": "1"}
        ) as central,
    ):
        try:
            end = time.monotonic() + 30
            while b"serving" not in log.read_bytes():
                assert central.poll() is None, log.read_text()
                assert time.monotonic() < end, log.read_text()
                time.sleep(0.05)
            central.send_signal(signal.SIGTERM)
            assert central.wait(10) == 0, log.read_text()
        finally:
            central.kill()
