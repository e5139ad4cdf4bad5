"""Tables of a sweep: shares of the CPU, medians over seeds, ratios seed by seed."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    path = Path(__file__).parents[2] / "tools/sweep_tables.py"
    if not path.exists():
        pytest.skip("tools/ is not here")
    spec = importlib.util.spec_from_file_location("sweep_tables", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(seed: int, variant: str, lc: float, succeeded: int, **changes: Any) -> dict[str, Any]:
    """Two seconds on a node of two cores and one of one, of which each is used for `lc`."""
    nodes = {
        name: {"cpu_utilisation": lc, "lc_cpu_seconds": lc * cores * 2, "be_cpu_seconds": 0.0}
        for name, cores in (("big", 2), ("small", 1))
    }
    return {
        "seed": seed, "variant": variant, "point": {"load": 0.5}, "stopped": False, "nodes": nodes,
        "duration_s": 2.0, "requests": {"sent": 100, "completed": 90},
        "jobs": {"succeeded": succeeded}, "latency_ms": {"p95": 10.0, "p99": 20.0},
    } | changes  # fmt: skip


def report(path: Path, *runs: dict[str, Any]) -> str:
    path.write_text(json.dumps({"runs": runs}))
    return str(path)


def test_medians_and_ratios(tool: ModuleType, tmp_path: Path) -> None:
    first = report(tmp_path / "1.json", run(1, "a", 0.5, 20), run(1, "b", 0.4, 10))
    others = report(
        tmp_path / "2.json",
        run(2, "a", 0.6, 30), run(2, "b", 0.6, 30),
        run(3, "a", 0.7, 30), run(3, "b", 0.5, 60),
        run(4, "a", 0.1, 1, stopped=True),
    )  # fmt: skip
    sweep = tool.read([first, others])
    rows = tool.table(sweep)[2:]
    assert rows[0].startswith("| load 0.5 | a | 3 | 90.0 % | 45 | 60.0 % | 60.0 % | 0.0 % | 900 |")
    assert rows[1].startswith("|  | b | 3 |")
    (over,) = tool.comparison(sweep)[2:]
    assert "| b | +25.0 % (+0.0 to +40.0) | +0.0 %" in over
    assert "| +0.0 % (-50.0 to +100.0) |" in over


def test_a_run_that_is_there_twice_and_a_node_that_says_nothing_are_errors(
    tool: ModuleType, tmp_path: Path
) -> None:
    path = report(tmp_path / "1.json", run(1, "a", 0.5, 20))
    with pytest.raises(ValueError, match=r"load 0\.5, a, seed 1 is there twice"):
        tool.read([path, path])
    idle = report(tmp_path / "idle.json", run(1, "a", 0.01, 20))
    with pytest.raises(ValueError, match="big, small"):
        tool.read([idle])
