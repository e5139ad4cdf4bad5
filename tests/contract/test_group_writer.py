"""The worker's cgroup commands on the fake kernel: removal waits, and gives way."""

from __future__ import annotations

import asyncio

from tango.adapters.cgroup_fake import FakeCgroups
from tango.daemons.worker.groups import GroupWriter
from tango.model.cgroup import GroupTarget
from tango.model.events import GroupApplied, UsageSampled


def _writer() -> tuple[GroupWriter, FakeCgroups, list[GroupApplied | UsageSampled]]:
    cgroups = FakeCgroups("tango/test")
    said: list[GroupApplied | UsageSampled] = []
    return GroupWriter(cgroups, said.append), cgroups, said


async def test_a_group_with_processes_is_removed_once_they_are_gone() -> None:
    writer, cgroups, _ = _writer()
    writer.create("be/job", GroupTarget(weight=1))
    cgroups.move("be/job", 4242)
    writer.remove("be/job")
    assert "be/job" in cgroups.groups()
    cgroups.exit(4242)
    async with asyncio.timeout(2):
        while "be/job" in cgroups.groups():
            await asyncio.sleep(0.01)


async def test_a_removal_gives_way_to_a_new_group_of_the_name() -> None:
    writer, cgroups, _ = _writer()
    writer.create("lc/s/r", GroupTarget())
    cgroups.move("lc/s/r", 4242)
    writer.remove("lc/s")
    writer.create("lc/s/r2", GroupTarget())
    cgroups.exit(4242)
    await asyncio.sleep(0.2)
    assert "lc/s/r2" in cgroups.groups()


async def test_what_the_kernel_refuses_is_told() -> None:
    writer, _, said = _writer()
    writer.create("lc", GroupTarget(quota_millis=500, period_us=10_000))
    writer.create("lc/s", GroupTarget(quota_millis=900, period_us=10_000))
    last = said[-1]
    assert isinstance(last, GroupApplied)
    assert last.mismatches


async def test_a_group_that_has_gone_is_left_out_of_samples() -> None:
    writer, _, _ = _writer()
    writer.create("lc", GroupTarget())
    sampled = writer.sample(("lc", "gone"))
    assert [used.group for used in sampled] == ["lc"]


async def test_orphans_are_ended_below_too() -> None:
    writer, cgroups, _ = _writer()
    writer.create("lc/s/r", GroupTarget())
    writer.create("lc/t/r", GroupTarget())
    for group, pid in (("lc/s", 4242), ("lc/s/r", 4243), ("lc/t/r", 4244)):
        cgroups.move(group, pid)
    writer.kill("lc/s")
    assert cgroups.procs("lc/s") == cgroups.procs("lc/s/r") == ()
    assert cgroups.procs("lc/t/r") == (4244,)
    writer.kill("lc/gone")
