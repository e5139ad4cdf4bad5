"""Files of results: refused before anything runs where they would harm or cannot be written."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tango.cli.simulate_outputs import Outputs
from tango.model.errors import InvalidField


def refused(outputs: Outputs, problem: str, *scenarios: Path) -> None:
    with pytest.raises(InvalidField, match=re.escape(problem)):
        outputs.check(scenarios)


def test_no_file_takes_the_place_of_a_scenario_or_of_another(tmp_path: Path) -> None:
    scenario, one = tmp_path / "s.toml", tmp_path / "one.svg"
    scenario.write_text("")
    Outputs(report=tmp_path / "r.json", html=tmp_path / "r.html").check([scenario])
    refused(Outputs(report=scenario), "--report: is a scenario; name another", scenario)
    (tmp_path / "link.json").symlink_to(scenario)
    refused(Outputs(html=tmp_path / "link.json"), "--html: is a scenario", scenario)
    refused(Outputs(report=one, html=one), "--html: is the file of --report too")
    pytest.importorskip("matplotlib", reason="the extra `plot`")
    refused(Outputs(html=one, plot=tmp_path / "x" / ".." / "one.svg"), "there is no folder")
    refused(Outputs(html=one, plot=one), "--plot: is the file of --html too")


def test_each_is_named_by_its_option(tmp_path: Path) -> None:
    nowhere = tmp_path / "none" / "r"
    refused(Outputs(report=nowhere), "--report: there is no folder")
    refused(Outputs(html=nowhere), "--html: there is no folder")
    refused(Outputs(log=nowhere), "--log: there is no folder")
    refused(Outputs(report=Path(os.devnull)), "--report: is no plain file")
    # A log is written as it comes, so that it may go to a device.
    Outputs(log=Path(os.devnull)).check([])
