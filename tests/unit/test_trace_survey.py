"""What a run takes of a trace: told before it, at a mean over the whole trace or over the run."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tango.cli.simulate_before import look_ahead
from tango.model.errors import InvalidField
from tango.sim.scenario import Scenario
from tango.sim.scenario_file import ScenarioFile, load_scenario, parse_change

TEXT = """\
name = "s"
duration_s = 10
[[topology.sites]]
name = "a"
cpu = 2
memory = "4Gi"
[[services]]
name = "web"
cpu_ms = 5
deadline_ms = 100
LOADS
[policies]
traffic = "least-loaded"
"""
# 20 requests in the first 10 s, 10 in the 90 s after: 0.3/s in the mean over all 100 s.
TIMES = [*(0.5 * n for n in range(20)), *(10.0 + 10 * n for n in range(10))]
AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n" + "".join(
    f"2023-11-16 18:{int(at) // 60:02}:{at % 60:09.6f}0,100,10\n" for at in TIMES
)
LOAD = '[[loads]]\nservice = "web"\ntrace = "azure-llm"\nfile = "t.csv"\nper = "total"\n'
# Jobs of 2 CPU seconds (4 s of half a core), two a second for 5 s, then one in 15 s.
SUBMITS = [600 + 0.5 * n for n in range(10)] + [620.0]
BORG = sorted(
    [(at, f"{round(at * 1e6)},,{n},0,,0,u,0,0,0.125,0.1,0,") for n, at in enumerate(SUBMITS)]
    + [(at, f"{round(at * 1e6)},,{n},0,6,1,u,0,0,0.125,0.1,0,") for n, at in enumerate(SUBMITS)]
    + [(at + 4, f"{round(at * 1e6) + 4000000},,{n},0,6,4,u,0,0,0.125,0.1,0,")
       for n, at in enumerate(SUBMITS)],
    key=lambda row: row[0],
)  # fmt: skip
JOBS = '[[jobs]]\ntrace = "borg-2011"\nfile = "j.csv"\nstart_s = 595\n'


def write(tmp_path: Path, loads: str) -> Path:
    (tmp_path / "t.csv").write_text(AZURE)
    (tmp_path / "j.csv").write_text("".join(f"{row}\n" for _, row in BORG))
    path = tmp_path / "s.toml"
    path.write_text(TEXT.replace("LOADS", loads))
    return path


def in_run(scenario: Scenario) -> int:
    (load,) = scenario.loads
    requests = load.source(random.Random(1))  # type: ignore[call-arg,operator,union-attr]
    return sum(each.at_s < scenario.duration_s for each in requests)  # type: ignore[union-attr]


def cpu_in_run(scenario: Scenario) -> float:
    (load,) = scenario.jobs
    jobs = load.source(random.Random(1))  # type: ignore[operator]
    return sum(each.shape.work_cpu_s for each in jobs if each.at_s < scenario.duration_s)


def test_a_rate_is_the_mean_over_the_whole_trace_unless_it_says_the_run(tmp_path: Path) -> None:
    whole = load_scenario(write(tmp_path, LOAD + "rate = 0.3\n"))
    assert in_run(whole) == 20  # the busy part: 2/s where 0.3/s is asked for
    run = load_scenario(write(tmp_path, LOAD + 'rate = 0.3\nmean_over = "run"\n'))
    assert in_run(run) == 3
    for rate in (0.1, 1.0, 2.0, 2.5, 3.0):
        text = LOAD + f'rate = {rate}\nmean_over = "run"\n'
        assert in_run(load_scenario(write(tmp_path, text))) == round(10 * rate)
    longer = load_scenario(write(tmp_path, text), (parse_change("duration_s=5"),))
    assert in_run(longer) == 15


def test_a_share_of_cpu_too(tmp_path: Path) -> None:
    # Over all 25 s: 22 CPU seconds on 2 cores, 44 %.
    whole = load_scenario(write(tmp_path, JOBS + "cpu_load = 0.44\n"))
    assert cpu_in_run(whole) == 20
    for share in (0.1, 0.5, 1.0, 1.1):
        text = JOBS + f'cpu_load = {share}\nmean_over = "run"\n'
        asked = share * 2 * 10
        assert asked <= cpu_in_run(load_scenario(write(tmp_path, text))) + 1e-6 < asked + 2


@pytest.mark.parametrize(
    ("loads", "words"),
    [
        (
            LOAD + 'rate = 4\nmean_over = "run"\n',
            "loads[0].file: has 30 requests, and 10 s of this ask for 40; ask for less, or take",
        ),
        (
            JOBS + 'cpu_load = 5\nmean_over = "run"\n',
            "jobs[0].file: has 22 CPU seconds, and 10 s of this ask for 100; ask for less, or",
        ),
        (LOAD + 'mean_over = "run"\n', "loads[0].mean_over: goes with rate or cpu_load"),
        (JOBS + 'mean_over = "run"\n', "jobs[0].mean_over: goes with rate or cpu_load"),
        (LOAD + 'rate = 1\nmean_over = "day"\n', "loads[0].mean_over: "),
    ],
)
def test_what_a_trace_cannot_give_is_refused(tmp_path: Path, loads: str, words: str) -> None:
    path = write(tmp_path, loads)
    with pytest.raises(InvalidField) as caught:
        load_scenario(path)
    assert words in str(caught.value)
    assert str(caught.value).startswith(f"{path}:")


def told(tmp_path: Path, loads: str, *changes: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    path = write(tmp_path, loads)
    found = look_ahead([ScenarioFile(path, [parse_change(change) for change in changes])])
    return found.traces, tuple(line.replace(f"{path}:", "") for line in found.warnings)


def test_what_a_run_takes_of_each_trace_is_told(tmp_path: Path) -> None:
    jobs = JOBS.replace("[[jobs]]\n", '[[jobs]]\nname = "batch"\n')
    traces, warnings = told(tmp_path, LOAD + "rate = 0.3\n" + jobs + "cpu_load = 0.44\n")
    of_requests, of_jobs = traces
    assert of_requests == (
        "web from t.csv (azure-llm): 20 requests, 2/s, in 10 s; rate asks for 0.3/s in the mean "
        "over the whole trace"
    )
    assert of_jobs == (
        "batch from j.csv (borg-2011): 10 jobs of 100 % of all CPU, in 10 s; cpu_load asks for "
        "44 % of all CPU in the mean over the whole trace"
    )
    assert warnings == ()
    traces, _ = told(tmp_path, LOAD + 'rate = 0.3\nmean_over = "run"\n')
    assert traces[0].endswith(
        "3 requests, 0.3/s, in 10 s; rate asks for 0.3/s in the mean over this run"
    )
    traces, _ = told(tmp_path, LOAD + "speed_up = 2\n", "sweep={load=[1, 2]}")
    assert traces == (
        "at load = 1: web from t.csv (azure-llm): 21 requests, 2.1/s, in 10 s",
        "at load = 2: web from t.csv (azure-llm): 23 requests, 2.3/s, in 10 s",
    )


def test_a_trace_that_ends_within_the_warm_up_is_warned_of(tmp_path: Path) -> None:
    _, warnings = told(tmp_path, LOAD + "speed_up = 50\n", "warmup_s=3")
    assert len(warnings) == 1
    assert "14: loads[0].file: ends 2 s after the start of the load, within the" in warnings[0]
    assert told(tmp_path, LOAD + "speed_up = 50\n", "warmup_s=1")[1] == ()
    late = JOBS.replace("595", "100") + "never_ran = 'leave-out'\n"
    _, warnings = told(tmp_path, late)
    assert "jobs[0].file: has no jobs for this run" in warnings[0]
