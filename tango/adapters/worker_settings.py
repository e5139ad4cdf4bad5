"""Configuration of a worker: a TOML file to the frozen settings of tango.model.settings."""

from __future__ import annotations

import os
import pwd
import re
from dataclasses import replace
from pathlib import Path

from tango.adapters.documents import Section
from tango.adapters.image_settings import read_engine_settings
from tango.adapters.node_marks import read_labels, read_taints
from tango.adapters.server_settings import SERVER, read_decisions, read_record, read_server
from tango.adapters.setting_fields import (
    read_body,
    read_bounded_memory,
    read_name,
    read_optional_path,
    read_path,
    read_peer,
)
from tango.adapters.supervisor_start import MAX_SOCKET_PATH
from tango.adapters.toml_documents import load_toml
from tango.adapters.tuning import worker_tuning
from tango.model.errors import InvalidField
from tango.model.settings import TlsSettings, WorkerSettings

_CGROUP_ROOT = re.compile(r"(?:(?!\.{1,2}(?:/|$))[A-Za-z0-9._-]+(?:/(?!$)|$))*")
_CPUSET = re.compile(r"\d+(?:-\d+)?(?:,\d+(?:-\d+)?)*")
_TASK_CORES = re.compile(rf"none|{_CPUSET.pattern}")

_WORKER = WorkerSettings(SERVER, "node", "127.0.0.1:0")


def load_worker(path: Path | str, *, uid: int | None = None) -> WorkerSettings:
    """[server], [tls], [decisions], [record], [images] and [worker] of a file.

    Raises InvalidField with field, file and line.

    uid: whose rights the worker will have, its own effective ones where None.
    """
    document = load_toml(Path(path))
    server = read_server(document, Path(path))
    section = document.section("worker", required=True)
    settings = replace(
        worker_tuning(section, _WORKER),
        server=server,
        node=read_name(section, "node"),
        edge=read_peer(section, "edge", server.tls),
        edge_name=_edge_name(section, server.tls),
        cpu_millis=section.cpu("cpu", _WORKER.cpu_millis),
        memory_bytes=section.memory("memory", _WORKER.memory_bytes),
        cgroup_root=_matching(
            section, "cgroup_root", _WORKER.cgroup_root, _CGROUP_ROOT, "a path like 'tango/node-1'"
        ),
        be_root=_matching(
            section, "be_root", _WORKER.be_root, _CGROUP_ROOT, "a path like 'tango/be'"
        ),
        enforce=section.boolean("enforce", _WORKER.enforce),
        cpu_weight=section.integer("cpu_weight", _WORKER.cpu_weight, low=1, high=10_000),
        cpuset=_matching(
            section, "cpuset", _WORKER.cpuset, _CPUSET, "a list of cores like '0-1,3'"
        ),
        task_cores=_matching(
            section, "task_cores", _WORKER.task_cores, _TASK_CORES, "like '0-1,3', or none"
        ),
        labels=read_labels(section),
        taints=read_taints(section),
        run_as=section.string("run_as", _WORKER.run_as),
        allow_root=section.boolean("allow_root", _WORKER.allow_root),
        supervisor_socket=_socket(section, "supervisor_socket", Path(path).absolute().parent),
        checkpoint_dir=read_optional_path(section, "checkpoint_dir", Path(path).absolute().parent),
        checkpoint_transfer=section.boolean("checkpoint_transfer", _WORKER.checkpoint_transfer),
        checkpoint_max_bytes=read_bounded_memory(
            section, "checkpoint_max", _WORKER.checkpoint_max_bytes, 2**20, 2**40
        ),
        checkpoint_limit_s=section.number(
            "checkpoint_limit_s", _WORKER.checkpoint_limit_s, low=1, high=3600
        ),
        checkpoint_transfer_limit_s=section.number(
            "checkpoint_transfer_limit_s",
            _WORKER.checkpoint_transfer_limit_s,
            low=1,
            high=86_400,
        ),
        log_max_bytes=read_bounded_memory(section, "log_max", _WORKER.log_max_bytes, 4096, 2**40),
        log_files=section.integer("log_files", _WORKER.log_files, low=1, high=100),
        max_body_bytes=read_body(section, _WORKER.max_body_bytes),
        decisions=read_decisions(document, Path(path)),
        record=read_record(document, Path(path)),
        engine=read_engine_settings(document, Path(path)),
    )
    document.finish()
    if settings.be_root and settings.cpuset:
        problem = "with cpuset: tasks would run on all cores"
        raise section.error("be_root", problem, "leave one of the two out")
    try:
        check_run_as(settings.run_as, settings.allow_root, os.geteuid() if uid is None else uid)
    except InvalidField as error:
        raise error.at(section.where("run_as")) from None
    return settings


def check_run_as(run_as: str, allow_root: bool, uid: int) -> None:
    """Refuse payload as root unless it is allowed, and a user that this uid cannot become.

    Raises InvalidField("worker.run_as").
    """
    field = "worker.run_as"
    if not run_as:
        if uid == 0 and not allow_root:
            raise InvalidField(
                field,
                "is empty, so that replicas and tasks would run as root",
                "name an unprivileged user, or set allow_root = true",
            )
        return
    try:
        user = pwd.getpwnam(run_as)
    except (KeyError, ValueError):
        raise InvalidField(
            field, f"there is no user {run_as!r}", "create it, or name one"
        ) from None
    if user.pw_uid == 0 and not allow_root:
        problem = f"{run_as!r} is root"
        raise InvalidField(field, problem, "name an unprivileged user, or set allow_root = true")
    if uid not in (0, user.pw_uid):
        problem = f"only root can start processes as {run_as!r}, the worker runs as uid {uid}"
        raise InvalidField(field, problem, "leave it empty, or run the worker as root")


def _edge_name(section: Section, tls: TlsSettings | None) -> str:
    # Without it any certificate that the authority ever made for an edge would do.
    if tls is None and "edge_name" not in section:
        return ""
    return read_name(section, "edge_name")


def _matching(section: Section, key: str, default: str, form: re.Pattern[str], what: str) -> str:
    text = section.string(key, default)
    if text and not form.fullmatch(text):
        raise section.error(key, f"{text!r} is not valid", f"write {what}, or '' for none")
    return text


def _socket(section: Section, key: str, base: Path) -> str:
    if not section.string(key, ""):
        return ""
    path = read_path(section, key, base)
    if len(os.fsencode(path)) > MAX_SOCKET_PATH:
        problem = f"is too long: {path} is above {MAX_SOCKET_PATH} bytes"
        raise section.error(key, problem, "a unix socket's path is short; move it")
    return path
