"""Scenario files: what ships loads, what is wrong is refused with its line, sweeps and changes."""

from __future__ import annotations

import random
import textwrap
from pathlib import Path

import pytest

from tango.model.errors import InvalidField
from tango.sim.loads import JobLoad, RequestLoad, TraceLoad
from tango.sim.scenario import Costs, FailureKind, FailureRate, Policies, ScheduledFailure
from tango.sim.scenario_fields import BadRows
from tango.sim.scenario_file import ScenarioFile, load_scenario, parse_change
from tango.sim.trace_survey import survey
from tango.workload.patterns import PatternSpec

SCENARIOS = Path(__file__).parents[2] / "configs" / "scenarios"
DATA = Path(__file__).parents[3] / "shared" / "data"
PLAIN = """\
name = "plain"
duration_s = 10
[topology]
neighbours = 1
[[topology.sites]]
name = "a"
nodes = 2
cpu = 2
memory = "4Gi"
[[topology.sites]]
name = "b"
cpu = 4
memory = "8Gi"
[[services]]
name = "web"
cpu_ms = 5
deadline_ms = 100
[[loads]]
service = "web"
rate = 10
[[jobs]]
cpu_s = 2
interval_s = 1
[policies]
traffic = "least-loaded"
"""
AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n"


def write(tmp_path: Path, text: str = PLAIN, more: str = "") -> Path:
    path = tmp_path / "s.toml"
    path.write_text(text + textwrap.dedent(more))
    return path


def traced(tmp_path: Path, rows: str, more: str = "") -> Path:
    """PLAIN with its requests from an Azure trace."""
    (tmp_path / "t.csv").write_text(AZURE + rows)
    text = PLAIN.replace("rate = 10\n", f'trace = "azure-llm"\nfile = "t.csv"\n{more}')
    return write(tmp_path, text)


# ---- what ships


@pytest.mark.parametrize("path", sorted(SCENARIOS.glob("*.toml")), ids=lambda path: path.stem)
def test_every_scenario_that_ships_loads(path: Path) -> None:
    pytest.importorskip("ortools", reason="their policy is dss-lc")
    file = ScenarioFile(path)
    assert file.name == path.stem
    assert file.description
    scenario = file.build()
    assert scenario.loads
    assert scenario.jobs
    assert survey(scenario) == ()
    assert file.warnings(scenario) == []


def test_the_scenarios_have_the_size_that_they_claim() -> None:
    pytest.importorskip("ortools", reason="their policy is dss-lc")
    city = load_scenario(SCENARIOS / "city.toml")
    assert (len(city.topology.sites), city.topology.neighbours) == (125, 5)
    assert {len(site.nodes) for site in city.topology.sites} == {8}
    assert total_rate(city.loads) == pytest.approx(10 * 1000)  # ten a node and second
    paper = ScenarioFile(SCENARIOS / "paper-scale.toml")
    topology = paper.build().topology
    assert (len(topology.sites), len(list(topology.nodes()))) == (104, 1040)
    assert [point[0].plain for point in paper.points] == [0.5, 0.75, 1.0, 1.25, 1.5]
    assert paper.seeds == 5


def test_load_one_of_paper_scale_asks_for_all_cpu_half_of_it_by_requests() -> None:
    pytest.importorskip("ortools", reason="its policy is dss-lc")
    paper = load_scenario(SCENARIOS / "paper-scale.toml", (parse_change("load=1.5"),))
    cores = sum(node.cpu_millis for _, node in paper.topology.nodes()) / 1000
    cpu_s = {service.spec.name: service.cpu_s for service in paper.services}
    asked = sum(total_rate([load]) * cpu_s[load.service] for load in paper.loads)
    assert asked / cores == pytest.approx(0.5 * 1.5)
    jobs = sum(job.shape.tasks * job.shape.work_cpu_s / job.source.interval_s for job in paper.jobs)
    assert jobs / cores == pytest.approx(0.5 * 1.5)


def total_rate(loads: object) -> float:
    return sum(load.source.rate_per_s * (len(load.sites) if load.each else 1) for load in loads)


# ---- what is refused

WRONG = {
    # What is written for what, and the error at the last line of it.
    'rate = 10|rtae = 10': "loads[0].rate: is missing; did you mean it by 'rtae'?",
    "rate = 10|rate = 0": "loads[0].rate: 0 is out of range",
    'rate = 10|rate = "fast"': "loads[0].rate: is the text 'fast', not a number",
    "rate = 10|rate = 10\nkind = 3": "loads[0].kind: is not a known key",
    'rate = 10|rate = 10\npattern = "wavy"': "loads[0].pattern: 'wavy' is not a load pattern",
    "rate = 10|rate = 10\ncpu_load = 1": "loads[0].cpu_load: stands beside 'rate'",
    'service = "web"|service = "wib"': "loads[0].service: no service is named 'wib'",
    "rate = 10|rate = 10\nsites = ['c']": "loads[0].sites[0]: no site with web is named 'c'",
    "rate = 10|rate = 10\nsites = ['a', 'a']": "loads[0].sites[1]: 'a' is given twice",
    "cpu = 4|cpu = -4": "topology.sites[1].cpu: -4 is not a CPU quantity",
    'name = "b"|name = "a"': "topology.sites[1].name: 'a' is given twice",
    "neighbours = 1|neighbours = 100": "topology.neighbours: 100 is out of range",
    "[topology]|[topology.grid]\n[topology]": "topology: has sites and grid; give it one of",
    "cpu_ms = 5|cpu_ms = 0": "services[0].cpu_ms: 0 is out of range",
    "deadline_ms = 100|deadline_ms = 100\ntimeout_ms = 5": "services[0].timeout_ms: 5",
    "cpu_ms = 5|cpu_ms = 5\nreplicas_at = {c = 1}": "services[0].replicas_at.c: no site is",
    "interval_s = 1|cpu_load = 1\ninterval_s = 1": "jobs[0].interval_s: interval_s and cpu",
    "cpu_s = 2|cpu_s = 2\nused_share = 101": "jobs[0].used_share: 101 is out of range",
    'traffic = "least-loaded"|traffic = "best"': "policies.traffic: no policy is named 'best'",
    'traffic = "least-loaded"|batch = "best"': "policies.batch: no policy is named 'best'",
    "duration_s = 10|duration_s = 10\nwarmup_s = 11": "warmup_s: 11 is out of range",
    "duration_s = 10|duration_s = 10\nspeed = 11": "speed: is not a known key",
    'name = "plain"|name = "Plain"': "name: 'Plain' is not a valid name",
}  # fmt: skip


@pytest.mark.parametrize("change", WRONG)
def test_what_is_wrong_is_refused_with_its_line(tmp_path: Path, change: str) -> None:
    old, new = change.split("|")
    head, found, tail = PLAIN.partition(f"\n{old}\n" if old != 'name = "plain"' else old)
    assert found
    new = found.replace(old, new)
    path = write(tmp_path, head + new + tail)
    line = (head + new.rstrip("\n")).count("\n") + 1
    with pytest.raises(InvalidField) as caught:
        ScenarioFile(path)
    assert str(caught.value).startswith(f"{path}:{line}: {WRONG[change]}")


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("kind = 'node'\nname = 'a-3'\nat_s = 1", "name: no node is named 'a-3'; use one of: a-1"),
        ("kind = 'site'\nname = 'a-1'\nat_s = 1", "name: no site is named 'a-1'; use one of: a, b"),
        ("kind = 'link'\nname = 'a'\nother = 'x'\nat_s = 1", "other: no site or node is named 'x'"),
        ("kind = 'nod'\nat_s = 1", "kind: 'nod' is not one of node, worker, edge"),
        ("kind = 'node'\nname = 'a-1'", "at_s: is missing"),
        ("kind = 'central'\nmtbf_s = 1\nmttr_s = 1\nnames = ['a']", "names: a central has none"),
        ("kind = 'node'\nmtbf_s = 1", "mttr_s: is missing"),
    ],
)
def test_failures_of_what_is_not_there_are_refused(tmp_path: Path, table: str, words: str) -> None:
    path = write(tmp_path, more="[[failures]]\n")
    path.write_text(path.read_text() + table)
    with pytest.raises(InvalidField) as caught:
        ScenarioFile(path)
    assert f"failures[0].{words}" in str(caught.value)
    assert caught.value.where.startswith(f"{path}:")


def test_failures_are_read(tmp_path: Path) -> None:
    more = """\
    [[failures]]
    kind = "link"
    name = "a"
    other = "central"
    at_s = 3
    repair_s = 2
    [[failures]]
    kind = "node"
    mtbf_s = 100
    mttr_s = 5
    names = ["a-1"]
    """
    assert load_scenario(write(tmp_path, more=more)).failures == (
        ScheduledFailure(3, FailureKind.LINK, "a", "central", 2),
        FailureRate(FailureKind.NODE, 100, 5, ("a-1",)),
    )


def test_all_that_is_switched_and_tuned_is_read(tmp_path: Path) -> None:
    more = """\
    batch = "most-free"
    dvpa = true
    reassurance = false
    forwarding = false
    [costs]
    edge_request_ms = 0.5
    traffic_solve = {base_ms = 1, per_unit_ms = 0.002}
    calibrated = "by hand"
    [edge]
    tick_ms = 2
    reassurance = {window_ms = 500}
    [worker]
    cap_be = true
    [central]
    be_floor = 0
    """
    scenario = load_scenario(write(tmp_path, more=more))
    assert scenario.policies == Policies("least-loaded", "most-free", True, False, False)
    assert scenario.costs.edge_request_s == 0.0005
    assert scenario.costs.edge_answer_s == Costs().edge_answer_s
    assert scenario.costs.traffic_solve.per_unit_s == 2e-6
    assert scenario.costs.calibrated == "by hand"
    assert (scenario.edge.tick_ms, scenario.edge.reassurance.window_s) == (2, 0.5)
    assert scenario.worker.cap_be
    assert scenario.central.be_floor == 0


# ---- topologies


def test_only_the_costs_that_were_calibrated_say_so(tmp_path: Path) -> None:
    def told(more: str) -> str:
        return load_scenario(write(tmp_path, more=more)).costs.calibrated

    assert told("") == told("[costs]\nstore_commit_ms = 1\n") == Costs().calibrated != ""
    assert told("[costs]\nworker_answer_ms = 1\n") == ""
    assert told("[costs]\ntraffic_solve = {base_ms = 1}\n") == ""


def test_a_grid_and_a_scatter_have_positions(tmp_path: Path) -> None:
    start = PLAIN.index("[[topology.sites]]"), PLAIN.index("[[services]]")
    grid = "[topology.grid]\nsites = 6\nnodes = 3\ncpu = 2\nmemory = '1Gi'\nspacing_km = 2\n"
    path = write(tmp_path, PLAIN[: start[0]] + grid + PLAIN[start[1] :])
    sites = load_scenario(path).topology.sites
    assert [site.name for site in sites[:2]] == ["site-1", "site-2"]
    assert [node.name for node in sites[5].nodes] == ["site-6-1", "site-6-2", "site-6-3"]
    places = [site.position for site in sites]
    assert places[0].latitude == places[1].latitude > places[3].latitude
    scatter = grid.replace("grid", "scatter").replace("spacing_km = 2", "seed = 5")
    path = write(tmp_path, PLAIN[: start[0]] + scatter + PLAIN[start[1] :])
    first, again = (load_scenario(path).topology.sites for _ in range(2))
    assert first == again
    assert len({site.position for site in first}) == 6


def test_nodes_of_several_sizes(tmp_path: Path) -> None:
    nodes = """
    [[topology.sites.node]]
    name = "big"
    cpu = 8
    memory = "16Gi"
    [[topology.sites.node]]
    count = 2
    cpu = 1
    memory = "1Gi"
    cap_period_ms = 10
    """
    text = PLAIN.replace('cpu = 4\nmemory = "8Gi"\n', textwrap.dedent(nodes))
    site = load_scenario(write(tmp_path, text)).topology.sites[1]
    assert [(node.name, node.cpu_millis, node.cap_period_us) for node in site.nodes] == [
        ("big", 8000, 0), ("b-2", 1000, 10_000), ("b-3", 1000, 10_000),
    ]  # fmt: skip


@pytest.mark.skipif(not DATA.is_dir(), reason="there is no ../shared/data")
def test_real_places_and_their_users(tmp_path: Path) -> None:
    eua = (
        "[topology.eua]\nsites = '{0}/site-optus-melbCBD.csv'\n"
        "users = '{0}/users-melbcbd-generated.csv'\nnodes = 8\ncpu = 2\nmemory = '8Gi'\n"
    ).format(DATA / "eua-melbourne")
    start = PLAIN.index("[[topology.sites]]"), PLAIN.index("[[services]]")
    text = PLAIN[: start[0]] + eua + PLAIN[start[1] :]
    text = text.replace("rate = 10\n", 'rate = 816\nper = "total"\n')
    scenario = load_scenario(write(tmp_path, text))
    assert len(scenario.topology.sites) == 125
    # One request a second for each of the 816 users, at the site nearest to it.
    assert total_rate(scenario.loads) == pytest.approx(816)
    rates = [load.source.rate_per_s for load in scenario.loads]
    assert all(rate == pytest.approx(round(rate)) for rate in rates)
    assert len(rates) <= 125


# ---- rates


def test_rates_are_of_sites_nodes_or_all(tmp_path: Path) -> None:
    def rates(more: str) -> dict[tuple[str, ...], float]:
        text = PLAIN.replace("rate = 10\n", more)
        loads = load_scenario(write(tmp_path, text)).loads
        return {load.sites: load.source.rate_per_s for load in loads}

    assert rates("rate = 10\n") == {("a", "b"): 10}
    assert rates('rate = 9\nper = "node"\n') == {("a",): 18, ("b",): 9}
    assert rates('rate = 9\nper = "total"\n') == {("a", "b"): 4.5}
    assert rates('rate = 9\nper = "turns"\n') == {("a", "b"): 9}
    # 10 % of 8 cores, 5 ms a request.
    assert rates("cpu_load = 0.1\n") == {("a", "b"): pytest.approx(80)}
    skewed = rates("rate = 10\nskew = 0.5\n")
    assert sum(skewed.values()) == pytest.approx(20)
    assert len(set(skewed.values())) == 2


def test_an_uneven_load_follows_the_seed_and_nothing_else(tmp_path: Path) -> None:
    path = write(tmp_path, PLAIN.replace("rate = 10\n", "rate = 10\nskew = 0.5\n"))
    one, again, other = (load_scenario(path, seed=seed).loads for seed in (1, 1, 2))
    assert one == again != other


def test_load_multiplies_requests_and_jobs(tmp_path: Path) -> None:
    path = write(tmp_path, "load = 2\n" + PLAIN)
    scenario = load_scenario(path)
    (load,), (job,) = scenario.loads, scenario.jobs
    assert isinstance(load, RequestLoad)
    assert isinstance(load.source, PatternSpec)
    assert load.source.rate_per_s == 20
    assert isinstance(job, JobLoad)
    assert job.source.interval_s == 0.5


# ---- sweeps and changes


def test_a_sweep_is_the_cross_product_in_order(tmp_path: Path) -> None:
    more = """\
    [sweep]
    load = [0.5, 1]
    "services[0].deadline_ms" = [50, 200]
    """
    file = ScenarioFile(write(tmp_path, more=more))
    assert [[change.plain for change in point] for point in file.points] == [
        [0.5, 50], [0.5, 200], [1, 50], [1, 200],
    ]  # fmt: skip
    scenario = file.build(file.points[1])
    assert scenario.services[0].spec.deadline_s == 0.2
    assert scenario.loads[0].source.rate_per_s == 5
    assert file.build().loads[0].source.rate_per_s == 10


@pytest.mark.parametrize(
    ("axis", "words"),
    [
        ("lood = [1]", "27: lood: is not a known key"),
        ("load = [1, 0]", "27: load: 0 is out of range"),
        ("load = 1", "27: sweep.load: is not a list of values"),
        ("load = []", "27: sweep.load: is not a list of values"),
        ("'loads[4].rate' = [1]", "27: loads[4].rate: leads to no entry of a list"),
        ("'policies.traffic' = ['nix']", "27: policies.traffic: no policy is named 'nix'"),
    ],
)
def test_a_wrong_sweep_is_refused_at_its_line(tmp_path: Path, axis: str, words: str) -> None:
    path = write(tmp_path, more=f"[sweep]\n{axis}\n")
    with pytest.raises(InvalidField) as caught:
        ScenarioFile(path)
    assert str(caught.value).startswith(f"{path}:{words}")


def test_changes_by_hand(tmp_path: Path) -> None:
    path = write(tmp_path, more="[sweep]\nload = [1, 2]\n")
    changes = tuple(
        parse_change(text)
        for text in (
            "loads[*].rate=50",
            "policies.traffic=nearest",
            "sweep={}",
            "costs.redial_ms=1",
        )
    )
    file = ScenarioFile(path, changes)
    scenario = file.build()
    assert file.points == ((),)
    assert scenario.loads[0].source.rate_per_s == 50
    assert scenario.policies.traffic == "nearest"
    assert scenario.costs.redial_s == 0.001
    assert load_scenario(path, changes) == scenario
    for text, words in {
        "rate=1": "--set: rate: is not a known key",
        "loads[0].rate=x": "--set: loads[0].rate: is the text 'x', not a number",
        "name.first=1": "--set: name.first: leads into the text 'plain'",
        "loads[=1": "--set: loads[: is not a path of keys",
    }.items():
        with pytest.raises(InvalidField) as caught:
            ScenarioFile(path, (parse_change(text),))
        assert str(caught.value).startswith(words)
    with pytest.raises(InvalidField, match="--set: 'load' has no value"):
        parse_change("load")


# ---- traces

GOOD = "2023-11-16 18:15:46.5,100,10\n2023-11-16 18:15:48.5,200,20\n2023-11-16 18:15:50.5,100,0\n"


def test_a_trace_gives_requests_at_sites(tmp_path: Path) -> None:
    scenario = load_scenario(traced(tmp_path, GOOD))
    (load,) = scenario.loads
    assert isinstance(load, TraceLoad)
    requests = list(load.source(random.Random(1)))
    assert [(one.at_s, one.site) for one in requests] == [(0, "a"), (2, "b"), (4, "a")]
    assert requests[1].work > requests[0].work > requests[2].work
    assert [each.count for each in survey(scenario)] == [3]


def test_a_trace_at_a_wanted_rate(tmp_path: Path) -> None:
    more = 'rate = 3\nper = "total"\ndeadline_factor = 10\n'
    (load,) = load_scenario(traced(tmp_path, GOOD, more)).loads
    requests = list(load.source(random.Random(1)))
    assert requests[-1].at_s == pytest.approx(1.0)  # three in a second
    assert {one.site for one in requests} <= {"a", "b"}
    # Ten times 5 ms of CPU and the work of each, and never below the service's own.
    assert [one.deadline_s for one in requests] == [
        pytest.approx(max(0.1, 0.05 * one.work)) for one in requests
    ]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (GOOD + "2023-11-16 18:15:51.5,many,1\n", "t.csv:5: ContextTokens: 'many' is not a number"),
        (GOOD + "2023-11-16 18:15:41.5,1,1\n", "t.csv:5: TIMESTAMP: time goes back by 9"),
        (GOOD + "2023-11-16 18:15:51.5,1\n", "t.csv:5: row: 2 fields"),
        ("", "t.csv:2: row: no rows at all"),
    ],
)
def test_a_broken_row_is_refused_before_anything_runs(
    tmp_path: Path, rows: str, words: str
) -> None:
    path = traced(tmp_path, rows)
    with pytest.raises(InvalidField) as caught:
        survey(load_scenario(path))
    assert str(caught.value).startswith(f"{tmp_path}/{words}")


def test_a_missing_column_is_refused(tmp_path: Path) -> None:
    path = traced(tmp_path, GOOD)
    (tmp_path / "t.csv").write_text("TIMESTAMP,ContextTokens\n" + GOOD)
    with pytest.raises(InvalidField, match=r"t\.csv:1: GeneratedTokens: the column is missing"):
        survey(load_scenario(path))


def test_broken_rows_are_left_out_and_counted_if_asked(tmp_path: Path) -> None:
    bad = BadRows(skip=True)
    path = traced(tmp_path, GOOD + "nonsense\n" + GOOD.replace(":46.", ":51."))
    scenario = load_scenario(path, bad=bad)
    assert survey(scenario) == survey(scenario)
    (line,) = bad.lines()
    assert line.startswith(f"3 broken rows of {tmp_path}/t.csv are left out, the first: ")
    assert "t.csv:5: " in line
    assert bad.counts == {f"{tmp_path}/t.csv": 3}


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    path = traced(tmp_path, GOOD)
    (tmp_path / "t.csv").unlink()
    with pytest.raises(InvalidField) as caught:
        load_scenario(path)
    assert str(caught.value).startswith(
        f"{path}:21: loads[0].file: there is no file {tmp_path}/t.csv, nor in a shared/data above"
    )
    shared = tmp_path.parent / "shared" / "data"
    shared.mkdir(parents=True)
    (shared / "t.csv").write_text(AZURE + GOOD)
    try:
        assert [each.count for each in survey(load_scenario(path))] == [3]
    finally:
        (shared / "t.csv").unlink()
        shared.rmdir()


BORG = """\
0,,1,0,5,0,u,3,9,0.1,0.1,0,
0,,1,0,5,1,u,3,9,0.1,0.1,0,
600000000,,2,0,,0,u,0,0,0.25,0.1,0,
601000000,,2,0,6,1,u,0,0,0.25,0.1,0,
611000000,,2,0,6,4,u,0,0,0.25,0.1,0,
"""
BORG_JOBS = 'trace = "borg-2011"\nfile = "tasks.csv"\nstart_s = 590\nnever_ran = "leave-out"\n'


def test_jobs_of_a_cluster_and_machines_that_there_are(tmp_path: Path) -> None:
    (tmp_path / "tasks.csv").write_text(BORG)
    (tmp_path / "machines.csv").write_text("0,5,0,p,0.5,0.5\n0,6,0,p,0.5,0.5\n")
    plain = PLAIN.replace("cpu_s = 2\ninterval_s = 1\n", BORG_JOBS)
    scenario = load_scenario(write(tmp_path, plain))
    (job,) = scenario.jobs
    assert job.shape is None
    (arrival,) = job.source(random.Random(1))
    # A quarter of the largest machine is half of the ordinary one: of a node of 4 cores, 2.
    assert (arrival.at_s, arrival.shape.cpu_millis, arrival.shape.work_cpu_s) == (10, 2000, 20)
    text = plain.replace(BORG_JOBS, BORG_JOBS + 'machines = "machines.csv"\n')
    (found,) = survey(load_scenario(write(tmp_path, text), (parse_change("duration_s=20"),)))
    assert (found.count, found.cpu_s) == (1, 20)
    (tmp_path / "machines.csv").write_text("0,5,0,p,0.5,0.5\n")
    with pytest.raises(InvalidField, match=r"tasks\.csv:4: machine ID: there is no machine 6"):
        survey(load_scenario(write(tmp_path, text)))


def test_jobs_of_a_cluster_at_a_wanted_load(tmp_path: Path) -> None:
    (tmp_path / "tasks.csv").write_text(BORG + BORG.replace(",2,0", ",3,0"))
    text = PLAIN.replace("cpu_s = 2\ninterval_s = 1\n", BORG_JOBS + "cpu_load = 0.5\n")
    with pytest.raises(InvalidField):  # time goes back in this file
        load_scenario(write(tmp_path, text))
    (tmp_path / "tasks.csv").write_text(BORG)
    (job,) = load_scenario(write(tmp_path, text)).jobs
    (arrival,) = job.source(random.Random(1))
    # 20 CPU seconds within the time until it comes, on 8 cores: half of them takes 5 s.
    assert arrival.at_s == pytest.approx(5)


@pytest.mark.skipif(not DATA.is_dir(), reason="there is no ../shared/data")
def test_the_published_openb_trace_as_both(tmp_path: Path) -> None:
    path = DATA / "alibaba-openb-2023" / "openb_pod_list_default.csv"
    lc = f'trace = "openb"\nfile = "{path}"\nrate = 50\nper = "total"\n'
    be = f'trace = "openb"\nfile = "{path}"\ncpu_load = 0.4\nrun_factor = 0.001\n'
    text = PLAIN.replace("rate = 10\n", lc).replace("cpu_s = 2\ninterval_s = 1\n", be)
    scenario = load_scenario(write(tmp_path, text))
    requests = list(scenario.loads[0].source(random.Random(1)))
    assert len(requests) / requests[-1].at_s == pytest.approx(50, rel=0.01)
    jobs = list(scenario.jobs[0].source(random.Random(1)))
    asked = sum(job.shape.work_cpu_s * job.shape.tasks for job in jobs) / jobs[-1].at_s
    assert asked == pytest.approx(0.4 * 8, rel=0.05)
