"""60 random `kill -9` under load, so that each suite run sees some; 200 take a minute and a half.

They are `tools/chaos`, whose default they are.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

KILLS = 60
CHAOS = Path(__file__).with_name("chaos_run.py")


@pytest.mark.timeout(240)
def test_nothing_is_lost_doubled_or_left_behind(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    words = ["--kills", str(KILLS), "--seed", "11", "--pace", "0.2", "--report", str(report)]
    done = subprocess.run(
        [sys.executable, str(CHAOS), *words], capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(report.read_text())
    assert found["wrong"] == []
    assert found["n_kills"] >= KILLS
    # It was an attack on a cluster at work: a run in which nothing happened would prove nothing.
    assert {kill.partition("-")[0] for kill in found["kills"]} == {
        "central",
        "node",
        "site",
        "supervisor",
    }
    assert found["n_kills_of_serving"] >= KILLS / 3
    assert found["calls"]["ok"] >= 30
    assert found["jobs"]["acknowledged"] >= 50
    assert found["jobs"]["runs"] >= found["jobs"]["acknowledged"]
