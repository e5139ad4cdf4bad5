"""Files that are written whole or not at all, and places that are refused before the work."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tango.cli.whole_file import check_place, whole_file
from tango.model.errors import InvalidField


def test_what_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text("old")
    words = "report: cannot be written: No space left"
    with pytest.raises(InvalidField, match=words), whole_file(path, "report") as part:  # noqa: PT012
        part.write_text("half")
        raise OSError(28, "No space left on device")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_is_good_is_not_touched_by_the_check(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    check_place(path, "report")
    assert not list(tmp_path.iterdir())
    path.write_text("old")
    check_place(path, "report")
    assert path.read_text() == "old"


def test_a_device_is_no_place_for_a_file() -> None:
    """Renamed over, /dev/null would be a file for everybody."""
    with pytest.raises(InvalidField, match="/dev/null: report: is no plain file"):
        check_place(Path(os.devnull), "report")


def test_bad_places_are_refused_and_fail_the_same_way(tmp_path: Path) -> None:
    for bad, problem in (
        (tmp_path, "is a folder"),
        (tmp_path / "none" / "r.json", "there is no folder"),
        (tmp_path / ("r" * 250), "cannot be written: File name too long"),
        (tmp_path / ("r" * 300), "cannot be written: File name too long"),
    ):
        with pytest.raises(InvalidField, match=f"html: {problem}"):
            check_place(bad, "html")
        words = "html: cannot be written"
        with pytest.raises(InvalidField, match=words), whole_file(bad, "html") as part:
            part.write_text("")
    assert not list(tmp_path.iterdir())
