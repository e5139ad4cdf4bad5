"""How a ProcessSpec becomes a program on this node: port, environment, user, group, priority."""

from __future__ import annotations

import os
import pwd
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from tango.model.errors import InvalidField
from tango.model.fixed_ports import format_ports
from tango.model.process import ProcessSpec
from tango.model.settings import WorkerSettings
from tango.ports import Cgroups

_KEY = re.compile(r"[A-Za-z0-9._-]{1,128}")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_LOWEST_NICE = 19
_FIRST_FOR_THE_OOM_KILLER = 1000


def check_key(key: str) -> str:
    """The key itself, or ValueError where it is no ProcessSpec's key."""
    if not _KEY.fullmatch(key):
        raise ValueError(f"{key[:140]!r} is not the key of a process")
    return key


def with_port(spec: ProcessSpec, port: int | None) -> ProcessSpec:
    """The spec with its port and host told in argv, env, PORT and HOST; the port kept in meta.

    PORTS tells of all that it has, where they are fixed ones.
    """
    if port is None:
        return spec
    text = str(port)

    def told(value: str) -> str:
        return value.replace("{port}", text).replace("{host}", spec.host)

    own = {"PORT": text, "HOST": spec.host}
    if spec.ports:
        own["PORTS"] = format_ports(spec.ports)
    env = ((name, told(value)) for name, value in spec.env if name not in own)
    meta = tuple((name, value) for name, value in spec.meta if name != "port")
    return replace(
        spec,
        argv=tuple(map(told, spec.argv)),
        env=(*env, *own.items()),
        port=port,
        meta=(*meta, ("port", text)),
    )


class Launch:
    """Start requests for the supervisor, after this node's settings.

    Raises InvalidField where settings.run_as is no user here.
    """

    def __init__(self, cgroups: Cgroups | None, settings: WorkerSettings) -> None:
        self._cgroups = cgroups
        # A worker that only observes gives nobody a priority.
        self._prioritise = settings.enforce
        self._log = {"max_bytes": settings.log_max_bytes, "files": settings.log_files}
        self._user: dict[str, int] = {}
        own = pwd.getpwuid(os.geteuid()) if _is_known(os.geteuid()) else None
        home = own.pw_dir if own is not None else "/"
        if settings.run_as:
            try:
                user = pwd.getpwnam(settings.run_as)
            except KeyError:
                problem = f"there is no user {settings.run_as!r}"
                raise InvalidField("worker.run_as", problem, "create it, or name one") from None
            home = user.pw_dir
            # Without root's rights a process cannot even "become" whom it is: groups are dropped.
            if user.pw_uid != os.geteuid() or os.geteuid() == 0:
                self._user = {"uid": user.pw_uid, "gid": user.pw_gid}
        self._base_env = {"PATH": _PATH, "HOME": home, "LANG": "C.UTF-8", "TMPDIR": "/tmp"}  # noqa: S108

    def request(self, spec: ProcessSpec) -> dict[str, Any]:
        """The fields of a start request. The worker's own environment is not passed on.

        Raises OSError and ValueError as Cgroups does.
        """
        fields: dict[str, Any] = {
            "key": spec.key,
            "argv": list(spec.argv),
            "env": self._base_env | dict(spec.env),
            "log": self._log,
            "meta": dict(spec.meta),
            **self._user,
        }
        grouped = self._cgroups is not None and bool(spec.group)
        if self._cgroups is not None and grouped:
            files = self._cgroups.procs_files(spec.group)
            fields["procs_files"] = list(files)
            fields["cgroup_dirs"] = [str(Path(file).parent) for file in files]
        if spec.best_effort and self._prioritise:
            fields["oom_score_adj"] = _FIRST_FOR_THE_OOM_KILLER
            if not grouped:
                # Between sessions nice and SCHED_IDLE do nothing while autogroup is on.
                fields |= {
                    "nice": _LOWEST_NICE,
                    "sched_idle": True,
                    "autogroup_nice": _LOWEST_NICE,
                }
        return fields


def _is_known(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True
