"""Formats of the cluster traces: what a row says, and every way in which one can be wrong."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tango.adapters.cluster_traces import (
    read_collection_events,
    read_instance_events,
    read_job_events,
    read_machine_events,
    read_openb_nodes,
    read_openb_pods,
    read_sites,
    read_task_events,
    read_task_usage,
    read_users,
)
from tango.workload.cluster_events import (
    AFTER_TRACE_US,
    JobEvent,
    MachineEvent,
    MachineStep,
    Step,
    TaskEvent,
    TaskUsage,
)
from tango.workload.eua import Place
from tango.workload.openb import OpenbNode, OpenbPod
from tango.workload.trace_rows import RowError

Reader = Callable[..., Iterator[Any]]

MACHINES = "0,5,0,HofLGzk1Or=,0.5,0.2493\n"
TASK = "0,2,3418309,1,329150663,1,70s3v5=,3,9,0.125,0.07446,0.0004244,0\n"
JOB = "0,,3418309,0,70s3v5=,3,IHgto=,wAmgn=\n"
USAGE = "600,900,7,1,41,0.5,0.25,0.1,0.1,0.1,0.1,0,0,0.6,0,2.4,0.01,0,1,0\n"
NODES = "sn,cpu_milli,memory_mib,gpu,model\n"
PODS = (
    "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time,"
    "deletion_time,scheduled_time\n"
)
POD = "p0,12000,16384,1,1000,,LS,Running,5,12537496,7\n"
SITES = "SITE_ID,LATITUDE,LONGITUDE,NAME\n"
INSTANCE = {
    "time": "600000000",
    "type": 3,
    "collection_id": "375901",
    "scheduling_class": 2,
    "collection_type": 0,
    "priority": 200,
    "instance_index": 4,
    "machine_id": "85",
    "resource_request": {"cpus": 0.02, "memory": 0.011},
    "constraint": [],
}
INSTANCES = (
    "time,type,collection_id,scheduling_class,priority,instance_index,machine_id,"
    "resource_request.cpus,resource_request.memory\n"
)
COLLECTIONS = "time,type,collection_id,scheduling_class,priority,collection_type,user\n"


def only(read: Reader, tmp_path: Path, content: str) -> Any:
    path = tmp_path / "trace"
    path.write_text(content)
    (found,) = read(path)
    return found


def instance(**changes: object) -> str:
    return json.dumps({k: v for k, v in {**INSTANCE, **changes}.items() if v != "left out"}) + "\n"


def test_borg_2011(tmp_path: Path) -> None:
    machine = only(read_machine_events, tmp_path, MACHINES)
    assert machine == MachineEvent(1, 0, 5, MachineStep.ADD, "HofLGzk1Or=", 0.5, 0.2493)
    task = only(read_task_events, tmp_path, TASK)
    assert task == TaskEvent(
        1, 0, Step.SCHEDULE, 3418309, 1, 329150663, 3, 9, 0.125, 0.07446, missing=True
    )
    job = only(read_job_events, tmp_path, JOB)
    assert job == JobEvent(1, 0, Step.SUBMIT, 3418309, 3, None, "70s3v5=", "wAmgn=")
    usage = only(read_task_usage, tmp_path, USAGE)
    assert usage == TaskUsage(1, 600, 900, 7, 1, 41, 0.5, 0.25)
    assert only(read_task_usage, tmp_path, USAGE.rpartition(",")[0] + "\n") == usage  # v2.0


def test_borg_2011_fields_that_may_be_empty(tmp_path: Path) -> None:
    task = only(read_task_events, tmp_path, f"{AFTER_TRACE_US},,7,0,,4,,,0,,,,\n")
    assert task == TaskEvent(
        1, AFTER_TRACE_US, Step.FINISH, 7, 0, None, None, 0, None, None, missing=False
    )
    assert only(read_machine_events, tmp_path, "0,5,0,,,\n").cpu is None


def test_borg_2011_steps(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    path.write_text("".join(TASK.replace(",1,70s", f",{code},70s") for code in range(9)))
    assert [event.step.value for event in read_task_events(path)] == [
        "submit",
        "schedule",
        "evict",
        "fail",
        "finish",
        "kill",
        "lost",
        "update_pending",
        "update_running",
    ]


def test_borg_2019_json_and_csv_say_the_same(tmp_path: Path) -> None:
    wanted = TaskEvent(1, 600000000, Step.SCHEDULE, 375901, 4, 85, 2, 200, 0.02, 0.011)
    assert only(read_instance_events, tmp_path, instance()) == wanted
    named = instance(type="SCHEDULE", scheduling_class="SENSITIVE", collection_type="JOB")
    assert only(read_instance_events, tmp_path, named) == wanted
    flat = instance(
        resource_request="left out", resource_request_cpus=0.02, resource_request_memory="0.011"
    )
    assert only(read_instance_events, tmp_path, flat) == wanted
    row = "600000000,3,375901,2,200,4,85,0.02,0.011\n"
    for header in (INSTANCES, INSTANCES.replace("request.", "request_")):
        found = only(read_instance_events, tmp_path, header + row)
        assert found.line == 2
        assert (found.at_us, found.step, found.machine) == (600000000, Step.SCHEDULE, 85)
        assert (found.cpu, found.memory, found.priority) == (0.02, 0.011, 200)


def test_borg_2019_what_may_be_left_out(tmp_path: Path) -> None:
    bare = instance(
        machine_id=None, resource_request="left out", scheduling_class="left out", missing_type=2
    )
    found = only(read_instance_events, tmp_path, bare)
    assert (found.machine, found.cpu, found.memory, found.scheduling_class) == (None,) * 4
    assert found.missing
    assert not found.reservation
    assert only(read_instance_events, tmp_path, instance(machine_id=0)).machine is None
    assert only(read_instance_events, tmp_path, instance(machine_id=-1)).machine == -1
    assert only(read_instance_events, tmp_path, instance(collection_type=1)).reservation
    assert not only(read_instance_events, tmp_path, instance(missing_type=0)).missing
    half = only(read_instance_events, tmp_path, instance(resource_request={"cpus": 0}))
    assert (half.cpu, half.memory) == (0, None)


def test_borg_2019_collections(tmp_path: Path) -> None:
    row = "600,FINISH,9,3,360,ALLOC_SET,someone\n"
    assert only(read_collection_events, tmp_path, COLLECTIONS + row) == JobEvent(
        2, 600, Step.FINISH, 9, 3, 360, "someone", "", missing=False, reservation=True
    )
    found = only(
        read_collection_events, tmp_path, instance(type=10, collection_logical_name="job-7")
    )
    assert (found.step, found.priority, found.name) == (Step.UPDATE_RUNNING, 200, "job-7")


def test_openb(tmp_path: Path) -> None:
    node = only(read_openb_nodes, tmp_path, NODES + "n0,32000,262144,0,\n")
    assert node == OpenbNode(2, "n0", 32_000, 256 * 2**30)
    pod = only(read_openb_pods, tmp_path, PODS + POD)
    wanted = OpenbPod(2, "p0", 12_000, 16 * 2**30, "LS", "Running", 5, 7, 12537496)
    assert pod == wanted
    never = only(read_openb_pods, tmp_path, PODS + "p1,1,0,0,0,,BE,Pending,5,,\n")
    assert (never.scheduled_s, never.deleted_s) == (None, None)


def test_eua(tmp_path: Path) -> None:
    site = only(read_sites, tmp_path, SITES + "10003026,-37.81517,144.97476,Spring St\n")
    assert site == Place(-37.81517, 144.97476, "10003026")
    assert only(read_users, tmp_path, "Longitude,Latitude\n144.9,-37.8\n") == Place(-37.8, 144.9)


POD_CELLS = POD.split(",")


def pod(place: int, value: str) -> str:
    return PODS + ",".join([*POD_CELLS[:place], value, *POD_CELLS[place + 1 :]])


@pytest.mark.parametrize(
    ("read", "content", "line", "column", "problem"),
    [
        (read_machine_events, MACHINES + "1,6,1,,,\n", 2, "machine ID", "remove: machine 6 is not"),
        (
            read_machine_events,
            "1,6,2,,0.5,0.5\n",
            1,
            "machine ID",
            "update: machine 6 is not there",
        ),
        (read_machine_events, MACHINES * 2, 2, "machine ID", "add: machine 5 is there already"),
        (read_machine_events, MACHINES + "9,6,0,,,\n8,7,0,,,\n", 3, "time", "time goes back by"),
        (read_machine_events, "0,5,3,,,\n", 1, "event type", "3 is out of range; write 0 to 2"),
        (read_machine_events, "0,5,0,,x,\n", 1, "CPUs", "'x' is not a number"),
        (read_machine_events, "0,5,0,,,-1\n", 1, "Memory", "-1 is out of range"),
        (read_machine_events, "0,5,0,\n", 1, "row", "4 fields, this table has 6"),
        (read_task_events, TASK + TASK.replace("0,2,", "x,2,"), 2, "time", "'x' is not a whole"),
        (read_task_events, "9" + TASK + TASK, 2, "time", "time goes back by 0.0000900 s"),
        (read_task_events, TASK.replace(",1,70", ",9,70"), 1, "event type", "9 is out of range"),
        (read_task_events, TASK.replace(",3,9,", ",4,9,"), 1, "scheduling class", "4 is out"),
        (read_task_events, TASK.replace(",3,9,", ",3,,"), 1, "priority", "'' is not a whole"),
        (read_task_events, TASK.replace("0.125", "1e9"), 1, "CPU request", "out of range"),
        (read_task_events, TASK.replace("0.07446", "nan"), 1, "memory request", "not a number"),
        (read_task_events, TASK.replace(",0\n", "\n"), 1, "row", "12 fields, this table has 13"),
        (read_task_events, TASK.replace("3418309", ""), 1, "job ID", "'' is not a whole number"),
        (read_job_events, JOB.replace(",0,70", ",x,70"), 1, "event type", "'x' is not a whole"),
        (read_task_usage, USAGE.replace("900", "599"), 1, "end time", "599 is before the start"),
        (read_task_usage, USAGE + USAGE.replace("600", "0"), 2, "start time", "time goes back"),
        (read_task_usage, USAGE.replace("0.5,", ","), 1, "CPU rate", "'' is not a number"),
        (read_task_usage, USAGE.replace(",0,1,0", ""), 1, "row", "17 fields, this table has 20"),
        (read_instance_events, INSTANCES.replace("priority,", ""), 1, "priority", "is missing"),
        (read_instance_events, INSTANCES + "1,0,5\n", 2, "row", "3 fields, the header has 9"),
        (read_instance_events, INSTANCES + "1,0,5,1,9,,,,\n", 2, "instance_index", "is missing"),
        (read_instance_events, instance() + "{\n", 2, "row", "not a JSON object: Expecting"),
        (read_instance_events, instance() + "[" * 20_000, 2, "row", "not a JSON object"),
        (
            read_instance_events,
            instance() + "[1]\n",
            2,
            "row",
            "not a JSON object; one object a line",
        ),
        (read_instance_events, instance(type=11), 1, "type", "11 is out of range; write 0 to 10"),
        (read_instance_events, instance(type="LAUNCH"), 1, "type", "'LAUNCH' is unknown; write 0"),
        (read_instance_events, instance(type=True), 1, "type", "'True' is unknown"),
        (read_instance_events, instance(time="left out"), 1, "time", "is missing; every row has"),
        (read_instance_events, instance(time=1.5), 1, "time", "'1.5' is not a whole number"),
        (read_instance_events, instance(priority={}), 1, "priority", "'{}' is not a whole number"),
        (read_instance_events, instance() + instance(time=5), 2, "time", "time goes back by 599.9"),
        (read_instance_events, instance(machine_id=-2), 1, "machine_id", "-2 is out of range"),
        (
            read_instance_events,
            instance(resource_request=3),
            1,
            "resource_request",
            "is not an object",
        ),
        (
            read_instance_events,
            instance(resource_request={"cpus": -1}),
            1,
            "resource_request.cpus",
            "-1 is out of range",
        ),
        (read_collection_events, COLLECTIONS + "1,0,,1,9,0,u\n", 2, "collection_id", "is missing"),
        (read_openb_nodes, "sn,cpu_milli\n", 1, "memory_mib", "the column is missing"),
        (read_openb_nodes, NODES + "n,1,1,0,\n" * 2, 3, "sn", "'n' is given twice"),
        (read_openb_nodes, NODES + "n,0,1,0,\n", 2, "cpu_milli", "0 is out of range; write 1 to"),
        (read_openb_nodes, NODES + ",1,1,0,\n", 2, "sn", "is empty"),
        (read_openb_pods, pod(6, "ls"), 2, "qos", "'ls' is unknown; write one of LS, Guaranteed"),
        (read_openb_pods, pod(7, "Done"), 2, "pod_phase", "'Done' is unknown"),
        (read_openb_pods, pod(8, ""), 2, "creation_time", "'' is not a number"),
        (read_openb_pods, pod(10, "4\n"), 2, "scheduled_time", "4 is before creation_time 5"),
        (read_openb_pods, pod(9, "6"), 2, "deletion_time", "6 is before scheduled_time 7"),
        (read_openb_pods, PODS + POD + pod(8, "4")[len(PODS) :], 3, "creation_time", "goes back"),
        (read_openb_pods, PODS + POD[:8], 2, "row", "2 fields, the header has 11"),
        (read_sites, "SITE_ID,LATITUDE\n", 1, "longitude", "the column is missing"),
        (read_sites, SITES + "7,1,2,a\n7,1,2,b\n", 3, "site_id", "'7' is given twice"),
        (read_sites, SITES + "7,1,181,a\n", 2, "longitude", "181 is out of range"),
        (read_users, "Latitude,Longitude\n1,\n", 2, "longitude", "'' is not a number"),
        (read_users, "", 1, "row", "the file is empty; the first line is a header with LATITUDE"),
    ],
)
def test_what_is_wrong_is_told_by_line_and_column(
    tmp_path: Path, read: Reader, content: str, line: int, column: str, problem: str
) -> None:
    path = tmp_path / "trace"
    path.write_text(content)
    with pytest.raises(RowError) as caught:
        list(read(path))
    assert str(caught.value).startswith(f"{path}:{line}: {column}: ")
    assert problem in str(caught.value)


def test_tasks_on_machines_that_the_cell_lacks(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    path.write_text(TASK + TASK.replace("329150663", "") + TASK.replace("329150663", "5"))
    with read_task_events(path, machines={5}, skip_bad_rows=True) as rows:
        assert [event.machine for event in rows] == [None, 5]
    assert str(rows.problems[0]).startswith(f"{path}:1: machine ID: there is no machine 329150663")


def test_a_machine_that_went_may_come_back(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    path.write_text(MACHINES + "5,5,1,,,\n5,5,1,,,\n6,5,0,,1,1\n7,5,2,,0.5,1\n")
    with read_machine_events(path, skip_bad_rows=True) as rows:
        assert [event.step.value for event in rows] == ["add", "remove", "add", "update"]
    assert [problem.line for problem in rows.problems] == [3]
