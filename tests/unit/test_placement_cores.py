"""Core ids in texts, masks, job files and specs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tango.adapters.manifests import read_manifests
from tango.model.cores import format_cores, ids_of, lowest, mask_of, parse_cores
from tango.model.errors import InvalidField
from tango.model.job import JobSpec, TaskSpec

IDS = st.sets(st.integers(0, 200)).map(lambda found: tuple(sorted(found)))


@given(ids=IDS)
def test_texts_and_masks_there_and_back(ids: tuple[int, ...]) -> None:
    assert ids_of(mask_of(ids)) == ids
    assert (parse_cores(format_cores(ids), "x") if ids else ()) == ids
    for count in (0, len(ids) // 2, len(ids)):
        assert ids_of(lowest(mask_of(ids), count)) == ids[:count]


@pytest.mark.parametrize("text", ["", "a", "1-", "3-1", "1,1", "0-2,1", "9999", "-1", "1;2"])
def test_what_is_no_list_of_cores(text: str) -> None:
    with pytest.raises(InvalidField, match="cpuset"):
        parse_cores(text, "cpuset")


def job_of(*lines: str) -> JobSpec:
    text = "\n".join(("kind: Job", "name: j", "argv: [x]", *lines))
    (manifest,) = read_manifests(text, "job.yaml")
    assert isinstance(manifest.spec, JobSpec)
    return manifest.spec


@pytest.mark.parametrize(
    ("lines", "cores", "cpu", "cpuset"),
    [
        ((), 0, 100, ()),
        (("cores: 2",), 2, 2000, ()),
        (("cores: 2", "cpu: 500m"), 2, 500, ()),
        (("node: w1", 'cpuset: "0-1,3"'), 3, 3000, (0, 1, 3)),
        (("node: w1", "cpuset: [3, 1]"), 2, 2000, (3, 1)),
        (("node: w1", "cpuset: 0"), 1, 1000, (0,)),
        (("node: w1", "cpuset: 0,1"), 2, 2000, (0, 1)),
        (("node: w1", "cores: 1", "cpuset: [2]"), 1, 1000, (2,)),
    ],
)
def test_cores_of_a_job_file(
    lines: tuple[str, ...], cores: int, cpu: int, cpuset: tuple[int, ...]
) -> None:
    (task,) = job_of(*lines).tasks
    assert (task.cores, task.cpu_millis, task.cpuset) == (cores, cpu, cpuset)


@pytest.mark.parametrize(
    ("lines", "error"),
    [
        (("cores: -1",), "job.yaml:4: cores: -1 is out of range"),
        (("cores: 99999999999999",), "job.yaml:4: cores: 99999999999999 is out of range; use 0 to"),
        (("cpu: 1", "cores: 1001"), "job.yaml:5: cores: 1001 is out of range; use 0 to 1000"),
        (("cores: two",), "job.yaml:4: cores: is"),
        (("cores: 2", "cpu: 3"), "job.yaml:5: cpu: 3 is more than its 2 cores can give; at most 2"),
        (("cpuset: [0]",), "cpuset: core ids mean something on one node only; say which one"),
        (("node: w1", "cores: 1", "cpuset: [0, 1]"), "cpuset: names 2 cores, and cores is 1"),
        (("node: w1", "cpuset: [0, 0]"), "cpuset: core 0 is there twice"),
        (("node: w1", "cpuset: 0-a"), "job.yaml:5: cpuset: '0-a' is no list of core ids; write"),
        (("node: w1", "cpuset: true"), "cpuset: 'true' is no list of core ids"),
        (("node: w/1",), "node: "),
    ],
)
def test_what_is_wrong_in_a_job_file_is_named_with_its_place(
    lines: tuple[str, ...], error: str
) -> None:
    with pytest.raises(InvalidField) as raised:
        job_of(*lines)
    assert error in str(raised.value)


def test_two_tasks_of_a_job_cannot_name_one_core() -> None:
    tasks = [TaskSpec(name, ("x",), node="w1", cpuset=(1,)) for name in "ab"]
    with pytest.raises(InvalidField, match=r"tasks\[1\].cpuset: core 1 of w1 is that of task 'a'"):
        JobSpec("j", tuple(tasks)).validate()
    other = TaskSpec("b", ("x",), node="w2", cpuset=(1,))
    JobSpec("j", (tasks[0], other)).validate()
