"""In the guest: the units through restart, kill -9, watchdog, upgrade and a task out of memory."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from pathlib import Path

import pytest
import site_under_test as site
from site_under_test import (
    HERE,
    PAYLOAD,
    PLAN,
    RESULTS,
    TREE,
    UNITS,
    Caller,
    active,
    calls_work,
    client,
    eventually,
    identities,
    job,
    main_pid,
    pids,
    said,
    sh,
    shown,
    submit,
)

from tango.model.cluster import Enforcement
from tango.model.job import JobState

# The most that each may be exposed, as `systemd-analyze security` counts: 0 nothing, 10 everything.
EXPOSURE = {"tango-central": 2.0, "tango-edge": 2.0, "tango-worker": 3.0, "tango-payload": 5.0}
BALLOON = "data = bytearray(300 << 20); data[::4096] = b'x' * len(data[::4096])"


@pytest.fixture(scope="module")
def kept() -> dict[str, str]:
    """Jobs by what they are for; the tests after the reboot read it too."""
    return {}


def payload_now() -> dict[str, tuple[tuple[int, str], ...]]:
    return identities(TREE)


def test_install_and_start() -> None:
    os.environ["PIP_NO_INDEX"] = "1"
    (wheel,) = (HERE / "wheel").glob("*.whl")
    sh("sh", str(HERE / "systemd/install"), str(wheel))
    sh("systemd-analyze", "verify", *(f"/etc/systemd/system/{name}.service" for name in UNITS))
    started = time.monotonic()
    sh("systemctl", "enable", "--now", *UNITS)
    for unit in UNITS:
        assert active(unit), sh("journalctl", "-n", "20", "-u", unit)
        assert shown(unit, "NRestarts") == "0", sh("journalctl", "-n", "40", "-u", unit)
    said(f"four units active after {time.monotonic() - started:.0f} s")


def test_the_node_enforces_in_the_payloads_subtree() -> None:
    def enforced() -> bool:
        with client() as tango:
            return any(
                node.ready and node.enforcement is Enforcement.CGROUP for node in tango.nodes()
            )

    eventually(enforced, "the node to be ready with cgroups")
    assert pids(PAYLOAD) == {"supervisor": (main_pid("tango-payload"),)}
    control = set((PAYLOAD / "cgroup.subtree_control").read_text().split())
    assert {"cpu", "cpuset", "memory"} <= control
    assert (TREE / "be/cpu.idle").read_text().strip() == "1"
    (line,) = Path(f"/proc/{main_pid('tango-worker')}/cgroup").read_text().splitlines()
    assert line == "0::/tango.slice/tango-worker.service"


def test_a_service_and_a_job_run_as_the_payloads_user(kept: dict[str, str]) -> None:
    Path("/run/hello.yaml").write_text(site.SERVICE)
    with client() as tango:
        tango.apply(Path("/run/hello.yaml"), wait_s=site.PATIENCE_S)
    calls_work()
    assert site.carried() >= 1, "the edge does not know the worker of its own machine"
    kept["long"] = submit("long", "/usr/bin/sleep", "86400", retries=3)
    kept["short"] = submit("short", "/usr/bin/true")
    with client() as tango:
        assert tango.wait(kept["short"]).state is JobState.SUCCEEDED
    eventually(lambda: any(name.startswith("be/") for name in pids(TREE)), "the job to run")
    found = pids(TREE)
    assert len([name for name in found if name.startswith("lc/hello/")]) == 2, found
    uid = sh("id", "-u", "tango-payload").strip()
    for inside in found.values():
        for pid in inside:
            status = Path(f"/proc/{pid}/status").read_text()
            assert re.search(rf"^Uid:\s+{uid}\s+{uid}\s+{uid}\s", status, re.MULTILINE), status
            assert re.search(r"^CapEff:\s+0+$", status, re.MULTILINE), status
            assert re.search(r"^NoNewPrivs:\s+1$", status, re.MULTILINE), status
    (leaf, *_) = (TREE / "lc/hello").glob("*/memory.oom.group")
    assert leaf.read_text().strip() == "1"
    site.KEPT.write_text(json.dumps(kept))


def same_payload(before: dict[str, tuple[tuple[int, str], ...]], kept: dict[str, str]) -> None:
    """The same processes, and central knows them as the same attempt."""
    assert payload_now() == before
    record = job(kept["long"])
    assert record is not None
    assert record.state is JobState.RUNNING
    assert f"be/{kept['long']}.0.{record.tasks[0].attempt}" in before


def test_restart_of_the_worker(kept: dict[str, str]) -> None:
    before, pid, supervisor = payload_now(), main_pid("tango-worker"), main_pid("tango-payload")
    with Caller() as caller:
        sh("systemctl", "restart", "tango-worker")
        eventually(lambda: main_pid("tango-worker") not in (0, pid), "another worker")
        said(f"restart: calls work after {calls_work():.1f} s")
    said(f"restart: {caller.summary()}")
    same_payload(before, kept)
    assert main_pid("tango-payload") == supervisor


def kill_9(unit: str, kept: dict[str, str]) -> None:
    before, pid = payload_now(), main_pid(unit)
    with Caller() as caller:
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: main_pid(unit) not in (0, pid) and active(unit), f"another {unit}")
        said(f"kill -9 {unit}: calls work after {calls_work():.1f} s")
    said(f"kill -9 {unit}: {caller.summary()}")
    eventually(lambda: job(kept["long"]) is not None, "central to answer")
    same_payload(before, kept)


def test_kill_9_of_the_worker(kept: dict[str, str]) -> None:
    kill_9("tango-worker", kept)


def test_upgrade_to_a_newer_wheel(kept: dict[str, str]) -> None:
    before, supervisor = payload_now(), main_pid("tango-payload")
    old = {unit: main_pid(unit) for unit in UNITS}
    (wheel,) = (HERE / "wheel/newer").glob("*.whl")
    with Caller() as caller:
        sh("/opt/tango/bin/python", "-m", "pip", "install", "-q", "--upgrade", str(wheel))
        sh("systemctl", "restart", "tango-central", "tango-edge", "tango-worker")
        said(f"upgrade: calls work after {calls_work():.1f} s")
    said(f"upgrade: {caller.summary()}")
    for unit in ("tango-central", "tango-edge", "tango-worker"):
        assert main_pid(unit) not in (0, old[unit])
    assert main_pid("tango-payload") == supervisor

    def newer() -> bool:
        with client() as tango:
            return [edge.version for edge in tango.edges()] == [PLAN["newer"]]

    eventually(newer, f"the edge to say {PLAN['newer']}")
    same_payload(before, kept)


def test_exposure() -> None:
    found = {}
    for unit in UNITS:
        text = sh("systemd-analyze", "security", "--no-pager", f"{unit}.service")
        (RESULTS / f"security-{unit}.txt").write_text(text)
        (level,) = re.findall(r"Overall exposure level for \S+: ([0-9.]+) (\w+)", text)
        found[unit] = level
        said(f"systemd-analyze security {unit}: {level[0]} {level[1]}")
    for unit, (level, _) in found.items():
        assert float(level) <= EXPOSURE[unit], unit


def test_the_watchdog_ends_a_worker_that_hangs(kept: dict[str, str]) -> None:
    assert [shown(unit, "WatchdogUSec") for unit in UNITS] == ["1min"] * 4
    before, pid = payload_now(), main_pid("tango-worker")
    started = time.monotonic()
    os.kill(pid, signal.SIGSTOP)
    eventually(lambda: main_pid("tango-worker") not in (0, pid), "another worker")
    said(f"watchdog: a stopped worker was replaced after {time.monotonic() - started:.0f} s")
    calls_work()
    same_payload(before, kept)


def test_a_task_beyond_its_memory_dies_alone(kept: dict[str, str]) -> None:
    before, supervisor = payload_now(), main_pid("tango-payload")
    greedy = submit("greedy", "/usr/bin/python3", "-S", "-c", BALLOON, memory="40Mi")
    with client() as tango:
        record = tango.wait(greedy)
    assert record.state is JobState.FAILED
    assert record.tasks[0].signal == signal.SIGKILL
    same_payload(before, kept)
    assert main_pid("tango-payload") == supervisor
    assert active("tango-payload")


def limits() -> dict[str, str]:
    """Memory limit of each leaf, and that be is idle: what the worker wrote."""
    found = {str(path.parent): path.read_text().strip() for path in TREE.glob("*/*/memory.max")}
    found |= {str(path): path.read_text().strip() for path in TREE.glob("lc/*/*/memory.max")}
    return found | {"be": (TREE / "be/cpu.idle").read_text().strip()}


@pytest.mark.parametrize("unit", ["tango-edge", "tango-central"])
def test_kill_9_of_a_master(unit: str, kept: dict[str, str]) -> None:
    kill_9(unit, kept)


def test_kill_9_of_the_supervisor(kept: dict[str, str]) -> None:
    before, pid, worker = payload_now(), main_pid("tango-payload"), main_pid("tango-worker")
    written = limits()
    assert written["be"] == "1"
    with Caller() as caller:
        os.kill(pid, signal.SIGKILL)
        eventually(
            lambda: main_pid("tango-payload") not in (0, pid) and active("tango-payload"),
            "another supervisor",
        )
        eventually(
            lambda: main_pid("tango-worker") not in (0, worker) and active("tango-worker"),
            "another worker",
        )
        said(f"kill -9 of the supervisor: calls work after {calls_work():.1f} s")
    said(f"kill -9 of the supervisor: {caller.summary()}")
    same_payload(before, kept)
    eventually(lambda: limits() == written, "the same limits as before", 30)
    assert pids(PAYLOAD)["supervisor"] == (main_pid("tango-payload"),)


def test_a_stop_of_the_payload_ends_all_of_it(kept: dict[str, str]) -> None:
    sh("systemctl", "stop", "tango-payload")
    assert not active("tango-worker")
    assert not PAYLOAD.exists()
    sh("systemctl", "start", "tango-payload", "tango-worker")
    calls_work()

    def runs() -> bool:
        record = job(kept["long"])
        return record is not None and record.state is JobState.RUNNING

    eventually(runs, "the job to run again")
    eventually(lambda: len(pids(TREE)) == 3, "two replicas and a task")
