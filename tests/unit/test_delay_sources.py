"""Where the central master reads round trips: a file with its own names, failures, no numpy."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from tango.adapters.delay_sources import delay_source
from tango.adapters.goldpinger import Goldpinger
from tango.daemons.central.delays import measure
from tango.model.errors import Unavailable
from tango.model.events import DelaysMeasured
from tango.model.round_trips import MeasuredTrips, RoundTrip
from tango.model.settings import DelaySettings, DelaySource

# What an installation without the extra does.
WITHOUT_NUMPY = """
import sys
sys.modules["numpy"] = None
from tango.adapters.bound_rules import bound_rule
from tango.adapters.master_settings import load_central
from tango.daemons.central import main
from tango.model.placement_profile import DEFAULT
assert bound_rule(DEFAULT) is None
"""


async def test_a_file_may_call_nodes_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "rtt.toml"
    path.write_text("[rtt_ms.host-1]\nhost-2 = 10\n")
    nodes = (("host-1", "site-a/a1"),)
    source = delay_source(DelaySettings(DelaySource.FILE, path=str(path), nodes=nodes))
    assert source is not None
    assert (await source.measure()).trips == (RoundTrip("site-a/a1", "host-2", 0.010),)


def test_the_edges_own_pings_need_no_source() -> None:
    assert delay_source(DelaySettings()) is None


async def test_goldpinger_by_its_url() -> None:
    settings = DelaySettings(DelaySource.GOLDPINGER, url="http://127.0.0.1:1")
    source = delay_source(settings)
    assert isinstance(source, Goldpinger)
    await source.close()


async def test_a_source_that_fails_is_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    class Failing:
        asked = 0

        async def measure(self) -> MeasuredTrips:
            self.asked += 1
            if self.asked < 3:
                raise Unavailable("it is down")
            return MeasuredTrips((RoundTrip("a", "b", 0.001),))

    found: list[DelaysMeasured] = []
    read = asyncio.Event()

    def post(event: DelaysMeasured) -> None:
        found.append(event)
        read.set()

    task = asyncio.ensure_future(measure(Failing(), 0.001, post))
    async with asyncio.timeout(10):
        await read.wait()
    task.cancel()
    assert found[0].trips == (RoundTrip("a", "b", 0.001),)
    assert found[0].wall > 0
    assert [record.message for record in caplog.records] == ["delays not measured"]


def test_a_central_master_without_numpy_starts_and_has_no_rule() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_NUMPY], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
