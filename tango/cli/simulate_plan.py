"""Which runs a simulation has: scenarios, points of their sweeps, variants of policies, seeds."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tango.adapters.policies import batch_policy, policy_names, traffic_policy
from tango.model.errors import InvalidField
from tango.model.service import QuotaMode
from tango.sim.scenario import Policies, Scenario
from tango.sim.scenario_file import Change, Point, ScenarioFile

ALL = "all"
DVPA, REASSURANCE, DSS_LC = "dvpa", "reassurance", "dss-lc"
ABLATIONS = (DVPA, REASSURANCE, DSS_LC)
# What routes where DSS-LC is switched off: what an edge does that is not told otherwise.
WITHOUT_DSS_LC = "least-loaded"
MAX_RUNS = 100_000
LONGEST_SLUG = 150


@dataclass(frozen=True, slots=True)
class Variant:
    """A pairing of policies, and what is switched off; "" for what the scenario says."""

    traffic: str = ""
    batch: str = ""
    off: str = ""

    def apply(self, policies: Policies) -> Policies:
        """The scenario's policies with this in their place."""
        found = replace(
            policies,
            traffic=self.traffic or policies.traffic,
            batch=self.batch or policies.batch,
        )
        if self.off == DVPA:
            return replace(found, follow_quota=False)
        if self.off == REASSURANCE:
            return replace(found, reassurance=False)
        if self.off == DSS_LC:
            return replace(found, traffic=WITHOUT_DSS_LC)
        return found

    def label(self, policies: Policies) -> str:
        """For people and reports; policies: the scenario's."""
        pairing = f"{self.traffic or policies.traffic}:{self.batch or policies.batch}"
        return f"{pairing} without {self.off}" if self.off else pairing


@dataclass(frozen=True, slots=True)
class Run:
    """One simulation, as a process of its own can make it from scratch.

    scenario, variant: what reports call it. log: where its decision log goes, None for nowhere.
    """

    path: Path
    scenario: str
    changes: tuple[Change, ...]
    point: Point
    variant: str
    policies: Variant
    seed: int
    skip_bad_rows: bool = False
    log: Path | None = None

    @property
    def group(self) -> tuple[str, Point]:
        """Whom it is compared with: the same scenario at the same point."""
        return self.scenario, self.point

    def __str__(self) -> str:
        point = "".join(f", {change}" for change in self.point)
        return f"{self.scenario}{point}, {self.variant}, seed {self.seed}"


def plan(
    files: Sequence[ScenarioFile],
    changes: tuple[Change, ...],
    *,
    policies: str = "",
    ablate: str = "",
    seeds: int | None = None,
    skip_bad_rows: bool = False,
) -> tuple[Run, ...]:
    """All runs, in order. policies: pairings by commas, "" for the file's own; seeds: None alike.

    Raises InvalidField for pairings and ablations that there are not.
    """
    names = [file.name for file in files]
    for file in files:
        if names.count(file.name) > 1:
            where = file.where("name")
            raise InvalidField("name", f"{file.name!r} is another file's too", "rename it", where)
    runs = []
    for file in files:
        scenario = file.build()
        variants = _variants(file, scenario, policies, ablate)
        count = seeds if seeds is not None else file.seeds
        own = {
            point: file.build(point).policies if point else scenario.policies
            for point in file.points
        }
        # By seed first: what a sweep that is cut short has done can be compared.
        runs += [
            Run(
                file.path, file.name, changes, point, variant.label(own[point]), variant,
                file.seed + number, skip_bad_rows,
            )
            for number in range(count)
            for point in file.points
            for variant in variants
        ]  # fmt: skip
    if len(runs) > MAX_RUNS:
        raise InvalidField("--policies", f"make {len(runs)} runs", f"at most {MAX_RUNS}")
    return tuple(runs)


def with_logs(runs: Sequence[Run], log: Path) -> tuple[Run, ...]:
    """Each with a decision log of its own; a single one has exactly this file."""
    if len(runs) == 1:
        return (replace(runs[0], log=log),)
    slugs = [_slug(run) for run in runs]
    counts = Counter(slugs)
    names = [
        slug if counts[slug] == 1 else f"{slug}.run-{number}"
        for number, slug in enumerate(slugs, 1)
    ]
    return tuple(
        replace(run, log=log.with_name(f"{log.stem}.{name}{log.suffix}"))
        for run, name in zip(runs, names, strict=True)
    )


def _slug(run: Run) -> str:
    """A part of a file's name; not always its own, for points may be long."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", str(run).replace(", ", "."))[:LONGEST_SLUG]


def _variants(
    file: ScenarioFile, scenario: Scenario, policies: str, ablate: str
) -> tuple[Variant, ...]:
    if policies == ALL:
        found = [
            Variant(traffic, batch)
            for traffic in policy_names("tango.traffic")
            for batch in policy_names("tango.batch")
        ]
        # What the scenario itself says is what the others are compared with.
        own = Variant(scenario.policies.traffic, scenario.policies.batch)
        found.sort(key=lambda each: each != own)
    elif policies:
        found = [_pairing(text, "--policies", "") for text in policies.split(",")]
    else:
        found = [
            _pairing(text, f"policies.compare[{at}]", file.where(f"policies.compare[{at}]"))
            for at, text in enumerate(file.compare)
        ] or [Variant()]
    labels = [variant.label(scenario.policies) for variant in found]
    for label in labels:
        if labels.count(label) > 1:
            raise InvalidField("--policies", f"{label!r} is given twice", "leave one of them out")
    swept = {change.path for point in file.points for change in point}
    for part in ("traffic", "batch"):
        if f"policies.{part}" in swept and any(getattr(variant, part) for variant in found):
            problem = f"would take the place of all that the sweep of policies.{part} has"
            raise InvalidField("--policies", problem, "leave one of them out")
    full = found[0]
    for name in map(str.strip, ablate.split(",") if ablate else ()):
        _require_on(name, full.apply(scenario.policies), scenario)
        found.append(replace(full, off=name))
    return tuple(dict.fromkeys(found))


def _pairing(text: str, field: str, where: str) -> Variant:
    traffic, mark, batch = text.strip().partition(":")
    if not traffic or (mark and not batch):
        fix = "write TRAFFIC or TRAFFIC:BATCH"
        raise InvalidField(field, f"{text!r} is no pairing", fix, where)
    for name, load in ((traffic, traffic_policy), (batch, batch_policy)):
        if name:
            try:
                load(name)
            except InvalidField as error:
                raise InvalidField(field, error.problem, error.fix, where) from None
    return Variant(traffic, batch)


def _require_on(name: str, policies: Policies, scenario: Scenario) -> None:
    """Refuse to switch off what is off already: the figures would say that it does nothing."""
    field = "--ablate"
    if name == DVPA:
        follows = any(one.spec.quota is QuotaMode.FOLLOW for one in scenario.services)
        if not (follows if policies.follow_quota is None else policies.follow_quota):
            fix = 'set policies.dvpa = true, or quota = "follow" for a service'
            raise InvalidField(field, "no service's quota follows its requests", fix)
    elif name == REASSURANCE:
        rule = scenario.edge.reassurance.enabled
        if not (rule if policies.reassurance is None else policies.reassurance):
            raise InvalidField(field, "reassurance is off", "set policies.reassurance = true")
    elif name == DSS_LC:
        if policies.traffic != DSS_LC:
            fix = f"compare with {DSS_LC} first: --policies {DSS_LC}"
            raise InvalidField(field, f"{policies.traffic} routes, not {DSS_LC}", fix)
    else:
        raise InvalidField(field, f"{name!r} is none", f"use some of {', '.join(ABLATIONS)}")
