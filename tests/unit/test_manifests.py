"""Manifests: what the examples mean, the defaults, and every wrong field with its file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tango.adapters.manifests import Manifest, load_manifests, read_manifests
from tango.model.affinity import NodeTerms, Requirement, Toleration
from tango.model.errors import InvalidField
from tango.model.job import JobSpec, Near
from tango.model.service import Expose, QuotaMode, ServiceSpec
from tango.model.units import format_number
from tango.sdk.declared import job_of

CONFIGS = Path(__file__).parents[2] / "configs"
SERVICE = "kind: Service\nname: a\nargv: [x]\n"
JOB = "kind: Job\nname: a\nargv: [x]\n"
GANG = "kind: Job\nname: a\ntasks:\n  - argv: [x]\n"


def service(text: str) -> ServiceSpec:
    (manifest,) = read_manifests(text, "m.yaml")
    assert isinstance(manifest.spec, ServiceSpec)
    return manifest.spec


def job(text: str) -> JobSpec:
    (manifest,) = read_manifests(text, "m.yaml")
    assert isinstance(manifest.spec, JobSpec)
    return manifest.spec


def error_of(text: str) -> str:
    with pytest.raises(InvalidField) as caught:
        read_manifests(text, "m.yaml")
    return str(caught.value)


def test_a_service_with_every_key() -> None:
    spec = service(
        SERVICE + "env: {A: b}\nreplicas: 2\nmemory: 64Mi\ncpu_per_request: 250m\n"
        "memory_per_request: 1Mi\nconcurrency: 4\ndeadline_ms: 50\ntimeout_ms: 700\npriority: 3\n"
        "idempotent: true\nport: 8080\nexpose: node\nquota: follow\nquota_base: 70m\n"
        "stop_grace_s: 1.5\nmax_queue: 9\nhealth:\n  path: /h\n  interval_ms: 200\n"
        "  timeout_ms: 100\n  failures: 2\n  start_timeout_ms: 5000\n"
    )
    assert spec.env == (("A", "b"),)
    assert (spec.replicas, spec.concurrency, spec.priority, spec.port) == (2, 4, 3, 8080)
    assert (spec.memory_bytes, spec.memory_per_request_bytes) == (64 * 2**20, 2**20)
    assert (spec.cpu_per_request_millis, spec.quota_base_millis) == (250, 70)
    assert (spec.deadline_s, spec.timeout_s, spec.stop_grace_s) == (0.05, 0.7, 1.5)
    assert (spec.idempotent, spec.expose, spec.quota) == (True, Expose.NODE, QuotaMode.FOLLOW)
    assert (spec.health.path, spec.health.interval_s, spec.health.timeout_s) == ("/h", 0.2, 0.1)
    assert (spec.health.failures, spec.health.start_timeout_s, spec.max_queue) == (2, 5.0, 9)


def test_defaults_are_those_of_the_model() -> None:
    usual = ServiceSpec("a", ("x",))
    spec = service(SERVICE)
    assert spec == ServiceSpec("a", ("x",), timeout_s=spec.timeout_s)
    assert spec.deadline_s == usual.deadline_s
    assert job(JOB).tasks[0].cpu_millis == 100
    assert job(JOB) == JobSpec("a", job(JOB).tasks)


@pytest.mark.parametrize(
    ("deadline_ms", "timeout_s"), [(5, 1.0), (100, 1.0), (300, 3.0), (3_600_000, 3600.0)]
)
def test_the_timeout_follows_the_deadline(deadline_ms: int, timeout_s: float) -> None:
    assert service(SERVICE + f"deadline_ms: {deadline_ms}\n").timeout_s == timeout_s


def test_a_job_in_its_two_forms() -> None:
    short = job(JOB + "cpu: 1.5\nmemory: 1Gi\ndeadline_s: 9\nretries: 1\nbackoff_s: 0.5\n")
    assert [task.name for task in short.tasks] == ["main"]
    assert (short.tasks[0].cpu_millis, short.tasks[0].memory_bytes) == (1500, 2**30)
    assert (short.tasks[0].deadline_s, short.retries, short.backoff_s) == (9.0, 1, 0.5)
    gang = job(GANG + "  - {name: two, argv: [y, 1], stop_grace_s: 2}\npriority: -1\n")
    assert [(task.name, task.argv) for task in gang.tasks] == [
        ("task-0", ("x",)),
        ("two", ("y", "1")),
    ]
    assert gang.priority == -1


def test_bounds_of_tasks() -> None:
    near = "near: {node: site-a/a1, within_ms: 20}\nbackup: true\n"
    (task,) = job(JOB + near).tasks
    assert (task.near, task.backup) == (Near("site-a/a1", "", 0.02), True)
    gang = job(GANG + "  - {name: two, argv: [y], near: {task: task-0, within_ms: 0.5}}\n")
    assert gang.tasks[1].near == Near("", "task-0", 0.0005)
    assert (gang.tasks[0].near, gang.tasks[0].backup) == (None, False)


TERMS = """requires: [{key: zone, values: [west, 7]}, {key: ssd, operator: Exists}]
prefers: [{key: rack, operator: Gt, values: [3], weight: 2}, {key: ssd, operator: Exists}]
tolerations: [{key: gpu, value: "true", effect: NoSchedule}, {}]
"""


def test_labels_and_taints_of_services_and_tasks() -> None:
    terms = NodeTerms(
        (Requirement("zone", "In", ("west", "7")), Requirement("ssd", "Exists")),
        ((Requirement("rack", "Gt", ("3",)), 2.0), (Requirement("ssd", "Exists"), 1.0)),
        (Toleration("gpu", "true", "NoSchedule"), Toleration()),
    )
    assert service(SERVICE + TERMS).terms == job(JOB + TERMS).tasks[0].terms == terms
    inside = "  - {name: two, argv: [y], requires: [{key: a, operator: Exists}]}\n"
    assert job(GANG + inside).tasks[1].terms == NodeTerms((Requirement("a", "Exists"),))


def test_sites_stand_beside_the_spec() -> None:
    (manifest,) = read_manifests(SERVICE + "sites: [edge-a, edge-b]\n", "m.yaml")
    assert manifest.sites == ("edge-a", "edge-b")
    assert manifest.where == "m.yaml:1"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name: a", "m.yaml:1: kind: is missing; write 'kind: Service' or 'kind: Job'"),
        ("kind: service\nname: a", "m.yaml:1: kind: 'service' is not one of Service, Job; did you"),
        ("kind: Pod\nname: a", "kind: 'Pod' is not one of Service, Job"),
        ("kind: Service\nargv: [x]", "name: is missing"),
        ("kind: Service\nname: A b\nargv: [x]", "m.yaml:2: name: 'A b' is not a valid name"),
        ("kind: Service\nname: 5\nargv: [x]", "m.yaml:2: name: is the number 5, not a text"),
        ("kind: Service\nname: a", "argv: is missing"),
        ("kind: Service\nname: a\nargv: sleep 5", "m.yaml:3: argv: is the text 'sleep 5', not a "),
        ("kind: Service\nname: a\nargv: []", "m.yaml:3: argv: is empty"),
        (SERVICE + "replica: 2", "m.yaml:4: replica: is not a known key; did you mean 'replicas'"),
        (SERVICE + "cpu: 2", "m.yaml:4: cpu: is not a known key"),
        (SERVICE + "replicas: many", "m.yaml:4: replicas: is the text 'many'"),
        (SERVICE + "replicas: -1", "m.yaml:4: replicas: -1 is out of range; use 0 to 1000"),
        (SERVICE + "memory: 64Mb", "m.yaml:4: memory: '64Mb' is not a memory quantity"),
        (SERVICE + "cpu_per_request: 2000 cores", "m.yaml:4: cpu_per_request:"),
        (SERVICE + "cpu_per_request: 2000", "m.yaml:4: cpu_per_request: 2000 is out of range"),
        (SERVICE + "deadline_ms: 0", "m.yaml:4: deadline_ms: 0 is out of range"),
        (SERVICE + "timeout_ms: 10", "m.yaml:4: timeout_ms: 10 is out of range; use 100 to"),
        (SERVICE + "port: 70000", "m.yaml:4: port: 70000 is out of range"),
        (SERVICE.replace("[", '["{prt}", ', 1), "{prt} is no placeholder; use {host} and {port}"),
        (SERVICE + "expose: world", "m.yaml:4: expose: 'world' is not one of loopback, node"),
        (SERVICE + "quota: folow", "did you mean 'follow'"),
        (SERVICE + "env:\n  A=B: c", "m.yaml:5: env.A=B: is not a valid variable"),
        (SERVICE + "env:\n  A: [b]", "m.yaml:5: env.A: is a list, not a text"),
        (SERVICE + "health: /x", "m.yaml:4: health: is the text '/x', not a mapping"),
        (SERVICE + "health:\n  path: x", "m.yaml:5: health.path: 'x'; begin it with '/'"),
        (SERVICE + "health:\n  interval_ms: 1", "m.yaml:5: health.interval_ms: 1 is out of range;"),
        (SERVICE + "health:\n  interval_s: 1", "m.yaml:5: health.interval_s: is not a known key; "),
        (SERVICE + "health:\n  failures: 0", "m.yaml:5: health.failures: 0 is out of range"),
        (SERVICE + "sites: []", "m.yaml:4: sites: is empty"),
        (SERVICE + "sites: [x, x]", "m.yaml:4: sites[1]: 'x' is given twice"),
        (SERVICE + "sites:\n- x\n- Y", "m.yaml:6: sites[1]: 'Y' is not a valid name"),
        (JOB + "sites: [a]", "m.yaml:4: sites: is not a known key"),
        (JOB + "near: a1", "m.yaml:4: near: is the text 'a1', not a mapping"),
        (JOB + "near: {node: a1}", "near.within_ms: is missing; give the round trip"),
        (JOB + "near:\n  node: a1\n  within_ms: -1", "m.yaml:6: near.within_ms: -1 is out of"),
        (
            JOB + "near: {service: web, node: a1, within_ms: 1}",
            "m.yaml:4: near: names both a node and a service; give one of `node`, `task` and",
        ),
        (JOB + "near: {service: We, within_ms: 1}", "near.service: 'We' is not a valid name"),
        (JOB + "near: {within_ms: 1}", "m.yaml:4: near: names nothing to be near to; give"),
        (JOB + "near: {node: a1, within_ms: 1, ms: 1}", "near.ms: is not a known key"),
        (JOB + "near: {task: b, within_ms: 1}", "near.task: no task is named 'b'; the job has"),
        (JOB + "near: {node: A/b, within_ms: 1}", "near.node: 'A' is not a valid name"),
        (
            JOB + "backup: true\nnode: a1\ncpuset: [1]",
            "cpuset: names core ids, and the job has a task with `near` or `backup`",
        ),
        (JOB + "ports: 80", "m.yaml:4: ports: is the number 80, not a list; write a list: [1, 2]"),
        (JOB + "ports: [80, 0]", "m.yaml:4: ports[1]: 0 is out of range; use 1 to 65535"),
        (JOB + "ports:\n- 80\n- 80", "m.yaml:4: ports: port 80 is there twice; give each once"),
        (JOB + "ports: [http]", "m.yaml:4: ports[0]: is the text 'http', not a whole number"),
        (JOB + "backup: 1", "m.yaml:4: backup: is the number 1, not"),
        (JOB + "requires: {key: a}", "m.yaml:4: requires: is a mapping, not a list"),
        (JOB + "requires:\n- key: a", "m.yaml:5: requires[0].values: In needs a value; give one"),
        (
            JOB + "requires:\n- {key: a b, operator: Exists}",
            "requires[0].key: 'a b' is",
        ),
        (JOB + "requires: [{key: a, operator: is}]", "requires[0].operator: 'is' is unknown; use"),
        (JOB + "requires: [{key: a, operator: Exists, weight: 1}]", "weight: is not a known key"),
        (
            JOB + "prefers: [{key: a, operator: Exists, weight: 101}]",
            "weight: 101 is out",
        ),
        (JOB + "tolerations: [{value: a}]", "tolerations[0].key: is empty beside a value"),
        (
            JOB + "tolerations: [{key: a, effect: Never}]",
            "effect: 'Never' is unknown",
        ),
        (
            SERVICE + "requires:\n- {key: a, values: [b/c]}",
            "requires[0].values[0]: 'b/c'",
        ),
        ("kind: Job\nname: a", "argv: is missing"),
        ("kind: Job\nname: a\ntasks: []", "m.yaml:3: tasks: is empty"),
        ("kind: Job\nname: a\ntasks: [x]", "m.yaml:3: tasks[0]: is the text 'x', not a mapping"),
        (GANG + "cpu: 1", "m.yaml:5: cpu: stands beside 'tasks'; move it into each task"),
        (GANG + "  - argv: [x]\n    cpus: 1", "m.yaml:6: tasks[1].cpus: is not a known key; did"),
        (
            GANG + "  - argv: [x]\n    name: task-0",
            "m.yaml:6: tasks[1].name: 'task-0' is given twi",
        ),
        (GANG + "  - argv: x", "m.yaml:5: tasks[1].argv: is the text 'x', not a list"),
        (JOB + "memory: 1k", "m.yaml:4: memory: 1000 is out of range"),
        (JOB + "deadline_s: -1", "m.yaml:4: deadline_s: -1 is out of range"),
        (JOB + "retries: 1.5", "m.yaml:4: retries: is the number 1.5, not a whole number"),
        (SERVICE + "---\n" + JOB + "---\n" + JOB, "m.yaml:10: name: Job 'a' is declared twice, "),
        ("not: yaml: at all", "m.yaml:1:10: document: is not YAML"),
    ],
)
def test_every_wrong_field_has_its_place(text: str, expected: str) -> None:
    assert expected in error_of(text)


def known_in(text: str) -> list[str]:
    """The keys that the error on an unknown one tells."""
    return error_of(text).partition("known here: ")[2].split(", ")


def test_the_keys_of_a_task_are_told_and_stand_beside_no_tasks() -> None:
    of_task = known_in(GANG + "    zzz: 1\n")
    assert {"argv", "cpu", "cores", "near", "backup", "ports"} <= set(of_task)
    of_job = known_in(JOB + "zzz: 1\n")
    assert set(of_job) == {"kind", "retries", "backoff_s", "backoff_max_s", "priority", "tasks",
                           *of_task}  # fmt: skip
    for key in set(of_task) - {"name"}:
        assert f"{key}: stands beside 'tasks'; move it" in error_of(f"{GANG}{key}: 1\n")
    assert not set(known_in(GANG + "zzz: 1\n")) & set(of_task) - {"name"}


def test_a_doubled_name_says_both_places() -> None:
    text = SERVICE + "---\n" + SERVICE
    assert "m.yaml:6: name: Service 'a' is declared twice, first at m.yaml:1" in error_of(text)


def test_one_name_for_a_service_and_a_job_is_fine() -> None:
    assert len(read_manifests(SERVICE + "---\n" + JOB, "m.yaml")) == 2


def test_too_many_tasks() -> None:
    assert "tasks: has 101; at most 100" in error_of(GANG + "  - argv: [x]\n" * 100)


def test_standard_input_is_passed_by_the_caller() -> None:
    (manifest,) = load_manifests("-", stdin=SERVICE.encode())
    assert manifest.where == "<stdin>:1"
    with pytest.raises(InvalidField, match="no standard input"):
        load_manifests("-")


def test_the_shipped_examples() -> None:
    (hello,) = load_manifests(CONFIGS / "service.yaml")
    assert isinstance(hello, Manifest)
    assert hello.spec.name == "hello"
    digest, pair = load_manifests(CONFIGS / "job.yaml")
    assert isinstance(pair.spec, JobSpec)
    assert digest.spec.name == "digest"
    assert [task.argv for task in pair.spec.tasks] == [("sleep", "1"), ("sleep", "2")]


def test_one_job_of_a_file_is_submitted(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(JOB)
    assert job_of(file).name == "a"
    with pytest.raises(InvalidField, match="holds 2 jobs; give one") as caught:
        job_of(CONFIGS / "job.yaml")
    assert caught.value.where.endswith("job.yaml")
    file.write_text(f"{JOB}---\n{SERVICE}")
    with pytest.raises(InvalidField, match=r"job.yaml:\d+: kind: is a Service"):
        job_of(file)


def test_the_job_of_the_readme_is_one() -> None:
    readme = (CONFIGS.parent / "README.md").read_text()
    text = readme.partition("```yaml\n# job.yaml\n")[2].partition("```")[0]
    job(text).validate()


def test_whole_numbers_are_told_in_full() -> None:
    with pytest.raises(InvalidField, match=r"^replicas: 100000000 is out of range; use 0 to "):
        ServiceSpec("a", ("x",), replicas=10**8).validate()
    told = [format_number(value) for value in (1e8, 0.25, -3, float("inf"), float("nan"), 1e300)]
    assert told == ["100000000", "0.25", "-3", "inf", "nan", "1e+300"]
