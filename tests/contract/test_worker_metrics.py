"""The worker's pressure metrics: from real numbers where there are any, no sample where not."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from cgroup_places import fake
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.registry import Collector
from v2_tree import PRESSURE, V2Tree

from tango.adapters.cgroup_v2 import CgroupV2
from tango.daemons.tallies import Scrape
from tango.daemons.worker.metrics import WorkerMetrics

NAME = "tango_side_stalled_seconds_total"


def scraped(scrape: Scrape) -> list[str]:
    registry = CollectorRegistry()
    registry.register(cast("Collector", scrape))
    lines = generate_latest(registry).decode().splitlines()
    return [line for line in lines if line.startswith(NAME)]


def test_both_sides_and_all_resources(tmp_path: Path) -> None:
    base = tmp_path / "tango.slice"
    files = V2Tree(base)
    scrape = Scrape()
    with CgroupV2(base, "node", files) as cgroups:
        WorkerMetrics(scrape).watch_pressure(cgroups.pressure)
        assert scraped(scrape) == [], "no side is there yet"
        cgroups.create("lc")
        cgroups.create("be")
        files.put(base / "node/be/cpu.pressure", PRESSURE.replace("total=0", "total=2500000"))
        found = scraped(scrape)
    assert len(found) == 12
    assert f'{NAME}{{kind="some",resource="cpu",side="be"}} 2.5' in found
    assert f'{NAME}{{kind="full",resource="io",side="lc"}} 0.0' in found


def test_where_the_kernel_has_none_there_is_no_sample() -> None:
    scrape = Scrape()
    with fake() as cgroups:
        cgroups.create("lc")
        cgroups.create("be")
        WorkerMetrics(scrape).watch_pressure(cgroups.pressure)
        assert scraped(scrape) == []
