"""Workers without control groups, or that only observe: what they claim, and what is true."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster_at_work import ClusterAtWork, processes_of, ready, running, service, until

from tango.model.cluster import Enforcement, NodeView
from tango.model.request import Outcome
from tango.model.service import QuotaMode
from tango.sdk.client import Client

pytestmark = [pytest.mark.e2e, pytest.mark.alone]

SYSTEM_PYTHON = Path("/usr/bin/python3")
SPIN = "while :; do :; done"


@pytest.fixture
def observed(tmp_path: Path) -> Iterator[ClusterAtWork]:
    """A cluster whose worker was started again with `enforce = false`."""
    with running(tmp_path / "state", sites=1) as cluster:
        if not cluster.groups("a1"):
            pytest.skip("no control groups here: they take root, or a delegated tree")
        config = cluster.state_dir / "configs" / "node-a1.toml"
        cluster.kill("node-a1")
        config.write_text(f"{config.read_text()}enforce = false\n")
        cluster.start_again("node-a1")
        yield cluster


async def test_an_observer_sets_nothing_and_says_what_it_would(observed: ClusterAtWork) -> None:
    async with Client(observed.state_dir) as client:

        async def node() -> NodeView:
            (found,) = await client.nodes()
            return found

        async def observes() -> bool:
            found = await node()
            return found.ready and found.observe_only

        await until(observes, "the observing worker to be back")
        assert (await node()).enforcement is Enforcement.NONE
        await ready(client, service("seen", quota=QuotaMode.FOLLOW))
        assert (await client.call("seen")).outcome is Outcome.COMPLETED

        async def would_set() -> dict[str, str]:
            report = (await node()).report
            misses = report.mismatches if report else ()
            return {miss.field: miss.found for miss in misses if "/seen-" in miss.group}

        await until(would_set, "what it would set")
        would = await would_set()
    assert would["quota_millis"] == "unlimited"
    assert "memory_max_bytes" in would
    (quota,) = [
        file for group in observed.groups("a1/lc/seen") for file in group.glob("*/cpu.cfs_quota_us")
    ]
    assert quota.read_text().strip() == "-1", "nothing was written"
    row = observed.cli("get", "nodes").stdout.splitlines()[1]
    assert "none (observes; would set" in row


def as_nobody(state: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """`tango WORDS`, by a user without any rights, with a Python that he may read."""
    packages = next(Path(sys.prefix).glob("lib/python3*/site-packages"))
    root = Path(__file__).parents[2]
    return subprocess.run(
        [str(SYSTEM_PYTHON), "-P", "-m", "tango.cli.main", *words],
        user="nobody", group="nogroup", extra_groups=(),
        cwd="/", capture_output=True, text=True, timeout=60, check=False,
        env={
            "PATH": os.environ["PATH"], "PYTHONPATH": f"{root}:{packages}",
            "HOME": "/", "TANGO_STATE": str(state),
        },
    )  # fmt: skip


@pytest.fixture
def nobodys() -> Iterator[Path]:
    """A cluster that belongs to `nobody`."""
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    state = Path(f"/tmp/tango-nobody-{os.getpid()}")
    state.mkdir(mode=0o700)
    os.chown(state, 65534, 65534)
    if as_nobody(state, "up", "--help").returncode != 0:
        state.rmdir()
        pytest.skip(f"{SYSTEM_PYTHON} is absent, or cannot read this environment's packages")
    try:
        up = as_nobody(state, "up", "--sites", "1", "--detach")
        assert up.returncode == 0, up.stderr
        yield state
    finally:
        as_nobody(state, "down")
        assert processes_of(state) == []
        subprocess.run(["rm", "-r", str(state)], check=True)


def test_an_ordinary_user_gets_priority_and_no_more_is_claimed(nobodys: Path) -> None:
    listed = as_nobody(nobodys, "get", "nodes", "-o", "json")
    (node,) = json.loads(listed.stdout)
    assert node["enforcement"] == "priority"
    submitted = as_nobody(
        nobodys, "submit", "--cpu", "100m", "-o", "json", "--", "/bin/sh", "-c", SPIN
    )
    assert submitted.returncode == 0, submitted.stderr
    end = time.monotonic() + 20
    while not (spinning := processes_of_shell(SPIN)):
        assert time.monotonic() < end, "the task did not start"
        time.sleep(0.05)
    (pid,) = spinning
    assert os.sched_getscheduler(pid) == os.SCHED_IDLE
    assert Path(f"/proc/{pid}").stat().st_uid == 65534


def processes_of_shell(script: str) -> list[int]:
    """Processes of a shell with this script that belong to `nobody`."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            argv = (path / "cmdline").read_bytes().decode().split("\0")
            if argv[:3] == ["/bin/sh", "-c", script] and path.stat().st_uid == 65534:
                found.append(int(path.name))
        except OSError:
            continue
    return found
