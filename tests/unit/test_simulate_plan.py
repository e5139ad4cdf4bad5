"""Which runs a simulation has: pairings, ablations, seeds, points; where each log goes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tango.adapters.policies import policy_names
from tango.cli.simulate_plan import Run, Variant, plan, with_logs
from tango.model.errors import InvalidField
from tango.sim.scenario import Policies
from tango.sim.scenario_file import ScenarioFile, parse_change

SMALL = Path(__file__).parents[2] / "configs" / "scenarios" / "small.toml"


def runs(*changes: str, **options: object) -> tuple[Run, ...]:
    made = tuple(parse_change(text) for text in changes)
    return plan([ScenarioFile(SMALL, made)], made, **options)  # type: ignore[arg-type]


def test_a_scenario_alone_is_one_run() -> None:
    (run,) = runs()
    assert (run.scenario, run.variant, run.seed) == ("small", "least-loaded:most-free", 1)
    assert str(run) == "small, least-loaded:most-free, seed 1"


def test_pairings_points_and_seeds_are_crossed() -> None:
    found = runs("sweep={load=[1, 2]}", policies="nearest,round-robin:most-free", seeds=2)
    assert [(str(run.point[0]), run.variant, run.seed) for run in found] == [
        (point, variant, seed)
        for seed in (1, 2)
        for point in ("load = 1", "load = 2")
        for variant in ("nearest:most-free", "round-robin:most-free")
    ], "by seed first, so that what is done of a sweep can be compared"


def test_all_is_every_pairing_and_the_scenarios_own_is_the_reference() -> None:
    found = runs(policies="all")
    assert found[0].variant == "least-loaded:most-free"
    count = len(policy_names("tango.traffic")) * len(policy_names("tango.batch"))
    assert len({run.variant for run in found}) == len(found) == count


def test_a_file_may_name_what_it_wants_compared() -> None:
    found = runs("policies.compare=['nearest', 'scoring']")
    assert [run.variant for run in found] == ["nearest:most-free", "scoring:most-free"]
    assert [run.variant for run in runs("policies.compare=['nearest']", policies="scoring")] == [
        "scoring:most-free"
    ]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"policies": "best"}, "--policies: no policy is named 'best'; use one of: dss-lc"),
        ({"policies": "nearest:best"}, "--policies: no policy is named 'best'; use one of: "),
        ({"policies": "nearest:"}, "--policies: 'nearest:' is no pairing"),
        ({"policies": "nearest,nearest"}, "--policies: 'nearest:most-free' is given twice"),
        ({"policies": "nearest,nearest:most-free"}, "--policies: 'nearest:most-free' is given tw"),
        ({"ablate": "hrm"}, "--ablate: 'hrm' is none; use some of dvpa, reassurance, dss-lc"),
        ({"ablate": "dss-lc"}, "--ablate: least-loaded routes, not dss-lc"),
        ({"ablate": "dvpa"}, "--ablate: no service's quota follows its requests"),
    ],
)
def test_what_there_is_not_is_refused(options: dict[str, str], words: str) -> None:
    with pytest.raises(InvalidField) as caught:
        runs(**options)
    assert str(caught.value).startswith(words)


def test_pairings_beside_a_sweep_of_policies_are_refused() -> None:
    """All its points would be the same run under other names."""
    sweep = "sweep={'policies.traffic'=['nearest', 'scoring']}"
    assert len(runs(sweep)) == 2
    with pytest.raises(InvalidField, match=r"the sweep of policies\.traffic has; leave one"):
        runs(sweep, policies="least-loaded")
    both = runs("sweep={'policies.batch'=['most-free', 'random']}", policies="nearest,scoring")
    assert [run.variant for run in both] == [
        "nearest:most-free", "scoring:most-free", "nearest:random", "scoring:random",
    ]  # fmt: skip


def test_an_unknown_pairing_of_a_file_is_refused_at_its_place() -> None:
    with pytest.raises(InvalidField, match=r"policies\.compare\[1\]: no policy is named 'x'"):
        runs("policies.compare=['nearest', 'x']")


def test_two_files_of_one_name_are_refused() -> None:
    with pytest.raises(InvalidField, match=r"small\.toml:\d+: name: 'small' is another file's too"):
        plan([ScenarioFile(SMALL), ScenarioFile(SMALL)], ())


def test_each_ablation_switches_off_one_thing_of_the_reference() -> None:
    pytest.importorskip("ortools", reason="dss-lc needs it")
    found = runs("policies.dvpa=true", policies="dss-lc,nearest", ablate="dvpa,reassurance,dss-lc")
    assert [run.variant for run in found] == [
        "dss-lc:most-free",
        "nearest:most-free",
        "dss-lc:most-free without dvpa",
        "dss-lc:most-free without reassurance",
        "dss-lc:most-free without dss-lc",
    ]
    full = Policies("x", "most-free", follow_quota=True)
    applied = [run.policies.apply(full) for run in found]
    assert applied[0] == Policies("dss-lc", "most-free", follow_quota=True)
    assert applied[2] == Policies("dss-lc", "most-free", follow_quota=False)
    assert applied[3] == Policies("dss-lc", "most-free", follow_quota=True, reassurance=False)
    assert applied[4] == Policies("least-loaded", "most-free", follow_quota=True)


def test_what_is_off_already_is_not_switched_off() -> None:
    with pytest.raises(InvalidField, match="--ablate: reassurance is off"):
        runs("policies.reassurance=false", ablate="reassurance")
    (_, without) = runs("services[0].quota=follow", ablate="dvpa")
    assert without.policies == Variant("", "", "dvpa")


def test_one_run_has_the_log_itself_and_several_have_one_each(tmp_path: Path) -> None:
    log = tmp_path / "d.jsonl"
    assert [run.log for run in with_logs(runs(), log)] == [log]
    found = with_logs(runs("sweep={load=[1, 2]}", seeds=2), log)
    assert [run.log.name for run in found if run.log] == [
        f"d.small.load-{load}.least-loaded-most-free.seed-{seed}.jsonl"
        for seed in (1, 2)
        for load in (1, 2)
    ]


def test_a_value_that_is_swept_twice_is_one_point() -> None:
    assert [str(run.point[0]) for run in runs("sweep={load=[1, 2, 1.0, 2, 1]}")] == [
        "load = 1",
        "load = 2",
    ]
    twice = runs("sweep={load=[1, 1], 'policies.dvpa'=[true, false, true]}")
    assert len({run.point for run in twice}) == len(twice) == 2
    # What is nearly the same is not, and is told apart.
    near = runs("sweep={load=[1.0, 1.0000001]}")
    assert [str(run.point[0]) for run in near] == ["load = 1", "load = 1.0000001"]


def test_each_run_has_a_log_of_its_own_however_long_its_point_is(tmp_path: Path) -> None:
    found = with_logs(runs(f"sweep={{description={[300 * 'a', 301 * 'a']}}}"), tmp_path / "d.jsonl")
    names = [run.log.name for run in found if run.log]
    assert len(set(names)) == 2
    assert all(len(name) < 200 for name in names)
