"""The peak memory of a process is its own, not that of who started it."""

from __future__ import annotations

import subprocess
import sys

CODE = """
from tango.cli.benches.process_memory import peak_rss_mib
before = peak_rss_mib()
held = bytearray(64 * 2**20)
print(before, peak_rss_mib())
"""


def test_a_child_of_a_large_process_is_small() -> None:
    large = bytearray(256 * 2**20)
    done = subprocess.run([sys.executable, "-c", CODE], stdout=subprocess.PIPE, check=True)
    before, after = map(float, done.stdout.split())
    assert before < 128
    assert 60 < after - before < 80
    assert len(large) == 256 * 2**20
