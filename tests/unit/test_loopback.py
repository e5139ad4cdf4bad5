"""Who shares a loopback interface, and who does not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tango.adapters.loopback import BOOT_ID_VARIABLE, loopback_identity

ASK = "from tango.adapters.loopback import loopback_identity; print(loopback_identity())"


def asked(*before: str, **environment: str) -> str:
    done = subprocess.run(
        [*before, sys.executable, "-c", ASK],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
        env=os.environ | environment,
    )
    return done.stdout.strip()


def test_processes_of_one_machine_and_namespace_agree() -> None:
    assert loopback_identity() == asked() != ""


def test_a_unit_that_hides_proc_sys_says_the_same_by_its_environment() -> None:
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert asked(**{BOOT_ID_VARIABLE: boot_id.replace("-", "")}) == loopback_identity()
    assert asked(**{BOOT_ID_VARIABLE: "0" * 32}) != loopback_identity()


def test_another_network_namespace_is_another_loopback() -> None:
    tried = subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False)
    if tried.returncode:
        pytest.skip("no network namespaces here")
    other = asked("unshare", "--net")
    assert other not in ("", loopback_identity())
