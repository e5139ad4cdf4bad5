"""`tango place --dry-run` on a snapshot: what it shows, how it exits, what it refuses."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tango.adapters.manifests import read_manifests
from tango.cli.main import tango
from tango.model.errors import InvalidField
from tango.model.job import JobSpec

CONFIGS = Path(__file__).parents[2] / "configs"
CLUSTER = str(CONFIGS / "cluster.yaml")
NEAR = """\
kind: Pod
name: near-web
cpu: 500m
memory: 256Mi
images: [python:3.12]
near: web-1
bound_ms: 20
"""
JOB = """\
kind: Job
name: pair
tasks:
  - {{name: left, argv: [x], cpu: {left}, memory: 64Mi}}
  - {{name: right, argv: [x], cpu: {right}, memory: 64Mi}}
"""


def place(*words: str, stdin: str = "", rc: int = 0) -> str:
    done = CliRunner().invoke(
        tango, ["place", "--dry-run", *words], input=stdin, standalone_mode=False
    )
    if done.exception is not None:
        raise done.exception
    assert done.return_value == rc, done.output
    return done.output


def decided(text: str, *words: str, rc: int = 0) -> Any:
    cluster = () if "--snapshot" in words else ("--snapshot", CLUSTER)
    return json.loads(place("-f", "-", *cluster, *words, "--json", stdin=text, rc=rc))


def test_the_winner_the_runner_up_all_scores_and_who_was_left_out_by_what() -> None:
    assert decided(NEAR) == {
        "source": CLUSTER,
        "profile": "default",
        "nodes": 4,
        "jobs": [
            {
                "job": "near-web",
                "placed": True,
                "reason": "",
                "nearest": "",
                "never_fits": "",
                "tasks": [
                    {
                        "task": "near-web",
                        "node": "a1",
                        "backup": None,
                        "cores": [],
                        "score": pytest.approx(91.796875),
                        "runner_up": "b1",
                        "runner_up_score": pytest.approx(49.245, abs=0.001),
                        "scores": [
                            marks("delay", 100, 60),
                            marks("fit", 67.1875, 96.09375),
                            marks("image", 100, 0),
                            marks("layers", 100, 40.887),
                        ],
                        "removed": [
                            {"plugin": "", "why": "gone or cordoned", "nodes": ["a2"]},
                            {
                                "plugin": "taints",
                                "why": "tainted, and not tolerated",
                                "nodes": ["cloud"],
                            },
                        ],
                        "download": {"missing_bytes": 0, "seconds": 0.0, "unknown": []},
                    }
                ],
            }
        ],
    }


def marks(plugin: str, mine: float, other: float) -> dict[str, object]:
    return {
        "plugin": plugin,
        "weight": 1.0,
        "score": pytest.approx(mine),
        "runner_up_score": pytest.approx(other, abs=0.001),
    }


def test_people_read_it() -> None:
    assert place("-f", "-", "--snapshot", CLUSTER, stdin=NEAR).splitlines() == [
        f"On {CLUSTER} (4 nodes), by the profile default:",
        "",
        "near-web has room",
        "  near-web -> a1, with 91.8 of 100; next best is b1 with 49.2",
        "    PLUGIN  WEIGHT  a1     b1  ",
        "    delay   1       100.0  60.0",
        "    fit     1       67.2   96.1",
        "    image   1       100.0  0.0 ",
        "    layers  1       100.0  40.9",
        "    left out: a2 (gone or cordoned)",
        "    left out: cloud (taints: tainted, and not tolerated)",
        "",
        "Nothing was done: this was a dry run.",
    ]


def test_the_shipped_job_on_the_shipped_cluster() -> None:
    shown = place("-f", str(CONFIGS / "job.yaml"), "--snapshot", CLUSTER)
    assert "digest has room\n  digest/main -> b1, with 96.7 of 100" in shown
    assert "pair has room for all of its 2 tasks" in shown


def test_the_pod_and_the_output_of_the_documentation() -> None:
    text = (CONFIGS.parent / "docs" / "placement.md").read_text()
    blocks = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    (pod,) = (block for block in blocks if "kind: Pod" in block)
    (job,) = decided(pod)["jobs"]
    assert job["tasks"][0]["node"] == "a1"
    jobs = [
        manifest.spec
        for block in blocks
        if "kind: Job" in block
        for manifest in read_manifests(block, "placement.md")
    ]
    assert all(isinstance(one, JobSpec) for one in jobs)
    first, second = (one.tasks[0] for one in jobs if isinstance(one, JobSpec))
    assert first.terms is not None
    assert second.ports == (9090,)
    (shown,) = re.findall(r"```\n\$ tango place .*?\n(.*?)\.\.\.\n", text, re.DOTALL)
    said = place("-f", str(CONFIGS / "job.yaml"), "--snapshot", CLUSTER)
    told = said.replace(CLUSTER, "configs/cluster.yaml").splitlines()
    assert [line.rstrip() for line in told][: len(shown.splitlines())] == shown.splitlines()


def test_without_a_runner_up_there_is_no_second_score() -> None:
    text = "kind: Pod\nname: web-2\nmemory: 1Gi\ngroup: web\nports: [8080]\n"
    (task,) = decided(text)["jobs"][0]["tasks"]
    assert (task["node"], task["runner_up"], task["runner_up_score"]) == ("b1", "", None)
    assert [one["runner_up_score"] for one in task["scores"]] == [None, None]
    assert task["removed"][-1] == {
        "plugin": "fit", "why": "port 8080 is taken", "nodes": ["a1"]
    }  # fmt: skip
    shown = place("-f", "-", "--snapshot", CLUSTER, stdin=text)
    assert "no other node would do" in shown
    assert "left out: a1 (fit: port 8080 is taken)" in shown


def test_each_job_sees_the_ones_before_it() -> None:
    found = decided("---\n".join(f"kind: Pod\nname: p{n}\ncores: 4\n" for n in range(3)), rc=1)
    assert [job["placed"] for job in found["jobs"]] == [True, True, False]
    assert [job["tasks"][0]["cores"] for job in found["jobs"]] == [[0, 1, 2, 3], [4, 5, 6, 7], []]


def test_a_job_that_waits_is_told_from_one_that_never_fits() -> None:
    (waits,) = decided(JOB.format(left=8, right=4), rc=1)["jobs"]
    assert (waits["placed"], waits["never_fits"]) == (False, "")
    # a1 has 4 CPU, of which web-1 holds 1.5: right would fit, were it not for that.
    assert waits["nearest"] == "nearest a1, 2500m of 4 CPU"
    assert [task["task"] for task in waits["tasks"]] == ["pair/right"]
    (never,) = decided(JOB.format(left=8, right=5), rc=1)["jobs"]
    # Each alone would fit on b1; a gang that needs it twice never does.
    assert never["never_fits"] == "nearest a1, 4 of 5 CPU"
    shown = place("-f", "-", "--snapshot", CLUSTER, stdin=JOB.format(left=8, right=5), rc=1)
    assert "pair has no room now: pair/right fits nowhere beside the others of it" in shown
    assert "NeverFits, not even on the empty cluster: nearest a1, 4 of 5 CPU" in shown
    shown = place("-f", "-", "--snapshot", CLUSTER, stdin=JOB.format(left=8, right=4), rc=1)
    assert "    nearest a1, 2500m of 4 CPU\n" in shown


def test_a_cordoned_node_is_no_reason_to_say_never(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(
        "kind: ClusterSnapshot\nversion: 1\n"
        "nodes: [{name: n, cpu: 4, memory: 1Gi, cordoned: true}]\n"
    )
    (job,) = decided(JOB.format(left=1, right=1), "--snapshot", str(path), rc=1)["jobs"]
    assert (job["never_fits"], job["reason"]) == ("", "none of 1 nodes will do: 1 gone or cordoned")


def test_a_cluster_without_nodes(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    path.write_text('{"kind": "ClusterSnapshot", "version": 1, "nodes": []}')
    shown = place("-f", "-", "--snapshot", str(path), stdin=NEAR.partition("near: ")[0], rc=1)
    assert "    there is no node\n" in shown
    assert "NeverFits" not in shown


def test_what_is_to_be_downloaded_and_how_long_that_takes() -> None:
    text = "kind: Pod\nname: p\nnode: {}\nimages: [{}]\ntolerations: [{{}}]\n"
    one = decided(text.format("b1", "python:3.12"))["jobs"][0]["tasks"][0]["download"]
    assert one == {"missing_bytes": 42_109_893, "seconds": 42_109_893 / 2.5e6, "unknown": []}
    shown = place("-f", "-", "--snapshot", CLUSTER, stdin=text.format("b1", "python:3.12"))
    assert "to download: 40.2 MiB, about 16.8 s" in shown
    shown = place("-f", "-", "--snapshot", CLUSTER, stdin=text.format("cloud", "python:3.12"))
    assert "to download: 67.9 MiB, at an unknown bandwidth" in shown
    shown = place("-f", "-", "--snapshot", CLUSTER, stdin=text.format("b1", "other"))
    assert "no layers are known of docker.io/library/other:latest" in shown


def test_a_profile_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "packed.toml"
    path.write_text(
        '[placement]\nname = "packed"\n[[placement.plugins]]\nname = "fit"\n'
        'parameters = { strategy = "most" }\n'
    )
    job = JOB.format(left="100m", right="100m")
    assert decided(job)["jobs"][0]["tasks"][0]["node"] == "b1"
    packed = decided(job, "--profile", str(path))
    assert (packed["profile"], packed["jobs"][0]["tasks"][0]["node"]) == ("packed", "a1")


def test_a_saved_snapshot_decides_alike(tmp_path: Path) -> None:
    path = tmp_path / "saved.json"
    first = decided(NEAR, "--save-snapshot", str(path))
    second = decided(NEAR, "--snapshot", str(path))
    assert second["jobs"] == first["jobs"]
    assert second["source"] == str(path)
    with pytest.raises(InvalidField, match="--save-snapshot: cannot be written"):
        decided(NEAR, "--save-snapshot", str(tmp_path / "no" / "saved.json"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (NEAR.replace("web-1", "nobody"), "near-web.near: no node or pod is named 'nobody'"),
        (
            NEAR.replace("bound_ms: 20", "bound_ms: -20"),
            "<stdin>:7: bound_ms: -20 is out of range; use 0 to 86400000",
        ),
        ("kind: Pod\nname: web-1\n", "a pod of this name is on a1 already"),
        (NEAR + "extra: 1\n", "<stdin>:8: extra: is not a known key"),
        (f"{NEAR}---\n{NEAR}", "<stdin>:10: name: 'near-web' is there twice"),
        (f"{NEAR}---\n{JOB.format(left=1, right=1)}", "<stdin>:9: kind: is 'Job' beside pods"),
        (JOB.format(left=-1, right=1), "<stdin>:4: tasks[0].cpu: -1 is not a CPU quantity"),
        ("kind: Pods\nname: p\n", "<stdin>:1: kind: 'Pods' is not one of Job, Pod; did you mean"),
        ("name: p\n", "<stdin>:1: kind: is missing; write `kind: Job` or `kind: Pod`"),
        ("kind: Service\nname: s\nargv: [x]\n", "<stdin>:1: kind: Service; replicas of services"),
        (
            "kind: Job\nname: j\nargv: [x]\nnear: {service: web, within_ms: 5}\n",
            "j: tasks[0].near.service: is of a running cluster",
        ),
        ("kind: Jbo\nname: s\n", "<stdin>:1: kind: 'Jbo' is not one of Job, Pod"),
        ("", "<stdin>: document: is empty"),
    ],
)  # fmt: skip
def test_bad_input_is_named_with_its_place(text: str, said: str) -> None:
    with pytest.raises(InvalidField) as caught:
        decided(text)
    assert said in str(caught.value)


def test_bad_files_are_named_with_their_place(tmp_path: Path) -> None:
    profile = tmp_path / "p.toml"
    profile.write_text('[[placement.plugins]]\nname = "fti"\n')
    with pytest.raises(InvalidField, match=r"p\.toml:2: .*no placement plugin is named 'fti'"):
        decided(NEAR, "--profile", str(profile))
    profile.write_text('[[placement.plugins]]\nname = "fit"\nparameters.strategy = "some"\n')
    with pytest.raises(InvalidField, match=r"p\.toml:1: fit\.strategy: 'some' is unknown"):
        decided(NEAR, "--profile", str(profile))
    cluster = tmp_path / "c.yaml"
    cluster.write_text("kind: ClusterSnapshot\nversion: 1\nnodes:\n  - {name: n, cpu: 1}\n")
    with pytest.raises(InvalidField, match=r"c\.yaml:4: nodes\[0\]\.memory: is missing"):
        decided(NEAR, "--snapshot", str(cluster))
    with pytest.raises(InvalidField, match="cannot be read: No such file"):
        decided(NEAR, "--snapshot", str(tmp_path / "none.json"))


def test_without_dry_run_it_says_who_does_it() -> None:
    done = CliRunner().invoke(tango, ["place", "-f", "-"], input=NEAR, standalone_mode=False)
    assert isinstance(done.exception, InvalidField)
    assert "`tango submit -f FILE` does it" in str(done.exception)


BOUND_JOB = """\
kind: Job
name: bound
argv: [x]
cpu: 100m
memory: 64Mi
near: {node: %s, within_ms: 1}
"""


def test_a_jobs_bound_counts_on_a_snapshot() -> None:
    (job,) = decided(BOUND_JOB % "a1")["jobs"]
    assert job["tasks"][0]["node"] == "a1", "b1 is 8 ms away, and freer"
    with pytest.raises(InvalidField, match=r"near: no node or pod is named 'nosuch'"):
        decided(BOUND_JOB % "nosuch")


BACKED = """\
kind: Job
name: backed
argv: [x]
cpu: 500m
memory: 1Gi
near: {node: a, within_ms: 20}
backup: true
"""
RESERVED = """\
kind: ClusterSnapshot
version: 1
nodes:
  - {name: a, cpu: 4, memory: 4Gi}
  - {name: b, cpu: 4, memory: 4Gi}
  - {name: c, cpu: 4, memory: 4Gi}
round_trips:
  between: nodes
  pairs:
    - {from: a, to: b, rtt_ms: 10}
    - {from: a, to: c, rtt_ms: 50}
    - {from: b, to: c, rtt_ms: 50}
pods:
  - {name: old, cpu: 1, memory: 1Gi, near: a, bound_ms: 20, on: a, backup: b}
reservations:
  - {node: b, cpu: 1, memory: MEMORY}
"""


def reserved(tmp_path: Path, memory: str) -> str:
    file = tmp_path / "cluster.yaml"
    file.write_text(RESERVED.replace("MEMORY", memory))
    return str(file)


def test_room_that_is_reserved_counts_and_backups_are_shown(tmp_path: Path) -> None:
    file = reserved(tmp_path, "1Gi")
    (job,) = decided(BACKED, "--snapshot", file)["jobs"]
    (task,) = job["tasks"]
    # On a its backup is on b, beside that of `old`; on b it would be on a.
    assert {task["node"], task["backup"]} == {"a", "b"}
    assert "its backup: on" in place("-f", "-", "--snapshot", file, stdin=BACKED)
    full = reserved(tmp_path, "3584Mi")
    (job,) = decided(BACKED, "--snapshot", full)["jobs"]
    (task,) = job["tasks"]
    assert (task["node"], task["backup"]) == ("a", "")
    assert "its backup: none has room: unprotected" in place(
        "-f", "-", "--snapshot", full, stdin=BACKED
    )
    saved = tmp_path / "saved.json"
    decided(BACKED, "--snapshot", full, "--save-snapshot", str(saved))
    kept = json.loads(saved.read_text())
    assert kept["reservations"] == [{"node": "b", "cpu": "1", "memory": 3584 * 2**20}]
    assert kept["pods"][0]["backup"] == "b"
    assert decided(BACKED, "--snapshot", str(saved))["jobs"] == [job]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("node: b,", "node: z,", "reservations[0].node: no node is named 'z'"),
        ("memory: MEMORY", "memory: 8Gi", "reservations[0]"),
        ("backup: b", "backup: z", "pods[0].backup: no node is named 'z'"),
    ],
)
def test_reservations_that_cannot_be_are_refused(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text(RESERVED.replace(old, new).replace("MEMORY", "1Gi"))
    with pytest.raises(InvalidField) as refused:
        place("-f", "-", "--snapshot", str(file), stdin=BACKED)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--improve", "-f", "x"), "-f: has no place beside --improve"),
        (("--improve", "--dry-run", "--apply"), "--apply: contradicts --dry-run"),
        (("--apply", "-f", "x"), "--apply: is for --improve"),
        (("--dry-run", "-f", "x", "--max-moves", "3"), "--max-moves: is for --improve"),
        (("--dry-run", "-f", "x", "--max-moves", "10"), "--max-moves: is for --improve"),
        ((), "-f: is missing"),
    ],
)
def test_better_plans_take_no_file(words: tuple[str, ...], said: str) -> None:
    done = CliRunner().invoke(tango, ["place", *words], standalone_mode=False)
    assert said in str(done.exception)
