"""The same events give the same records, byte by byte, whatever the hash seed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from decision_scenario import story

from tango.model.decision import FORMS

SCENARIO = Path(__file__).with_name("decision_scenario.py")


def printed(seed: str) -> str:
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    done = subprocess.run(
        [sys.executable, str(SCENARIO)],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
        timeout=60,
    )
    return done.stdout


@pytest.fixture(scope="module")
def lines() -> list[str]:
    return story()


def test_the_same_story_gives_the_same_bytes(lines: list[str]) -> None:
    text = "\n".join(lines) + "\n"
    assert printed("1") == text
    assert printed("2") == text


def test_every_kind_of_record_is_made_in_the_story(lines: list[str]) -> None:
    kinds = {json.loads(line)["kind"] for line in lines}
    assert kinds == {form.kind for form in FORMS}
