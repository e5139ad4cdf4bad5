"""`tools/guest`: the parts that need no guest."""

from __future__ import annotations

import importlib
import tarfile
from pathlib import Path
from types import ModuleType

import pytest

TOOL = Path(__file__).parents[2] / "tools/guest_vm"
JUNIT = """<?xml version="1.0"?><testsuites><testsuite name="pytest">
<testcase classname="a" name="fine"/>
<testcase classname="a" name="wrong"><failure message="x"/></testcase>
<testcase classname="a" name="broken"><error message="x"/></testcase>
<testcase classname="a" name="left out"><skipped message="x"/></testcase>
</testsuite></testsuites>"""


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> dict[str, ModuleType]:
    monkeypatch.syspath_prepend(str(TOOL))

    names = ("debian", "machine", "payload", "results", "said")
    return {name: importlib.import_module(name) for name in names}


def test_a_report_is_counted(tool: dict[str, ModuleType]) -> None:
    told = tool["results"].counts(JUNIT)
    assert (told.passed, told.failed, told.skipped) == (1, 2, 1)
    assert told.problems == ("a::wrong", "a::broken")
    with pytest.raises(ValueError, match="JUnit"):
        tool["results"].counts("nothing")


def test_results_that_are_missing_are_a_failure(
    tool: dict[str, ModuleType], tmp_path: Path
) -> None:

    results, machine = tool["results"], tool["machine"]
    console = tmp_path / "console.log"
    console.write_text("")
    (tmp_path / "contract.xml").write_text(JUNIT.replace("failure", "skipped"))
    passing = JUNIT.split("<testcase")[0] + '<testcase classname="a" name="fine"/>'
    (tmp_path / "contract.xml").write_text(passing + "</testsuite></testsuites>")
    disk = tmp_path / "results.tar"
    with tarfile.open(disk, "w") as tar:
        tar.add(tmp_path / "contract.xml", "contract.xml")

    def judged(*suites: str, finished: bool = True) -> bool:
        found = machine.Found(disk, console, finished)
        return results.bring_back(found, tmp_path / "out", suites)

    assert judged("contract")
    assert not judged("contract", "systemd")
    assert not judged("contract", finished=False), "its time was up"
    disk.write_bytes(bytes(10240))
    assert not judged("contract"), "a disk that the guest never wrote to"


def test_the_next_version(tool: dict[str, ModuleType]) -> None:
    assert tool["payload"].bumped("0.1.0") == "0.1.1"
    assert tool["payload"].bumped("1.9") == "1.10"
    with pytest.raises(tool["said"].GuestFailed, match="0rc1"):
        tool["payload"].bumped("1.0rc1")


def test_the_machine_has_no_network_and_throws_its_disk_away(
    tool: dict[str, ModuleType], tmp_path: Path
) -> None:
    image = tool["debian"].Image(tmp_path / "disk.img", tmp_path / "k", tmp_path / "i")
    argv = tool["machine"].argv(image, tmp_path / "o", tmp_path / "p", tmp_path / "r")
    assert argv[argv.index("-nic") + 1] == "none"
    assert str(image.disk) not in " ".join(argv), "only the overlay is written"
    payload = next(word for word in argv if "id=payload" in word)
    assert "readonly=on" in payload
