"""The results that the guest wrote: brought back, counted, judged."""

from __future__ import annotations

import shutil
import tarfile
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

from machine import Found
from said import GuestFailed, say

# What each suite has to leave behind; a guest that forgot one has not passed it.
REPORTS = {
    "contract": ("contract.xml",),
    "checkpoint": ("checkpoint.xml", "migrate.xml"),
    "systemd": ("units.xml", "reboot.xml"),
}


@dataclass(frozen=True)
class Counts:
    """Of one JUnit file."""

    passed: int
    failed: int
    skipped: int
    problems: tuple[str, ...]


def counts(xml: str) -> Counts:
    """What a JUnit report says; ValueError for what is none."""
    try:
        cases = list(ET.fromstring(xml).iter("testcase"))
    except ET.ParseError as error:
        raise ValueError(f"not a JUnit report: {error}") from None
    failed, skipped = [], 0
    for case in cases:
        if case.find("failure") is not None or case.find("error") is not None:
            failed.append(f"{case.get('classname')}::{case.get('name')}")
        elif case.find("skipped") is not None:
            skipped += 1
    passed = len(cases) - len(failed) - skipped
    return Counts(passed, len(failed), skipped, tuple(failed))


def bring_back(found: Found, out: Path, suites: tuple[str, ...]) -> bool:
    """Unpack into `out`, say the counts; whether everything wanted is there and passed."""
    out.mkdir(parents=True, exist_ok=True)
    for name in (name for suite in REPORTS.values() for name in suite):
        (out / name).unlink(missing_ok=True)
    shutil.copy(found.console, out / "console.log")
    try:
        with tarfile.open(found.disk) as tar:
            tar.extractall(out, filter="data")
    except tarfile.TarError as error:
        raise GuestFailed(
            f"the guest brought no results ({error}); see {out}/console.log"
        ) from None
    passed = found.finished
    for name in (name for suite in suites for name in REPORTS[suite]):
        try:
            told = counts((out / name).read_text())
        except (OSError, ValueError) as error:
            say(f"{name}: {error}")
            passed = False
            continue
        say(f"{name}: {told.passed} passed, {told.failed} failed, {told.skipped} skipped")
        for problem in told.problems:
            say(f"  failed: {problem}")
        passed = passed and told.failed == 0 and told.passed > 0
    return passed
