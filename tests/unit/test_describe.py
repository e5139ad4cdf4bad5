"""`tango describe`, `watch` and `config check`: what people read, from views made by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from tango.adapters.master_settings import load_central
from tango.adapters.policies import policy_names
from tango.cli import describe
from tango.cli.config import config
from tango.cli.tables import node_status, nodes_table, ran_s
from tango.cli.watch import service_line
from tango.model.cgroup import Mismatch
from tango.model.cluster import Enforcement, NodeCapacity, NodeReport, NodeView, SideUsage
from tango.model.job import JobRecord, JobSpec, JobState, TaskRecord, TaskSpec
from tango.model.service import ReplicaState, ReplicaStatus, ServiceSpec
from tango.model.units import format_count
from tango.model.views import EdgeView, QosView, ReplicaView, RequestCounts, ServiceView

SPEC = ServiceSpec("web", ("serve", "[bold]"), replicas=2)
SERVICE = ServiceView(
    SPEC,
    2,
    "site-a",
    (
        ReplicaView(ReplicaStatus("web-g1-0", "web", 1, ReplicaState.READY, 8080, 42), "a1"),
        ReplicaView(
            ReplicaStatus("web-g2-0", "web", 2, ReplicaState.BACKOFF, reason="exited [1]"), "a2"
        ),
    ),
    ready=1,
    queued=3,
    in_flight=4,
    counts=RequestCounts(sent=10, completed=7, late=1, rejected=1, failed=1),
    reason="rolling update to generation 2: 0 of 2 ready",
    qos=(QosView("a1", 133, 40, -0.25, 125.0, saturated=True, why="saturated: at the bound"),),
)
NODE = NodeView(
    "a1",
    "site-a",
    ready=True,
    capacity=NodeCapacity(2000, 2**30),
    report=NodeReport(
        "a1",
        1.0,
        SideUsage(cpu_millis=120),
        SideUsage(),
        mismatches=(Mismatch("g", "w", "1", "2"),),
    ),
    labels=(("disk", "ssd"),),
)


def test_a_service_with_its_roll(capsys: pytest.CaptureFixture[str]) -> None:
    describe.show_service(SERVICE)
    said = capsys.readouterr().out
    for words in (
        "Service:      web",
        "Command:      serve [bold]",
        "-0.25",
        "125.00 ms",
        "saturated: at the bound",
        "Replicas:     1 ready of 2",
        "rolling update to generation 2: 0 of 2 ready",
        "10 sent: 7 in time, 1 late, 1 rejected, 1 failed",
        "web-g2-0  backoff",
        "exited [1]",
    ):
        assert words in said


def test_a_job_says_where_it_went_and_why(capsys: pytest.CaptureFixture[str]) -> None:
    spec = JobSpec("crunch", (TaskSpec("main", ("gzip", "x")),))
    task = TaskRecord(
        JobState.RUNNING, 3, "crunch-1.0.3", "site-a", "a2", losses=1, evictions=1,
        moved="node a1 lost", evicting="node a2 is drained", started_at=2.0,
    )  # fmt: skip
    describe.show_job(JobRecord("crunch-1", "s", spec, JobState.RUNNING, (task,), 1.0))
    said = capsys.readouterr().out
    assert "On:           a2 of site-a" in said
    assert "lost 1 time with a node, evicted 1 time; the last time: node a1 lost" in said
    assert "Being moved:  node a2 is drained" in said
    assert "Failures" not in said, "what is empty is left out"


def test_fixed_ports_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    describe.show_node(
        replace(NODE, lc_ports=(80,), be_ports=(443, 8080, 9090), reserved_millis=100,
                reserved_bytes=2**20, reserved_ports=(7,))
    )  # fmt: skip
    said = capsys.readouterr().out
    assert "Fixed ports:  LC has port 80; BE has ports 443, 8080 and 9090" in said
    assert "Reserved:     100m CPU, 1.0 MiB, port 7 for backups of tasks" in said
    spec = JobSpec("serve", (TaskSpec("main", ("serve",), ports=(9090, 80)),))
    describe.show_job(JobRecord("s-1", "s", spec, JobState.PENDING, (TaskRecord(),), 1.0))
    assert "Asks for:     100m CPU, 128.0 MiB, ports 80 and 9090" in capsys.readouterr().out


def test_ids_of_cores_are_headed_so() -> None:
    table = nodes_table(
        (NodeView("a1", "s", True, NodeCapacity(2000, 1), cores=(0, 2), be_cores=(2,)),)
    )
    found = {str(column.header): list(column.cells) for column in table.columns}
    assert found["CORE IDS"] == ["0,2 (1 free)"], "ids, not counts"


@pytest.mark.parametrize(("count", "said"), [(0, "0 sites"), (1, "1 site"), (1040, "1,040 sites")])
def test_one_of_a_thing_is_no_plural(count: int, said: str) -> None:
    assert format_count(count, "site") == said


def test_what_ended_unheard_ran_until_its_end() -> None:
    spec = JobSpec("crunch", (TaskSpec("a", ("gzip",)), TaskSpec("b", ("gzip",))))
    tasks = (
        TaskRecord(JobState.SUCCEEDED, started_at=2.0, ended_at=6.0),
        TaskRecord(JobState.SUCCEEDED, started_at=3.0, ended_at=5.0),
    )
    job = JobRecord(
        "crunch-1", "s", spec, JobState.SUCCEEDED, tasks, 1.0, started_at=2.0, ended_at=90.0
    )
    assert ran_s(job, 100.0) == 4.0
    again = (replace(tasks[0], state=JobState.PENDING), tasks[1])
    assert ran_s(replace(job, state=JobState.RUNNING, tasks=again, ended_at=0.0), 100.0) == 98.0
    assert ran_s(replace(job, tasks=(), ended_at=7.0), 100.0) == 5.0


def test_a_node_and_an_edge(capsys: pytest.CaptureFixture[str]) -> None:
    describe.show_node(NODE)
    said = capsys.readouterr().out
    assert "Capacity:     2 CPU, 1.0 GiB" in said
    assert "Mismatch:     g w: wanted 1, found 2" in said
    assert "Labels:       disk=ssd" in said
    assert "LC uses:      120m CPU, 0 B" in said
    idle = replace(NODE, report=NodeReport("a1", 1.0, SideUsage(), SideUsage(), problem="odd"))
    describe.show_node(replace(idle, enforcement=Enforcement.PRIORITY))
    said = capsys.readouterr().out
    assert "LC uses:      unknown" in said
    assert "Problem:      odd" in said
    describe.show_node(replace(idle, enforcement=Enforcement.CGROUP))
    assert "LC uses:      0m CPU, 0 B" in capsys.readouterr().out
    describe.show_edge(EdgeView("site-a", "h:1", True, "0.1", (NODE,)), [SERVICE])
    said = capsys.readouterr().out
    assert "Edge:         site-a" in said
    assert "web" in said


def test_the_status_of_a_node_is_one_word_or_two() -> None:
    assert node_status(NODE) == "ready"
    assert node_status(replace(NODE, ready=False)) == "not ready"
    assert node_status(replace(NODE, ready=False, dead=True)) == "dead"
    assert node_status(replace(NODE, cordoned=True)) == "ready, cordoned"
    draining = replace(NODE, cordoned=True, draining=True, replicas=1)
    assert node_status(draining) == "ready, draining"
    assert node_status(replace(draining, replicas=0, be_tasks=1)) == "ready, draining"
    drained = replace(draining, replicas=0)
    assert node_status(drained) == "ready, drained"
    assert node_status(replace(drained, ready=False)) == "not ready, draining", "it may run some"


def test_a_watched_service_is_one_line() -> None:
    assert service_line(SERVICE) == (
        "web at site-a: generation 2, 1/2 ready [web-g1-0@a1 ready, web-g2-0@a2 backoff]: "
        "rolling update to generation 2: 0 of 2 ready"
    )


GOOD = '[server]\nlisten = "127.0.0.1:0"\ntoken_file = "t"\nstate_dir = "s"\n[central]\n'
EDGE = GOOD.replace("central", "edge") + 'name = "e"\n'
WORKER = GOOD.replace("central", "worker") + (
    'node = "n"\nedge = "127.0.0.1:1"\nallow_root = true\n'
)
FIXED = "kind: Service\nname: x\nargv: [a]\nport: 5000\n"


ENGINE = '[images]\nsocket = "/nowhere/s"\n'
REGISTRY = '[[registry.hosts]]\nname = "host:5000"\ncredentials_file = "/nowhere/l"\n'


@pytest.mark.parametrize(
    ("name", "text", "status", "said"),
    [
        ("c.toml", GOOD, 0, "c.toml: a configuration for `tango central`\n"),
        ("s.yaml", "kind: Service\nname: x\nargv: [a]\n", 0, "s.yaml: Service x\n"),
        ("c.toml", GOOD + "keep_jobs = -1\n", 1, "c.toml:6: central.keep_jobs: -1 is out of range"),
        ("c.toml", GOOD + "keep = 1\n", 1, "c.toml:6: central.keep: "),
        ("c.toml", GOOD + "[edge]\n", 1, "has sections of central and edge"),
        ("c.toml", "[server]\n", 1, "c.toml: document: has no daemon's section; a file is for one"),
        ("s.yaml", "kind: Service\nname: x\nargv: [a]\nreplicas: x\n", 1, "s.yaml:4: replicas: is"),
        (
            "c.toml",
            GOOD + 'batch_policy = "x"\n',
            1,
            "c.toml:6: central.batch_policy: no policy is",
        ),
        ("e.toml", EDGE + 'traffic_policy = "x"\n', 1, "e.toml:7: edge.traffic_policy: no policy"),
        ("c.toml", GOOD, 0, "c.toml:3: server.token_file: "),
        ("w.toml", WORKER + 'cpuset = "0,9999"\n', 0, "w.toml:9: worker.cpuset: core 9999 is not"),
        ("w.toml", WORKER + 'cpu = "1000"\n', 0, "w.toml:9: worker.cpu: is above the "),
        ("w.toml", WORKER + ENGINE, 0, "w.toml:10: images.socket: /nowhere/s is no socket here"),
        ("c.toml", GOOD + REGISTRY, 0, "registry: is asked in vain: policy 'most-free' does not"),
        ("c.toml", GOOD + REGISTRY, 0, "registry.hosts[0].credentials_file: /nowhere/l is not"),
        ("s.yaml", FIXED + "replicas: 2\n", 0, "s.yaml:1: replicas: 2 on the fixed port 5000 take"),
        ("s.yaml", FIXED, 0, "s.yaml: Service x\n"),
        ("c.txt", "", 1, "neither a configuration nor a manifest; name it .toml or .yaml"),
    ],
)
def test_config_check_names_file_line_field_problem_and_fix(
    tmp_path: Path, name: str, text: str, status: int, said: str
) -> None:
    (tmp_path / name).write_text(text)
    done = CliRunner().invoke(config, ["check", str(tmp_path / name)], standalone_mode=False)
    assert (done.return_value or 0) == status
    assert said in done.output


@pytest.mark.parametrize("policy", policy_names("tango.batch"))
def test_config_check_takes_every_batch_policy_that_is_installed(
    tmp_path: Path, policy: str
) -> None:
    if policy == "profile":
        pytest.importorskip("numpy", reason="profiles need the extra `solver`")
    file = tmp_path / "c.toml"
    file.write_text(GOOD + f'batch_policy = "{policy}"\n')
    done = CliRunner().invoke(config, ["check", str(file)], standalone_mode=False)
    assert (done.return_value or 0) == 0, done.output
    assert load_central(file).batch_policy == policy


def test_config_check_goes_on_after_a_bad_file(tmp_path: Path) -> None:
    files = [tmp_path / "a.toml", tmp_path / "b.yaml"]
    files[1].write_text("kind: Service\nname: x\nargv: [a]\n")
    words = ["check", *map(str, files)]
    done = CliRunner().invoke(config, words, standalone_mode=False)
    assert done.return_value == 1
    assert "a.toml: document: cannot be read" in done.output
    assert "b.yaml: Service x" in done.output
