"""What a `start` asks for, checked before anything is done."""

from __future__ import annotations

import json

from . import fields
from .protocol import MAX_ARGV_BYTES, MAX_META_BYTES, invalid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .protocol import Json

MARKER = "TANGO_ATTEMPT"
FIELDS = (
    "id",
    "op",
    "key",
    "argv",
    "env",
    "cwd",
    "procs_files",
    "cgroup_dirs",
    "uid",
    "gid",
    "nice",
    "sched_idle",
    "autogroup_nice",
    "oom_score_adj",
    "log",
    "stop_signal",
    "rlimits",
    "meta",
    "restore",
)
_MAX_ID = 2**32 - 2
_MAX_CGROUPS = 32
# Of one run of CRIU.
LIMIT_S = 120.0
MAX_LIMIT_S = 3600.0


class Source:
    """The checkpoint that an attempt starts from: ROOT/KEY, and its manifest's digest."""

    __slots__ = ("digest", "key", "limit_s", "root")

    def __init__(self, found: Json) -> None:
        fields.only(found, ("root", "key", "digest", "limit_s"), "restore.")
        self.root = fields.absolute_path(found.get("root"), "restore.root")
        self.key = fields.key(found)
        self.digest = fields.text(found.get("digest"), "restore.digest")
        self.limit_s = fields.seconds(found, "limit_s", MAX_LIMIT_S, LIMIT_S)


class StartSpec:
    """A checked start request; fields as in the protocol, null become None or the default."""

    __slots__ = (
        "argv",
        "autogroup_nice",
        "cgroup_dirs",
        "core",
        "cwd",
        "env",
        "gid",
        "key",
        "log_files",
        "log_max_bytes",
        "meta",
        "nice",
        "nofile",
        "oom_score_adj",
        "procs_files",
        "restore",
        "sched_idle",
        "stop_signal",
        "uid",
    )

    def __init__(self, message: Json) -> None:
        """Refused INVALID, with the field's name, when the message is not a proper start."""
        fields.only(message, FIELDS)
        self.key = fields.key(message)
        self.argv = _argv(message)
        self.env = _env(message, self.key)
        cwd = message.get("cwd")
        self.cwd = "/" if cwd is None else fields.absolute_path(cwd, "cwd")
        self.procs_files = _procs_files(message)
        self.cgroup_dirs = _cgroup_dirs(message, self.procs_files)
        self.uid = fields.optional_integer(message, "uid", 0, _MAX_ID)
        self.gid = fields.optional_integer(message, "gid", 0, _MAX_ID)
        if (self.uid is None) != (self.gid is None):
            absent = "uid" if self.uid is None else "gid"
            raise invalid(absent, "uid and gid are given both or not at all")
        self.nice = fields.optional_integer(message, "nice", -20, 19)
        self.sched_idle = fields.boolean(message, "sched_idle", default=False)
        self.autogroup_nice = fields.optional_integer(message, "autogroup_nice", -20, 19)
        self.oom_score_adj = fields.optional_integer(message, "oom_score_adj", -1000, 1000)
        log = fields.mapping(message, "log")
        fields.only(log, ("max_bytes", "files"), "log.")
        max_bytes = fields.optional_integer(log, "max_bytes", 4096, 2**40, "log.")
        files = fields.optional_integer(log, "files", 1, 100, "log.")
        self.log_max_bytes = 16 << 20 if max_bytes is None else max_bytes
        self.log_files = 4 if files is None else files
        self.stop_signal = fields.integer(message, "stop_signal", 1, 64, 15)
        rlimits = fields.mapping(message, "rlimits")
        fields.only(rlimits, ("nofile", "core"), "rlimits.")
        self.nofile = fields.optional_integer(rlimits, "nofile", 0, 2**31, "rlimits.")
        self.core = fields.optional_integer(rlimits, "core", 0, 2**62, "rlimits.")
        self.meta = _meta(message)
        self.restore = _restore(message)


def _argv(message: Json) -> list[str]:
    argv = fields.texts(message, "argv")
    if not argv:
        raise invalid("argv", "must be a list with at least the program")
    if not argv[0]:
        raise invalid("argv[0]", "must not be empty")
    if len(json.dumps(argv)) > MAX_ARGV_BYTES:
        raise invalid("argv", f"is longer than {MAX_ARGV_BYTES} bytes as JSON; pass a file instead")
    return argv


def _env(message: Json, key: str) -> dict[str, str]:
    if message.get("env") is None:
        raise invalid("env", "is required: the whole environment, {} for none")
    # First, so that it is found without reading a large environment to its end.
    env = {MARKER: key}
    for name, value in fields.mapping(message, "env").items():
        fields.text(name, f"env name {name[:60]!r}")
        if not name or "=" in name:
            raise invalid("env", f"{name[:60]!r} is no variable name")
        if name != MARKER:
            env[name] = fields.text(value, f"env.{name}"[:100])
    return env


def _restore(message: Json) -> Source | None:
    found = fields.mapping(message, "restore")
    return Source(found) if found else None


def _meta(message: Json) -> dict[str, str]:
    found = {}
    for name, value in fields.mapping(message, "meta").items():
        found[fields.text(name, "meta name")] = fields.text(value, f"meta.{name}"[:100])
    if len(json.dumps(found)) > MAX_META_BYTES:
        raise invalid("meta", f"is longer than {MAX_META_BYTES} bytes as JSON")
    return found


def _procs_files(message: Json) -> list[str]:
    found = fields.texts(message, "procs_files") or []
    if len(found) > _MAX_CGROUPS:
        raise invalid("procs_files", f"holds more than {_MAX_CGROUPS} entries")
    for index, path in enumerate(found):
        name = f"procs_files[{index}]"
        fields.absolute_path(path, name)
        if not path.endswith("/cgroup.procs"):
            raise invalid(name, f"must end in /cgroup.procs: {path!r}"[:300])
    return found


def _cgroup_dirs(message: Json, procs_files: list[str]) -> list[str]:
    parents = [path.removesuffix("/cgroup.procs") for path in procs_files]
    found = fields.texts(message, "cgroup_dirs")
    if found is None:
        return parents
    for index, path in enumerate(found):
        # A group that the attempt does not enter is not its own, so it must not be killed with it.
        if path not in parents:
            name = f"cgroup_dirs[{index}]"
            raise invalid(name, f"{path!r} is not the parent of any of procs_files"[:300])
    return list(dict.fromkeys(found))
