"""What `tango place` decides with: jobs, profile, cluster. Needs numpy: imported when it is run."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path

from tango.adapters.cluster_snapshots import load_snapshot, snapshot_text
from tango.adapters.placement_gangs import Gang, load_gangs
from tango.adapters.placement_profiles import load_profile
from tango.adapters.policies import placement_plugins
from tango.algorithms.placement.cluster_snapshot import ClusterSnapshot
from tango.algorithms.placement.trial import Tried, tried
from tango.cli.whole_file import whole_file
from tango.model.placement_profile import DEFAULT, TERM_FILTERS, Profile, with_filters
from tango.sdk.client import Client
from tango.sdk.cluster_snapshot import cluster_snapshot

NOT_NEAR = "`near` of tasks was left out: only the central master knows the delays of its nodes"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What would become of each job. source: of the cluster, for people. note: what is left out."""

    gangs: tuple[Tried, ...]
    cluster: ClusterSnapshot
    profile: Profile
    source: str
    note: str = ""


def decide(
    file: str,
    stdin: bytes,
    snapshot: Path | None,
    profile_file: Path | None,
    save_snapshot: Path | None,
    state: Path | None,
) -> Outcome:
    """Read all of it, then decide. Raises InvalidField, Unavailable."""
    gangs = load_gangs(file, stdin=stdin)
    note = ""
    chosen = DEFAULT if profile_file is None else load_profile(profile_file)
    # As the masters do: what is required of labels, and taints, hold by any profile.
    profile = with_filters(chosen, TERM_FILTERS)
    plugins = placement_plugins(use.plugin for use in profile.plugins)
    if snapshot is not None:
        cluster, source = load_snapshot(snapshot), str(snapshot)
    else:
        cluster, source = asyncio.run(_running(state)), "the running cluster"
        without = _without_near(gangs)
        if without != gangs:
            gangs, note = without, NOT_NEAR
    if save_snapshot is not None:
        with whole_file(save_snapshot, "--save-snapshot") as part:
            part.write_text(snapshot_text(cluster), encoding="utf-8")
    return Outcome(tried(gangs, cluster, profile, plugins), cluster, profile, source, note)


def _without_near(gangs: tuple[Gang, ...]) -> tuple[Gang, ...]:
    """Jobs as they are but for `near`; pods say of themselves where they want to be."""
    return tuple(
        (
            name,
            tuple(pod if pod.name == name else replace(pod, near="", bound_s=inf) for pod in pods),
        )
        for name, pods in gangs
    )


async def _running(state: Path | None) -> ClusterSnapshot:
    async with Client(state) as client:
        return await cluster_snapshot(client)
