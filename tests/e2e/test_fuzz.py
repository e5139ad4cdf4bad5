"""A short run of tools/fuzz_rpc, and that what it reports as a finding is one."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.e2e

FUZZ = Path(__file__).parents[2] / "tools/rpc_fuzz"


def test_two_thousand_mutated_messages() -> None:
    done = subprocess.run(
        [sys.executable, str(FUZZ / "run.py"), "--messages", "2000", "--seed", "42"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={key: value for key, value in os.environ.items() if key != "TANGO_STATE"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["messages"] >= 2000
    assert report["rpcs"] >= 29
    # Every RPC of every server, and some that were carried out.
    assert report["least_messages_of_an_rpc"] >= 20
    assert report["ends"]["OK"] > 100
    assert report["ends"]["INVALID_ARGUMENT"] > 100
    assert set(report["growth_mib"]) == {"central", "site-a", "node-a1"}


@pytest.fixture
def fuzz(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(FUZZ))
    import run

    return run


async def test_a_run_can_be_repeated_from_its_seed(fuzz: Any) -> None:
    from rpcs import Rpc

    from tango.v1 import edge_service_pb2

    service = edge_service_pb2.DESCRIPTOR.services_by_name["EdgeService"]
    for method in service.methods:
        rpc = Rpc("e", "", f"/{service.full_name}/{method.name}", method.input_type,
                  method.client_streaming, method.server_streaming)  # fmt: skip
        fuzzer = fuzz.Fuzzer([rpc], (), 5)
        first, again, other = (fuzzer._payload(rpc, random.Random(seed)) for seed in (1, 1, 2))
        assert first == again != other


def test_what_a_daemon_logs_of_its_bugs_is_found(fuzz: Any, tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    log = tmp_path / "logs/edge.log"
    log.write_text('{"ts": 1, "level": "warning", "event": "refused", "peer": "x"}\n')
    assert fuzz._bugs_in_logs(tmp_path) == []
    log.write_text(
        '{"ts": 1, "event": "handler failed"}\n{"ts": 1, "event": "x", "error": "Traceback"}\n'
        "Fatal Python error: Segmentation fault\n"
    )
    assert len(fuzz._bugs_in_logs(tmp_path)) == 3
