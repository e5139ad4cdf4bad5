"""Rotation of the supervisor's logs: bounded, in order, cut between lines."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tango.supervisor.log import RotatingLog, log_files
from tango.supervisor.store import KeptLogs


def read_all(path: Path) -> bytes:
    return b"".join(Path(each).read_bytes() for each in reversed(log_files(str(path))))


def test_it_rotates_before_a_line_that_does_not_fit(tmp_path):
    path = tmp_path / "a.log"
    log = RotatingLog(str(path), 10, 3)
    for line in (b"1234\n", b"5678\n", b"abc\n", b"longer than one\n", b"end\n"):
        log.write(line)
    log.close()
    assert path.read_bytes() == b"n one\nend\n"
    assert Path(f"{path}.1").read_bytes() == b"longer tha"
    assert Path(f"{path}.2").read_bytes() == b"abc\n"
    assert not Path(f"{path}.3").exists()


def test_a_single_file_begins_anew(tmp_path):
    path = tmp_path / "a.log"
    log = RotatingLog(str(path), 8, 1)
    log.write(b"one\ntwo\nthree\n")
    log.close()
    assert log_files(str(path)) == [str(path)]
    assert path.read_bytes() == b"three\n"


def test_it_goes_on_where_an_earlier_one_stopped(tmp_path):
    path = tmp_path / "a.log"
    for text in (b"first\n", b"second\n"):
        log = RotatingLog(str(path), 10, 2)
        log.write(text)
        log.close()
    assert read_all(path) == b"first\nsecond\n"


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.binary(max_size=60) | st.just(b"line\n"), max_size=20),
    st.integers(4, 40),
    st.integers(1, 4),
)
def test_what_is_kept_is_the_newest_and_bounded(tmp_path_factory, parts, max_bytes, files):
    path = tmp_path_factory.mktemp("log") / "a.log"
    log = RotatingLog(str(path), max_bytes, files)
    for part in parts:
        log.write(part)
    log.close()
    kept = log_files(str(path))
    assert len(kept) <= files
    assert all(Path(each).stat().st_size <= max_bytes for each in kept)
    written = b"".join(parts)
    assert written.endswith(read_all(path))
    if len(written) <= max_bytes:
        assert read_all(path) == written
    assert log.lost_bytes == 0


def test_a_full_disk_costs_output_not_the_program():
    log = RotatingLog("/dev/full", 1 << 20, 2)
    log.write(b"x" * 100)
    assert log.lost_bytes == 100
    log.close()


def test_a_directory_that_goes_away_costs_output_only(tmp_path):
    place = tmp_path / "logs"
    place.mkdir()
    log = RotatingLog(str(place / "a.log"), 10, 2)
    log.write(b"12345678")
    (place / "a.log").unlink()
    place.rmdir()
    log.write(b"abc\ndef\n")
    assert log.lost_bytes > 0
    place.mkdir()
    log.write(b"again\n")
    log.close()
    assert (place / "a.log").read_bytes().endswith(b"again\n")


@pytest.fixture
def no_problem():
    problems: list[object] = []
    yield lambda *problem: problems.append(problem)
    assert problems == []


def test_kept_logs_are_bounded_oldest_first(tmp_path, no_problem):
    kept = KeptLogs(str(tmp_path), no_problem, max_logs=3, max_bytes=100)
    for number in range(5):
        (tmp_path / f"k{number}.log").write_bytes(b"x" * 10)
        (tmp_path / f"k{number}.log.1").write_bytes(b"x" * 10)
        kept.keep(f"k{number}")
    assert sorted(each.name for each in tmp_path.glob("*.log")) == ["k2.log", "k3.log", "k4.log"]
    assert len(list(tmp_path.iterdir())) == 6
    (tmp_path / "big.log").write_bytes(b"x" * 90)
    kept.keep("big")
    assert [each.name for each in tmp_path.iterdir()] == ["big.log"]
    again = KeptLogs(str(tmp_path), no_problem, max_logs=3, max_bytes=100)
    (tmp_path / "live.log").write_bytes(b"x" * 90)
    again.adopt({"live"})
    (tmp_path / "new.log").write_bytes(b"x" * 20)
    again.keep("new")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["live.log", "new.log"]
