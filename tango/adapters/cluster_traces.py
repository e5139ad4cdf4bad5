"""Opens the files of cluster traces: Google Borg 2011 and 2019, Alibaba openb, EUA places.

Each returns an iterator of records that reads as it goes, for a `with` statement; paths may end in
.gz. skip_bad_rows: count broken rows in `skipped` and go on, instead of raising. Errors are
TraceFile's: RowError as "file:line: column: problem; fix", InvalidField for a file that is not
there.
"""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path

from tango.adapters.trace_reader import TraceFile
from tango.workload.borg_2011 import JobRows, MachineRows, TaskRows, UsageRows
from tango.workload.borg_2019 import CollectionRows, InstanceRows
from tango.workload.cluster_events import JobEvent, MachineEvent, TaskEvent, TaskUsage
from tango.workload.eua import Place, PlaceRows, SiteRows
from tango.workload.openb import NodeRows, OpenbNode, OpenbPod, PodRows


def read_machine_events(path: Path, *, skip_bad_rows: bool = False) -> TraceFile[MachineEvent]:
    """Borg 2011 machine_events; an event of a machine that is not there is a broken row."""
    return TraceFile(path, MachineRows(), skip_bad_rows=skip_bad_rows)


def read_task_events(
    path: Path, *, machines: Container[int] | None = None, skip_bad_rows: bool = False
) -> TraceFile[TaskEvent]:
    """Borg 2011 task_events. machines: refuse events on any other machine."""
    return TraceFile(path, TaskRows(machines), skip_bad_rows=skip_bad_rows)


def read_job_events(path: Path, *, skip_bad_rows: bool = False) -> TraceFile[JobEvent]:
    """Borg 2011 job_events."""
    return TraceFile(path, JobRows(), skip_bad_rows=skip_bad_rows)


def read_task_usage(path: Path, *, skip_bad_rows: bool = False) -> TraceFile[TaskUsage]:
    """Borg 2011 task_usage."""
    return TraceFile(path, UsageRows(), skip_bad_rows=skip_bad_rows)


def read_instance_events(path: Path, *, skip_bad_rows: bool = False) -> TraceFile[TaskEvent]:
    """Borg 2019 instance_events, CSV with a header or JSON lines."""
    return TraceFile(path, InstanceRows(), skip_bad_rows=skip_bad_rows)


def read_collection_events(path: Path, *, skip_bad_rows: bool = False) -> TraceFile[JobEvent]:
    """Borg 2019 collection_events, CSV with a header or JSON lines."""
    return TraceFile(path, CollectionRows(), skip_bad_rows=skip_bad_rows)


def read_openb_nodes(path: Path, *, skip_bad_rows: bool = False) -> TraceFile[OpenbNode]:
    """The openb node list."""
    return TraceFile(path, NodeRows(), skip_bad_rows=skip_bad_rows)


def read_openb_pods(path: Path, *, skip_bad_rows: bool = False) -> TraceFile[OpenbPod]:
    """The openb pod list."""
    return TraceFile(path, PodRows(), skip_bad_rows=skip_bad_rows)


def read_sites(path: Path, *, skip_bad_rows: bool = False) -> TraceFile[Place]:
    """EUA sites."""
    return TraceFile(path, SiteRows(), skip_bad_rows=skip_bad_rows)


def read_users(path: Path, *, skip_bad_rows: bool = False) -> TraceFile[Place]:
    """EUA users."""
    return TraceFile(path, PlaceRows(), skip_bad_rows=skip_bad_rows)
