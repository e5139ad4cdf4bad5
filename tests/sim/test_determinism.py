"""The same scenario and seed: the same log, byte by byte, in every process."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("ortools")

from dump_log import eventful

from tango.sim.run import simulate

PROGRAM = Path(__file__).with_name("dump_log.py")


def printed(hash_seed: str) -> str:
    done = subprocess.run(
        [sys.executable, str(PROGRAM)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        timeout=120,
    )
    return done.stdout


@pytest.fixture(scope="module")
def log() -> str:
    text = io.StringIO()
    simulate(eventful(), log=text)
    return text.getvalue()


def test_other_processes_write_the_same_bytes(log: str) -> None:
    assert printed("1") == log
    assert printed("2") == log


def test_the_log_tells_of_all_daemons_and_of_most_decisions(log: str) -> None:
    lines = [json.loads(line) for line in log.splitlines()]
    assert {line["daemon"].split()[0] for line in lines} == {"central", "edge", "worker"}
    kinds = {line["kind"] for line in lines}
    assert kinds >= {"route", "end", "forward", "job-place", "node-state", "resize", "attempt-end"}
    assert "lost" not in kinds


def test_another_seed_another_log(log: str) -> None:
    text = io.StringIO()
    simulate(replace(eventful(), seed=1), log=text)
    assert text.getvalue() != log


def test_a_log_changes_nothing_but_itself(log: str) -> None:
    text = io.StringIO()
    logged = simulate(eventful(), log=text)
    assert text.getvalue() == log
    assert simulate(eventful()).report == logged.report
