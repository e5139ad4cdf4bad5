"""Round trips from files, Goldpinger and our own pings: the same delays of the same topology.

The topology of edge-scheduler.md: e1-e2 10, e1-e3 20, e2-e3 20, edge-cloud 50 ms. Goldpinger's
answers come from a real HTTP server; our own pings from edge controllers on a fake clock.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hostile_registry import HostileRegistry, answer, flood, silence, trickle

from tango.adapters.delay_files import DelayFile, read_delays
from tango.adapters.goldpinger import MAX_PROBLEMS, Goldpinger, read_check_all
from tango.adapters.registry_errors import BadReply
from tango.adapters.registry_transport import Retry
from tango.algorithms.placement.measured_delays import delays_of, delays_through_edges
from tango.model.errors import InvalidField, Unavailable
from tango.model.round_trips import RoundTrip
from tango.ports import RoundTripSource

NAMES = ("cloud-1", "edge-1", "edge-2", "edge-3")
RTT_MS = [[0, 50, 50, 50], [50, 0, 10, 20], [50, 10, 0, 20], [50, 20, 20, 0]]
NOW = 1_800_000_000.0
FAST = Retry(attempts=2, first_s=0.001, max_s=0.002, attempt_s=0.5)


def ping_time(age_s: float) -> str:
    then = dt.datetime.fromtimestamp(NOW - age_s, dt.UTC)
    return then.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def result(ms: float | None, age_s: float = 1.0, **more: object) -> dict[str, Any]:
    """As Goldpinger 3 encodes a PodResult: a time of 0 is left out."""
    found: dict[str, Any] = {"OK": True, "PingTime": ping_time(age_s), "status-code": 200}
    if ms:
        found["response-time-ms"] = ms
    return found | more


def check_all() -> dict[str, Any]:
    """Pods named by a hash, as a DaemonSet's are; their hosts have addresses."""
    hosts = {name: f"10.0.0.{at}" for at, name in enumerate(NAMES)}
    pods = {name: f"goldpinger-{at}x" for at, name in enumerate(NAMES)}
    return {
        "OK": True,
        "hosts-number": len(NAMES),
        "hosts": [{"podName": pods[name], "hostIP": hosts[name]} for name in NAMES],
        "responses": {
            pods[one]: {
                "OK": True,
                "HostIP": hosts[one],
                "response": {
                    "podResults": {
                        pods[other]: result(RTT_MS[row][column], HostIP=hosts[other])
                        for column, other in enumerate(NAMES)
                    }
                },
            }
            for row, one in enumerate(NAMES)
        },
    }


NODE_OF = {f"10.0.0.{at}": name for at, name in enumerate(NAMES)}


def goldpinger(there: HostileRegistry, **more: Any) -> Goldpinger:
    return Goldpinger(
        f"http://{there.host}", NODE_OF, clock=lambda: NOW, retry=FAST, timeout_s=2.0, **more
    )


@pytest.fixture(name="there")
async def _there() -> AsyncIterator[HostileRegistry]:
    async with HostileRegistry() as running:
        yield running


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def toml_file(tmp: Path) -> DelayFile:
    rows = [
        f"[rtt_ms.{one}]\n"
        + "".join(f"{other} = {RTT_MS[i][j]}\n" for j, other in enumerate(NAMES) if j > i)
        for i, one in enumerate(NAMES)
    ]
    return DelayFile(write(tmp / "rtt.toml", "\n".join(rows)))


def json_file(tmp: Path) -> DelayFile:
    rows = {one: dict(zip(NAMES, RTT_MS[i], strict=True)) for i, one in enumerate(NAMES)}
    return DelayFile(write(tmp / "rtt.json", json.dumps(rows)))


def csv_file(tmp: Path) -> DelayFile:
    rows = [",".join(["", *NAMES])]
    rows += [",".join([one, *map(str, RTT_MS[i])]) for i, one in enumerate(NAMES)]
    return DelayFile(write(tmp / "rtt.csv", "\n".join(rows) + "\n"))


def matrix_file(tmp: Path) -> DelayFile:
    """The two files of kubernetes-edge-scheduler."""
    text = "\n".join("  ".join(map(str, row)) for row in RTT_MS)
    names = {name: at for at, name in enumerate(NAMES)}
    return DelayFile(write(tmp / "rtt.txt", text), write(tmp / "nodes.json", json.dumps(names)))


@pytest.mark.parametrize("kind", ["toml", "json", "csv", "matrix", "goldpinger"])
async def test_each_source_gives_the_delays_of_the_acceptance_topology(
    kind: str, tmp_path: Path, there: HostileRegistry
) -> None:
    there.answers["/check_all"] = [answer(200, check_all())]
    files = {"toml": toml_file, "json": json_file, "csv": csv_file, "matrix": matrix_file}
    source: RoundTripSource
    if kind == "goldpinger":
        async with goldpinger(there) as source:
            found = await source.measure()
    else:
        source = files[kind](tmp_path)
        found = await source.measure()
    assert found.problems == ()
    read = delays_of(NAMES, found.trips, max_age_s=120)
    assert [[ms / 1000 for ms in row] for row in RTT_MS] == [
        read.delays.row(at).tolist() for at in range(4)
    ]
    assert (read.pairs, read.unmeasured, read.stale, read.strangers) == (6, 0, 0, ())
    assert read.one_way == (6 if kind == "toml" else 0)


# ---- what measurements leave open


def test_both_directions_count_and_the_greater_one_of_them() -> None:
    trips = [
        RoundTrip("a", "b", 0.010),
        RoundTrip("b", "a", 0.030),
        RoundTrip("a", "c", 0.005),
        RoundTrip("a", "a", 9.0),
        RoundTrip("c", "b", 0.001, age_s=500.0),
        RoundTrip("x", "b", 0.001),
    ]
    read = delays_of("abc", trips, max_age_s=120)
    assert read.delays.row(0).tolist() == [0.0, 0.030, 0.005]
    assert read.delays.row(2).tolist() == [0.005, float("inf"), 0.0]
    assert (read.pairs, read.one_way, read.unmeasured, read.stale) == (3, 1, 1, 1)
    assert read.strangers == ("x",)
    assert read.sentence() == (
        "2 of 3 pairs measured; 1 of them in one direction; 1 measurements too old; unknown: x"
    )
    with pytest.raises(InvalidField, match="a is there twice"):
        delays_of("aba", trips)
    with pytest.raises(InvalidField, match="max_age_s"):
        delays_of("abc", trips, max_age_s=-1)


def test_by_way_of_edges_each_part_of_the_way_counts() -> None:
    trips = [
        RoundTrip("west", "west/a", 0.001),
        RoundTrip("west", "west/b", 0.002),
        RoundTrip("east", "east/c", 0.003),
        RoundTrip("west", "east", 0.020),
        RoundTrip("east", "west", 0.022),
    ]
    names = ("east/c", "west/a", "west/b", "west/d")
    read = delays_through_edges(names, trips)
    assert read.delays.row(1).tolist() == pytest.approx([0.026, 0.0, 0.003, float("inf")])
    assert (read.pairs, read.unmeasured) == (1, 0)
    with pytest.raises(InvalidField, match="names no node of an edge"):
        delays_through_edges(("a",), trips)


# ---- files that are wrong


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        ("r.csv", "", "document: is empty"),
        ("r.csv", ",a,b\na,0,10\nb,x,0\n", r"r.csv:3: b.a: 'x' is no number; use 0 to 60000 ms"),
        ("r.csv", ",a,b\na,0\nb,1,0\n", r"r.csv:2: row a: has 1 values, the first row names 2"),
        ("r.csv", ",a,b\na,0,-1\n", r"r.csv:2: a.b: -1.0 ms is out of range"),
        ("r.csv", ",a,b\na,0,nan\n", r"r.csv:2: a.b: -1 ms is out of range"),
        ("r.csv", ",a,a\n", "a is there twice"),
        ("r.csv", ",a,b\na,0,1\na,0,1\n", r"r.csv:3: row: a is there twice"),
        ("r.csv", ",a,\na,0,1\n", "names no node in one of its cells"),
        ("r.toml", "[rtt_ms.a]\nb = -5\n", r"r.toml:2: rtt_ms.a.b: -5 is out of range"),
        ("r.toml", "[rtt_ms.a]\nb = '5'\n", r"r.toml:2: rtt_ms.a.b: is the text '5'"),
        ("r.toml", "[rtt.a]\nb = 5\n", "rtt_ms: is missing"),
        ("r.json", '{"a": {"b": 1, "b": 2}}', "b: is there twice"),
        ("r.json", '{"a": {"b": true}}', "a.b: True is no number"),
        ("r.json", '{"a": {"b": NaN}}', "NaN is no time"),
        ("r.json", '{"a": {"b": 1e9}}', "a.b: 1000000000.0 ms is out of range"),
        ("r.json", '{"a": 3}', "a: is no object of times by target"),
        ("r.json", '{"a": {\n"b": }}', r"r.json:2:6: document: is not JSON"),
        ("r.json", "[" * 100_000, "is not JSON that can be read"),
        ("r.txt", "0 1\n1 0\n", "names: are missing"),
    ],
)  # fmt: skip
def test_a_wrong_file_names_the_row_and_the_fix(
    tmp_path: Path, name: str, text: str, wanted: str
) -> None:
    with pytest.raises(InvalidField, match=wanted):
        read_delays(write(tmp_path / name, text))


@pytest.mark.parametrize(
    ("names", "matrix", "wanted"),
    [
        ('{"a": 0, "b": 1}', "0 1\n1 0\n1 1\n", "has 3 rows, and there are 2 names"),
        ('{"a": 0, "b": 1}', "0 1\n\n1\n", r"m.txt:3: row b: has 1 values"),
        ('{"a": 0, "b": 1}', "0 1\n1 z\n", r"m.txt:2: b.b: 'z' is no number"),
        ('{"a": 0, "b": 0}', "0 1\n1 0\n", "b: 0 is no row of its own; number the names 0 to 1"),
        ("{}", "", "names: are 0"),
    ],
)
def test_a_wrong_matrix_names_the_row_and_the_fix(
    tmp_path: Path, names: str, matrix: str, wanted: str
) -> None:
    with pytest.raises(InvalidField, match=wanted):
        read_delays(write(tmp_path / "m.txt", matrix), write(tmp_path / "n.json", names))


# ---- Goldpinger's document


def read(document: object) -> Any:
    return read_check_all(json.dumps(document).encode(), NODE_OF, NOW)


def test_what_goldpinger_failed_to_measure_is_left_out_and_said() -> None:
    document = check_all()
    responses = document["responses"]
    responses["goldpinger-1x"] = {"OK": False, "HostIP": "10.0.0.1", "error": "timeout\x1b[2J"}
    del responses["goldpinger-3x"]
    responses["goldpinger-2x"]["response"]["podResults"]["goldpinger-3x"] = {
        "OK": False, "HostIP": "10.0.0.3", "error": "refused",
    }  # fmt: skip
    found = read(document)
    assert found.problems == (
        "edge-1 gave no answer: timeout [2J",
        "edge-2 to edge-3 failed: refused",
    )
    delays = delays_of(NAMES, found.trips)
    assert delays.delays.row(2).tolist() == [0.05, 0.01, 0.0, float("inf")]
    assert (delays.one_way, delays.unmeasured) == (3, 2)


def test_old_measurements_are_known_by_their_ping_time() -> None:
    document = check_all()
    results = document["responses"]["goldpinger-1x"]["response"]["podResults"]
    results["goldpinger-2x"] = result(3, age_s=600, HostIP="10.0.0.2")
    results["goldpinger-3x"] = result(3, age_s=-600, HostIP="10.0.0.3")
    results["goldpinger-0x"] = {"OK": True, "HostIP": "10.0.0.0", "response-time-ms": 1}
    ages = {(trip.source, trip.target): trip.age_s for trip in read(document).trips}
    assert ages["edge-1", "edge-2"] == pytest.approx(600)
    assert ages["edge-1", "edge-3"] == 0.0, "a clock that is ahead of ours"
    assert ages["edge-1", "cloud-1"] == 0.0, "Goldpinger 2 says no time"
    assert delays_of(NAMES, read(document).trips, max_age_s=60).stale == 1


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({"responses": []}, None),
        ({"responses": [1]}, "responses: no object"),
        ({"responses": {"a": 5}}, "responses.a: no object"),
        ({"responses": {"a": {"OK": True, "response": 5}}}, "responses.a.response: no object"),
        ({"responses": {str(n): {} for n in range(2001)}}, "2001 responses, more than 2000"),
    ],
)
def test_a_document_that_is_none_is_refused(change: dict[str, Any], wanted: str | None) -> None:
    if wanted is None:
        assert read(change).trips == ()
        return
    with pytest.raises(BadReply, match=wanted):
        read(change)


@pytest.mark.parametrize(
    ("one", "wanted"),
    [
        (result(5, **{"response-time-ms": "5"}), "response-time-ms is no number"),
        (result(5, PingTime="yesterday"), "PingTime is no date and time"),
        (result(5, PingTime="2026-01-01T00:00:00"), "PingTime is no date and time"),
        (result(5, PingTime=7), "PingTime is no date and time"),
        (7, "no object"),
    ],
)
def test_a_result_that_is_none_is_refused(one: object, wanted: str) -> None:
    responses = {"a": {"OK": True, "response": {"podResults": {"b": one}}}}
    with pytest.raises(BadReply, match=wanted):
        read({"responses": responses})


def test_a_lie_about_time_is_not_believed_and_problems_are_bounded() -> None:
    results = {f"p{n}": result(10**400 if n % 2 else -1) for n in range(200)}
    found = read({"responses": {"a": {"OK": True, "response": {"podResults": results}}}})
    assert found.trips == ()
    assert len(found.problems) == MAX_PROBLEMS + 1
    assert found.problems[-1] == f"and {200 - MAX_PROBLEMS} more"
    assert all(len(problem) < 300 for problem in found.problems)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[" * 200_000, b"[]", b'"x"', b"\xff\xfe\xfd"])
def test_no_document_at_all(body: bytes) -> None:
    with pytest.raises(BadReply):
        read_check_all(body, {}, NOW)


# ---- Goldpinger's server


async def test_goldpinger_that_is_down_slow_busy_or_endless(there: HostileRegistry) -> None:
    there.answers["/check_all"] = [answer(503), answer(200, check_all())]
    async with goldpinger(there) as source:
        assert len((await source.measure()).trips) == 16
        there.answers["/check_all"] = [answer(404)]
        with pytest.raises(Unavailable, match="answered 404"):
            await source.measure()
        for never in (silence, trickle):
            there.answers["/check_all"] = [never]
            with pytest.raises(Unavailable, match="no answer in time"):
                await source.measure()
    there.answers["/check_all"] = [flood]
    async with goldpinger(there, max_bytes=2**20) as source:
        with pytest.raises(BadReply, match="larger than 1048576 bytes"):
            await source.measure()
    async with HostileRegistry() as gone:
        pass
    async with goldpinger(gone) as source:
        with pytest.raises(Unavailable, match="2 tries"):
            await source.measure()


@pytest.mark.parametrize("url", ["", "goldpinger:8080", "ftp://x", "http://", "http://u:p@x"])
def test_a_url_that_is_none(url: str) -> None:
    with pytest.raises(InvalidField, match=r"goldpinger.url"):
        Goldpinger(url)
