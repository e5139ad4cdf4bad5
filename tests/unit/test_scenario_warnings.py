"""What a scenario asks for in vain is said before it runs, with its place in the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tango.cli.config import check_file
from tango.cli.simulate_before import look_ahead
from tango.model.errors import InvalidField
from tango.sim.scenario_file import ScenarioFile, parse_change

TEXT = """\
name = "s"
duration_s = 10
warmup_s = 4
[topology]
neighbours = 1
[[topology.sites]]
name = "a"
nodes = 2
cpu = 2
memory = "1Gi"
[[topology.sites]]
name = "b"
cpu = 4
memory = "2Gi"
[[services]]
name = "web"
cpu_ms = 5
deadline_ms = 100
memory = "256Mi"
[[services]]
name = "big"
cpu_ms = 5
deadline_ms = 100
memory = "128Mi"
cpu_per_request = 1
[[loads]]
service = "web"
rate = 10
[[jobs]]
cpu_s = 2
interval_s = 1
cpu = 1
[[failures]]
kind = "node"
at_s = 5
name = "a-1"
[policies]
traffic = "least-loaded"
"""


def warned(tmp_path: Path, *changes: str) -> list[str]:
    path = tmp_path / "s.toml"
    path.write_text(TEXT)
    found = look_ahead([ScenarioFile(path, [parse_change(change) for change in changes])])
    return [line.replace(f"{path}:", "") for line in found.warnings]


def test_what_can_be_done_is_not_warned_of(tmp_path: Path) -> None:
    assert warned(tmp_path) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            ("services[0].memory=2.5Gi", "services[0].memory_per_request=512Mi"),
            (
                "services[0].memory: a replica of web with one request takes 3.0 GiB and 100m CPU; "
                "any site has at most 2.0 GiB and 4 CPU: it serves nothing there; ask for less, or"
            ),
        ),
        (
            ("services[1].cpu_per_request=5",),
            (
                "services[1].cpu_per_request: a replica of big with one request takes 128.0 MiB "
                "and 5 CPU; any site has at most 2.0 GiB and 4 CPU: it serves nothing"
            ),
        ),
        (
            ("services[1].cpu_per_request=3",),
            (
                "services[1].cpu_per_request: a replica of big with one request takes 128.0 MiB "
                "and 3 CPU; 1 of its 2 sites (a) has at most 1.0 GiB and 2 CPU: it serves nothing"
            ),
        ),
        (
            ("jobs[0].memory=4Gi",),
            (
                "jobs[0].memory: a task of job-1 takes 4.0 GiB and 1 CPU, which no node has (the "
                "largest has 2.0 GiB and 4 CPU): it never runs; ask for less"
            ),
        ),
        (
            ("failures[0].at_s=10",),
            "failures[0].at_s: is 10 s, and the load ends at 10 s: this node never fails; let",
        ),
        (
            ("topology.neighbours=2",),
            "topology.neighbours: is 2, and there is 1 other site; use 1",
        ),
        (("topology.peers=5",), "topology.peers: is 5, and there is 1 other site; use 1"),
        (
            ("warmup_s=10",),
            "warmup_s: leaves nothing of the 10 s of load to count; make it shorter",
        ),
    ],
    ids=lambda changes: changes[0] if isinstance(changes, tuple) else "",
)
def test_what_is_asked_in_vain_is_said(
    tmp_path: Path, changes: tuple[str, ...], words: str
) -> None:
    (line,) = warned(tmp_path, *changes)
    assert words in line


def test_warnings_have_their_line_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    path.write_text(TEXT.replace("at_s = 5", "at_s = 50").replace('"256Mi"', '"9Gi"'))
    (first, second) = ScenarioFile(path).warnings(ScenarioFile(path).build())
    assert str(first).startswith(f"{path}:19: services[0].memory: ")
    assert str(second).startswith(f"{path}:35: failures[0].at_s: ")
    words, found = check_file(path)  # `tango config check`
    assert words.startswith("the scenario s ")
    assert [str(each) for each in found] == [str(first), str(second)]


def test_edges_that_forward_nothing_have_no_neighbours_to_want(tmp_path: Path) -> None:
    assert warned(tmp_path, "topology.neighbours=9", "policies.forwarding=false") == []


def test_where_nothing_at_all_can_run_it_is_an_error(tmp_path: Path) -> None:
    services = ("services[0].memory=4Gi", "services[1].memory=4Gi")
    assert len(warned(tmp_path, *services)) == 2  # jobs run
    with pytest.raises(InvalidField) as caught:
        warned(tmp_path, *services, "jobs[0].cpu=64")
    error = str(caught.value)
    assert error.startswith(f"{tmp_path}/s.toml:")
    assert "services[0].memory: a replica of web with one request takes 4.0 GiB" in error
    assert "no other service or job fits either: nothing would run; ask for less" in error


def test_points_of_a_sweep_are_named_where_not_all_are_meant(tmp_path: Path) -> None:
    found = warned(tmp_path, "sweep={'failures[0].at_s'=[1, 20, 30, 40]}", "warmup_s=10")
    assert "warmup_s: " in found[0]
    assert found[1].startswith("at failures[0].at_s = 20: 35: ")
    assert len(found) == 4
    services = warned(tmp_path, "sweep={'services[0].memory'=['8Gi', '64Mi']}")
    assert services[0].startswith("at services[0].memory = 8Gi: ")
    many = warned(tmp_path, f"sweep={{'failures[0].at_s'={list(range(10, 40))}}}")
    assert many[-1] == "... and 18 more"
    assert len(many) == 13
