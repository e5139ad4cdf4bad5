"""What `tango place` decides with: jobs, profile, cluster. Needs numpy: imported when it is run."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tango.adapters.cluster_snapshots import load_snapshot, snapshot_text
from tango.adapters.placement_gangs import load_gangs, load_specs
from tango.adapters.placement_profiles import load_profile
from tango.adapters.policies import placement_plugins
from tango.algorithms.placement.cluster_snapshot import ClusterSnapshot
from tango.algorithms.placement.trial import Tried, tried
from tango.cli.whole_file import whole_file
from tango.model.errors import InvalidField
from tango.model.improvement import TriedJob
from tango.model.job import JobSpec, has_bounds
from tango.model.placement_profile import DEFAULT, TERM_FILTERS, Profile, with_filters
from tango.sdk.client import Client
from tango.sdk.cluster_snapshot import cluster_snapshot


@dataclass(frozen=True, slots=True)
class BoundTried:
    """A job with delay bounds or backups, of which the central master itself has said what it
    would do with it now, before all others of the file."""

    job: str
    answer: TriedJob


@dataclass(frozen=True, slots=True)
class Outcome:
    """What would become of each job. source: of the cluster, for people."""

    gangs: tuple[Tried | BoundTried, ...]
    cluster: ClusterSnapshot
    profile: Profile
    source: str

    @property
    def all_placed(self) -> bool:
        """Whether every job would find room."""
        return all(
            one.placed if isinstance(one, Tried) else bool(one.answer.tasks) for one in self.gangs
        )


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
    bound = tuple(spec for spec in load_specs(file, stdin=stdin) if has_bounds(spec))
    chosen = DEFAULT if profile_file is None else load_profile(profile_file)
    # As the masters do: what is required of labels, and taints, hold by any profile.
    profile = with_filters(chosen, TERM_FILTERS)
    plugins = placement_plugins(use.plugin for use in profile.plugins)
    answers: dict[str, TriedJob] = {}
    if snapshot is not None:
        _check_services(bound)
        cluster, source = load_snapshot(snapshot), str(snapshot)
    else:
        cluster, answers = asyncio.run(_running(state, bound))
        source = "the running cluster"
    if save_snapshot is not None:
        with whole_file(save_snapshot, "--save-snapshot") as part:
            part.write_text(snapshot_text(cluster), encoding="utf-8")
    backed = {f"{spec.name}/{task.name}" for spec in bound for task in spec.tasks if task.backup}
    others = tuple(gang for gang in gangs if gang[0] not in answers)
    found = {one.gang: one for one in tried(others, cluster, profile, plugins, backed)}
    return Outcome(
        tuple(
            BoundTried(name, answers[name]) if name in answers else found[name] for name, _ in gangs
        ),
        cluster,
        profile,
        source,
    )


def _check_services(specs: Sequence[JobSpec]) -> None:
    """Raises InvalidField for a task that is near to a service: snapshots know of none."""
    for spec in specs:
        for index, task in enumerate(spec.tasks):
            if task.near is not None and task.near.service:
                problem = (
                    "is of a running cluster, for a snapshot knows not which replicas are ready"
                )
                fix = "leave --snapshot out, or name a node"
                raise InvalidField(f"{spec.name}: tasks[{index}].near.service", problem, fix)


async def _running(
    state: Path | None, bound: Sequence[JobSpec]
) -> tuple[ClusterSnapshot, dict[str, TriedJob]]:
    async with Client(state) as client:
        answers = {spec.name: await client.try_job(spec) for spec in bound}
        return await cluster_snapshot(client), answers
