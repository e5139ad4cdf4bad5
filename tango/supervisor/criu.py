"""Runs CRIU (criu(8)): whether it works here, dump of one attempt's tree, restore of one.

For tool processes only (tool.py): a run takes seconds. Arguments are lists, never a shell; whatever
goes wrong comes as CriuFailed with the last lines that CRIU logged.
"""

from __future__ import annotations

import contextlib
import os
import signal

from . import images, proc
from .tree import Tree, send

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .protocol import Json

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_CHECK_S = 20.0
_TAIL_LINES = 3
_TAIL_BYTES = 8 << 10
_PAGE = os.sysconf("SC_PAGE_SIZE")
_ENV = {"PATH": _PATH, "LANG": "C"}


class CriuFailed(Exception):
    """It did not work; the text says what CRIU said."""


def find(given: str) -> str:
    """The program: as given, or from the usual places. CriuFailed where there is none."""
    places = [given] if given else [f"{part}/criu" for part in _PATH.split(":")]
    found = next((path for path in places if os.access(path, os.X_OK)), None)
    if found is None:
        raise CriuFailed(f"{given} cannot be run" if given else "criu is not installed")
    if os.geteuid() != 0:
        raise CriuFailed(f"criu needs root's rights; the supervisor is uid {os.geteuid()}")
    return found


def check(program: str) -> Json:
    """{"version"}, where CRIU says that it works on this kernel, with our rights."""
    said = _run([program, "--version"], _CHECK_S, "criu --version")
    fields = dict(line.partition(":")[::2] for line in said.splitlines())
    version = fields.get("Version", "").strip()[:40]
    if not version:
        raise CriuFailed(f"criu --version says {said.strip()[:100]!r}")
    try:
        _run([program, "check"], _CHECK_S, "criu check")
    except CriuFailed as failed:
        raise CriuFailed(f"{_plainly(str(failed), version)} ({failed})") from None
    return {"version": version}


def _plainly(said: str, version: str) -> str:
    """In plain words why `criu check` fails here."""
    kernel = os.uname().release
    # CRIU knows the parts that a vDSO has by name and order; newer kernels have added others.
    if "vDSO area bounds" in said:
        return (
            f"this kernel ({kernel}) is newer than what criu {version} was made for: it takes a "
            "newer CRIU, or an older kernel"
        )
    return f"criu {version} does not work on this kernel ({kernel})"


def dump(program: str, record: Json, root: str, max_bytes: int, limit_s: float) -> Json:
    """Stop the attempt's tree and write its images; it stays stopped. {"digest", "bytes"}.

    On any failure nothing is left in the directory; whoever asked has to continue the tree.
    """
    marker = record["marker"] or record["key"]
    tree = Tree(marker, record["pid"], record["start_time"], record["cgroup_dirs"])
    # Orphans are the supervisor's, not this child's.
    tree.reapers = {os.getppid(), 1}
    used = sum(_resident(pid) for pid in tree.members())
    if used > max_bytes:
        raise CriuFailed(f"it holds {used} bytes of memory, more than the {max_bytes} allowed")
    path = images.make(root, record["key"])
    try:
        argv = [program, "dump", "--tree", str(tree.pid), "--images-dir", path]
        argv += ["--log-file", "dump.log", "-v2", "--manage-cgroups=ignore", "--leave-stopped"]
        _run(argv, limit_s, "criu dump", f"{path}/dump.log")
        _all_stopped(tree)
        found = proc.ids(tree.pid)
        if found is None:
            raise CriuFailed("it ended while it was dumped")
        about = {
            "key": record["key"],
            "marker": marker,
            "pid": tree.pid,
            "pipe": record["pipe"],
            "ids": found,
            "machine": os.uname().machine,
        }
        digest, size = images.seal(path, about, max_bytes)
    except BaseException:
        images.remove(root, record["key"])
        raise
    return {"digest": digest, "bytes": size}


def restore(
    program: str,
    path: str,
    digest: str,
    user: tuple[int, int],
    output_fd: int,
    scratch: str,
    limit_s: float,
) -> Json:
    """Bring a checkpoint back, stopped, as processes of the same ids. {"pid", "start_time", ...}.

    The caller has entered the groups that they shall be in. user: whom they must be. On a failure
    CRIU leaves none of them.
    """
    manifest = images.verify(path, digest)
    ids = [[number] * 4 for number in user]
    if manifest["ids"][:2] != ids:
        uid = manifest["ids"][0][0]
        raise CriuFailed(f"it ran as uid {uid}; tasks of this node run as uid {user[0]}")
    if manifest["machine"] != os.uname().machine:
        raise CriuFailed(f"it ran on {manifest['machine']}; this is {os.uname().machine}")
    pid = manifest["pid"]
    if proc.stat(pid) is not None:
        raise CriuFailed(f"its process id {pid} is taken on this node")
    pid_file = f"{scratch}.pid"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(pid_file)
    argv = [program, "restore", "--images-dir", path, "--log-file", f"{scratch}.log", "-v2"]
    argv += ["--manage-cgroups=ignore", "--restore-detached", "--leave-stopped"]
    argv += ["--pidfile", pid_file, "--inherit-fd", f"fd[{output_fd}]:{manifest['pipe']}"]
    try:
        _run(argv, limit_s, "criu restore", f"{scratch}.log", output_fd)
        with open(pid_file, encoding="ascii") as file:
            if int(file.read(32)) != pid:
                raise CriuFailed(f"criu restored another process than {pid}")
        started = proc.stat(pid)
        if started is None or not started.alive or proc.ids(pid) != manifest["ids"]:
            raise CriuFailed("the restored process is not what was dumped")
    except BaseException:
        send(pid, signal.SIGKILL)
        raise
    finally:
        for file_name in (pid_file, f"{scratch}.log"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(file_name)
    return {"pid": pid, "start_time": started.start_time, "marker": manifest["marker"]}


def _all_stopped(tree: Tree) -> None:
    """What is no descendant of its first process was not dumped, and would be lost."""
    for pid in tree.members(thorough=True):
        found = proc.stat(pid)
        if found is not None and found.alive and found.state not in ("T", "t"):
            raise CriuFailed(f"process {pid} is not below its first process {tree.pid}")


def _resident(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            return int(file.read(256).split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0


def _run(argv: list[str], limit_s: float, what: str, log: str = "", keep_fd: int = -1) -> str:
    """Its standard output. CriuFailed for any other status than 0, or none in time."""
    import subprocess

    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=_ENV,
            cwd="/",
            timeout=limit_s,
            pass_fds=() if keep_fd < 0 else (keep_fd,),
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise CriuFailed(f"{what} took more than {limit_s:g} s") from None
    except OSError as problem:
        raise CriuFailed(f"{what}: {problem.strerror}") from None
    said = done.stdout.decode("utf-8", "replace")
    if done.returncode:
        how = f"status {done.returncode}"
        if done.returncode < 0:
            how = f"signal {-done.returncode}"
        raise CriuFailed(f"{what} ended with {how}: {_tail(log, said)}")
    return said


def _tail(log: str, said: str) -> str:
    """The last errors of the log, else its last lines, else what was printed."""
    text = said
    with contextlib.suppress(OSError):
        size = os.stat(log).st_size
        with open(log, "rb") as file:
            file.seek(max(0, size - _TAIL_BYTES))
            text = file.read(_TAIL_BYTES).decode("utf-8", "replace") or said
    lines = [line.strip()[:300] for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if "Error" in line]
    return " | ".join((errors or lines)[-_TAIL_LINES:]) or "it said nothing"
