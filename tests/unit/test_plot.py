"""The plot of a run: for every kind of timeline and file; clear errors where there can be none."""

from __future__ import annotations

import importlib.util
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from tango.cli.figure_file import check_plot
from tango.cli.plot import write_plot
from tango.model.errors import InvalidField
from tango.workload.timeline import (
    JobSecond,
    NodeSecond,
    ServiceSecond,
    Timeline,
    TimelineRow,
)

needs_matplotlib = pytest.mark.skipif(
    importlib.util.find_spec("matplotlib") is None, reason="matplotlib is not installed"
)


def row(t_s: float, nodes: int = 2, services: int = 2) -> TimelineRow:
    second = ServiceSecond(10, 7, 1, 1, 1, 12.0, 80.0 + t_s)
    return TimelineRow(
        t_s,
        {f"service-{number}": second for number in range(services)},
        {f"w{number}": NodeSecond(300.0, 500.5, 1000) for number in range(nodes)},
        JobSecond(1, 2, int(t_s), 1),
    )


def size(path: Path) -> tuple[int, int]:
    """Width and height out of the PNG's header."""
    head = path.read_bytes()[:24]
    assert head.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", head[16:])
    return width, height


@needs_matplotlib
def test_writes_a_png_without_pyplot(tmp_path: Path) -> None:
    path = tmp_path / "run.png"
    timeline = Timeline(tuple(row(float(t)) for t in range(1, 11)), {"service-0": 50.0}, "A run")
    write_plot(timeline, path)
    width, height = size(path)
    assert 1200 < width < 2000
    assert 800 < height < 1500
    assert "matplotlib.pyplot" not in sys.modules
    assert list(tmp_path.iterdir()) == [path]


@needs_matplotlib
@pytest.mark.parametrize(
    "rows",
    [
        (),
        (TimelineRow(1.0),),
        (row(1.0, nodes=11, services=8),),
        # A service that answers nothing, one that comes late, a node that comes and goes.
        (
            TimelineRow(
                1.0,
                {"a": ServiceSecond(5, rejected=5)},
                {"w": NodeSecond(0, 0, 0)},
            ),
            row(2.0),
            TimelineRow(5.0, {"a": ServiceSecond(1, failed=1)}),
        ),
    ],
    ids=["nothing", "silence", "crowd", "gaps"],
)
def test_odd_timelines_are_drawn(tmp_path: Path, rows: tuple[TimelineRow, ...]) -> None:
    write_plot(Timeline(rows), tmp_path / "run.png")
    assert size(tmp_path / "run.png")[0] > 1200


@needs_matplotlib
def test_a_place_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    taken = tmp_path / "folder.png"
    taken.mkdir()
    with pytest.raises(InvalidField, match="is a folder"):
        check_plot(taken)
    with pytest.raises(InvalidField, match="cannot be written: File name too long"):
        write_plot(Timeline(()), tmp_path / f"{'a' * 250}.png")
    assert list(tmp_path.iterdir()) == [taken]
    with pytest.raises(InvalidField, match="there is no folder"):
        check_plot(tmp_path / "none" / "run.png")


@needs_matplotlib
@pytest.mark.parametrize(
    ("name", "begins"), [("r.svg", b"<?xml"), ("r.pdf", b"%PDF"), ("r.PNG", b"\x89PNG")]
)
def test_the_file_is_what_its_name_ends_in_and_the_same_each_time(
    tmp_path: Path, name: str, begins: bytes
) -> None:
    written = []
    for _ in range(2):
        write_plot(Timeline((row(1.0), row(2.0))), tmp_path / name)
        written.append((tmp_path / name).read_bytes())
    assert written[0].startswith(begins)
    assert written[0] == written[1]
    assert (b"<svg" in written[0]) == (name == "r.svg")


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("run.jpg", "ends in '.jpg', which is no picture; use .png, .svg or .pdf"),
        ("run", "has no ending"),
        (".png", "has no ending"),
    ],
)
def test_a_name_that_ends_in_no_picture_is_refused(tmp_path: Path, name: str, problem: str) -> None:
    with pytest.raises(InvalidField, match=re.escape(problem)):
        check_plot(tmp_path / name)


def test_without_matplotlib_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InvalidField, match=r"the extra `plot`"):
        write_plot(Timeline(()), tmp_path / "run.png")


def test_matplotlib_is_not_imported_before_a_plot_is_drawn() -> None:
    code = "import sys, tango.cli.plot; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_timeline_refuses_disorder_and_names_what_it_holds() -> None:
    with pytest.raises(ValueError, match="order of time"):
        Timeline((row(2.0), row(2.0)))
    timeline = Timeline((row(1.0, nodes=1, services=1), row(2.0, nodes=3, services=2)))
    assert timeline.service_names == ("service-0", "service-1")
    assert timeline.node_names == ("w0", "w1", "w2")
