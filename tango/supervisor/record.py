"""An attempt's record: one plain object, the same on disk, in replies and in events."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .protocol import Json
    from .spec import StartSpec

_EMPTY: Json = {
    "key": None,
    "state": "running",
    "pid": None,
    "start_time": None,
    "boot_id": None,
    "started_at": None,
    "argv": None,
    "cwd": None,
    "cgroup_dirs": None,
    "meta": {},
    "stop_signal": None,
    "log": None,
    "log_max_bytes": None,
    "log_files": None,
    "log_lost_bytes": 0,
    "adopted": False,
    "marker": None,
    "restoring": False,
    "source": None,
    "checkpoint": None,
    "exit_code": None,
    "signal": None,
    "reason": None,
    "cpu_s": None,
    "max_rss_bytes": None,
    "ended_at": None,
    "leftover": 0,
}
_NEEDED = {
    "pid": int,
    "start_time": int,
    "boot_id": str,
    "log": str,
    "log_max_bytes": int,
    "log_files": int,
    "stop_signal": int,
    "cgroup_dirs": list,
}


def new(spec: StartSpec, pid: int, start_time: int, boot_id: str, log: str, now: float) -> Json:
    """The record of an attempt that was just forked. The environment is left out on purpose."""
    return {
        **_EMPTY,
        "key": spec.key,
        "pid": pid,
        "start_time": start_time,
        "boot_id": boot_id,
        "started_at": now,
        "argv": spec.argv,
        "cwd": spec.cwd,
        "cgroup_dirs": spec.cgroup_dirs,
        "meta": spec.meta,
        "stop_signal": spec.stop_signal,
        "log": log,
        "log_max_bytes": spec.log_max_bytes,
        "log_files": spec.log_files,
    }


def restore(loaded: object, key: str) -> Json | None:
    """A record read from disk with every field; None if it is not a record of that key."""
    if not isinstance(loaded, dict) or loaded.get("key") != key:
        return None
    record = {**_EMPTY, **{name: loaded[name] for name in _EMPTY if name in loaded}}
    if not all(isinstance(record[name], kind) for name, kind in _NEEDED.items()):
        return None
    if not all(isinstance(path, str) for path in record["cgroup_dirs"]):
        return None
    if not isinstance(record["meta"], dict):
        return None
    if not _holds(record["checkpoint"], root=str, pid=int, start_time=int):
        record["checkpoint"] = None
    if not _holds(record["source"], root=str, key=str):
        record["source"] = None
    return record


def _holds(found: object, **kinds: type) -> bool:
    return isinstance(found, dict) and all(
        isinstance(found.get(name), kind) for name, kind in kinds.items()
    )


def unreadable(key: str, log: str, now: float) -> Json:
    """The end of an attempt whose record cannot be read: it is known to have been started."""
    return {
        **_EMPTY,
        "key": key,
        "log": log,
        "state": "ended",
        "reason": "lost",
        "ended_at": now,
    }
