"""The reader under all trace formats: gzip, files without a header, broken rows, memory."""

from __future__ import annotations

import gzip
import tracemalloc
from pathlib import Path

import pytest

from tango.adapters.cluster_traces import (
    read_instance_events,
    read_job_events,
    read_machine_events,
    read_task_events,
    read_users,
)
from tango.model.errors import InvalidField
from tango.workload.trace_rows import RowError

ROW = "{},,7,0,,0,u=,2,1,0.0125,0.0159,0.0004,0\n"


def rows(*times: int) -> str:
    return "".join(ROW.format(at_us) for at_us in times)


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_gzip_is_unpacked_and_members_follow_each_other(tmp_path: Path) -> None:
    packed = gzip.compress(rows(1, 2).encode()) + gzip.compress(rows(3).encode())
    with read_task_events(write(tmp_path / "part.csv.gz", packed)) as found:
        assert [(event.at_us, event.line) for event in found] == [(1, 1), (2, 2), (3, 3)]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (gzip.compress(rows(*range(999)).encode(), mtime=0)[:-20], "the gzip data is broken"),
        (
            gzip.compress(rows(1).encode(), mtime=0)[:-8] + bytes(8),
            "the gzip data is broken: CRC check",
        ),
        (rows(1).encode(), "the gzip data is broken: Not a gzipped file"),
    ],
)
def test_broken_gzip_is_never_skipped(tmp_path: Path, content: bytes, problem: str) -> None:
    path = write(tmp_path / "part.csv.gz", content)
    for skip in (False, True):
        with pytest.raises(InvalidField, match=problem) as caught:
            list(read_task_events(path, skip_bad_rows=skip))
        assert str(caught.value).startswith(f"{path}:")


def test_empty_gzip(tmp_path: Path) -> None:
    with pytest.raises(RowError, match="no rows at all"):
        list(read_task_events(write(tmp_path / "a.gz", gzip.compress(b""))))


def test_file_that_is_not_there(tmp_path: Path) -> None:
    for name in ("absent.csv", "absent.csv.gz", "."):
        with pytest.raises(InvalidField, match=r"trace: cannot be read: .*; give a file"):
            list(read_job_events(tmp_path / name))


def test_without_a_header_the_first_row_is_a_row(tmp_path: Path) -> None:
    content = "\ufeff" + rows(1).replace("\n", "\r\n") + "\n \n" + rows(2).strip()
    with read_task_events(write(tmp_path / "t.csv", content)) as found:
        assert [(event.at_us, event.line) for event in found] == [(1, 1), (2, 4)]


def test_without_a_header_a_broken_first_row_can_be_skipped(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", b"\xff\n" + rows(5, 3, 5).encode() + b"x" * 70_000)
    with read_task_events(path, skip_bad_rows=True) as found:
        assert [event.at_us for event in found] == [5, 5]
        assert found.skipped == 3
    assert [str(problem) for problem in found.problems] == [
        f"{path}:1: row: not UTF-8 text (byte 0xff at 1); save it as UTF-8",
        f"{path}:3: time: time goes back by 0.0000020 s; sort the rows by time",
        f"{path}:5: row: the line is longer than 65536 bytes",
    ]


def test_only_the_first_problems_are_kept(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "x\n" * 50 + rows(1))
    with read_task_events(path, skip_bad_rows=True) as found:
        assert len(list(found)) == 1
    assert (found.skipped, [problem.line for problem in found.problems]) == (50, [1, 2, 3, 4, 5])


def test_a_json_first_line_is_not_lost(tmp_path: Path) -> None:
    row = (
        '{"time":"1","type":0,"collection_id":"5","instance_index":0,"priority":25,'
        '"scheduling_class":1}'
    )
    with read_instance_events(write(tmp_path / "e.json", f"\n{row}\n{row}\n")) as found:
        assert [event.line for event in found] == [2, 3]


def test_nothing_but_broken_rows(tmp_path: Path) -> None:
    path = write(tmp_path / "m.csv", "x\ny\n")
    with pytest.raises(RowError, match=rf"{path}:3: row: no usable row \(2 broken\)"):
        list(read_machine_events(path, skip_bad_rows=True))


def test_stopping_early_closes_the_file(tmp_path: Path) -> None:
    for name in ("u.csv", "u.csv.gz"):
        content = b"Latitude,Longitude\n1,2\n3,4\n"
        packed = gzip.compress(content) if name.endswith("gz") else content
        with read_users(write(tmp_path / name, packed)) as found:
            assert next(found).latitude == 1
        assert list(found) == []


def test_an_error_closes_the_file(tmp_path: Path) -> None:
    found = read_users(write(tmp_path / "u.csv", "Latitude,Longitude\n91,2\n3,4\n"))
    with pytest.raises(RowError, match=r"u\.csv:2: latitude: 91 is out of range; write -90 to 90"):
        next(found)
    assert list(found) == []  # pytest turns a file left open into an error


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz"])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, name: str) -> None:
    content = rows(*range(6_000)).encode()  # 270 kB
    path = write(tmp_path / name, gzip.compress(content) if name.endswith("gz") else content)
    with read_task_events(path) as found:
        next(found)  # what is imported and cached at first use
    tracemalloc.start()
    try:
        assert sum(1 for _ in read_task_events(path)) == 6_000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 120_000
