"""Forks an attempt: the child enters its groups, lowers itself to its user, then becomes argv.

The child waits for the parent's word before it does anything that lasts. The parent gives it once
the run's record is on disk, so there is never a program that a restarted supervisor knows nothing
of; a child whose parent died first never becomes the program. The same socket carries the failure
back; it closes by itself when exec succeeds.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import gc
import os
import resource
import signal
import socket
import time

# Below the 30 s after which a start is given up: 200 at once come through at 10 in a second.
_AUTOGROUP_PATIENCE_S = 20.0
_DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin"
GO = b"G"
_DEFAULT = signal.SIG_DFL
_PR_SET_NO_NEW_PRIVS = 38
# Looked up before any fork: the child shall load nothing.
_LIBC = ctypes.CDLL(None, use_errno=True)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from .spec import StartSpec


HANDLED = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Inherited:
    """What the supervisor found at its start and changes for itself but not for its children.

    nofile: soft and hard limit. signals: those whose disposition a child has to reset.
    """

    __slots__ = ("nofile", "signals")

    def __init__(self) -> None:
        self.nofile = resource.getrlimit(resource.RLIMIT_NOFILE)
        # Looked up once: asking for all 62 in every child took 1 ms. Python ignores SIGPIPE and
        # SIGXFSZ, and whoever started the supervisor may have had others ignored (nohup(1)).
        changed = [each for each in signal.valid_signals() if signal.getsignal(each) != _DEFAULT]
        self.signals = {*HANDLED, *changed}

    def raise_own(self) -> int:
        """Allow this process as many files as the hard limit does; the new soft limit."""
        soft, hard = self.nofile
        wanted = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            return wanted
        return soft if soft != resource.RLIM_INFINITY else wanted


def spawn(spec: StartSpec, output_fd: int, inherited: Inherited) -> tuple[int, socket.socket]:
    """Fork the attempt; (pid, channel). It waits for go(channel). OSError when fork fails.

    Then the channel brings end of file (the program runs) or a failure (see read_failure).
    """
    ours, theirs = socket.socketpair()
    # A signal that arrived in the child before it reset its handlers would be written into the
    # parent's wake-up descriptor.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        pid = os.fork()
        if pid == 0:
            ours.close()  # or the child would never see the parent's end of it closed
            _become(spec, output_fd, theirs.fileno(), inherited)
    except OSError:
        ours.close()
        raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
    ours.setblocking(False)
    return pid, ours


def close_inherited_on_exec() -> None:
    """Mark every file but the standard three as not for children; once, at the start."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            try:
                os.set_inheritable(int(name), False)
            except OSError:  # the descriptor that listed the directory
                continue


def go(channel: socket.socket) -> None:
    """Let the child become the program; a child that failed before is found when reading."""
    with contextlib.suppress(OSError):
        channel.send(GO)


class Failure:
    """Why an attempt could not begin: step, the request's field, errno and a text for people."""

    __slots__ = ("errno", "field", "step", "text")

    def __init__(self, step: str, field: str, number: int, text: str) -> None:
        self.step = step
        self.field = field
        self.errno = number
        self.text = text

    def encode(self) -> bytes:
        """As bytes for the channel."""
        parts = (self.step, self.field, str(self.errno), self.text)
        return "\0".join(parts).encode("utf-8", "replace")[:4000]


def read_failure(message: bytes) -> Failure:
    """What the child wrote into the channel."""
    parts = message.decode("utf-8", "replace").split("\0", 3)
    if len(parts) != 4 or not parts[2].isdigit():
        return Failure("spawn", "", 0, "the child failed without saying why")
    return Failure(parts[0], parts[1], int(parts[2]), parts[3])


class StepFailed(Exception):
    """A step on the way to the program failed; `failure` says which and why."""

    def __init__(self, step: str, field: str, problem: OSError | ValueError, text: str) -> None:
        super().__init__(text)
        number = problem.errno if isinstance(problem, OSError) and problem.errno else 0
        reason = os.strerror(number) if number else str(problem)
        self.failure = Failure(step, field, number, f"{field}: {text}: {reason}")


def _become(spec: StartSpec, output_fd: int, channel: int, inherited: Inherited) -> NoReturn:
    """The child, from fork to exec."""
    try:
        gc.disable()
        reset_signals(inherited.signals)
        os.setsid()
        _arrange_files(output_fd)
        os.umask(0o022)
        _limit(spec, inherited)
        if os.read(channel, 1) != GO:
            # The parent is gone: leave no exit code that could pass for the program's own.
            os.kill(os.getpid(), signal.SIGKILL)
        enter_groups(spec)
        _schedule(spec)
        _lower(spec)
        _execute(spec)
    except StepFailed as stopped:
        os.write(channel, stopped.failure.encode())
    except BaseException as problem:  # noqa: BLE001 (whatever it is, the child must report and end)
        failure = Failure("spawn", "", getattr(problem, "errno", 0) or 0, f"spawn: {problem!r}")
        os.write(channel, failure.encode())
    finally:
        os._exit(127)


def reset_signals(numbers: set[signal.Signals]) -> None:
    """In a child: every signal as it is for a fresh process."""
    signal.set_wakeup_fd(-1)
    for number in numbers:
        signal.signal(number, _DEFAULT)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _arrange_files(output_fd: int) -> None:
    # All else closes by itself at exec: Python opens with O_CLOEXEC, and what the supervisor
    # inherited was marked so at its start.
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(output_fd, 1)
    os.dup2(output_fd, 2)


def _limit(spec: StartSpec, inherited: Inherited) -> None:
    nofile = inherited.nofile if spec.nofile is None else (spec.nofile, spec.nofile)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, nofile)
    except (OSError, ValueError) as problem:
        raise StepFailed("rlimit", "rlimits.nofile", problem, f"cannot set {nofile[0]}") from None
    if spec.core is not None:
        try:
            resource.setrlimit(resource.RLIMIT_CORE, (spec.core, spec.core))
        except (OSError, ValueError) as problem:
            raise StepFailed("rlimit", "rlimits.core", problem, f"cannot set {spec.core}") from None
    adjustment = spec.oom_score_adj
    if adjustment is None:
        # What protects the supervisor from the OOM killer must not protect its payload.
        with open("/proc/self/oom_score_adj", "rb") as file:
            if int(file.read()) >= 0:
                return
        adjustment = 0
    try:
        _write("/proc/self/oom_score_adj", str(adjustment))
    except OSError as problem:
        text = f"cannot set {adjustment} (lowering needs CAP_SYS_RESOURCE)"
        raise StepFailed("oom_score_adj", "oom_score_adj", problem, text) from None


_GROUP_HINTS = {
    errno.ENOENT: "the group does not exist",
    errno.EACCES: "no permission to enter the group",
    errno.EPERM: "no permission to enter the group",
    errno.EBUSY: "a v2 group with controllers for its children takes no processes itself",
    errno.ENOSPC: "the cpuset group has no cpuset.cpus or cpuset.mems",
    errno.EAGAIN: "the group's pids.max is reached",
    errno.EOPNOTSUPP: "the group is threaded",
}


def enter_groups(spec: StartSpec) -> None:
    """Put this process into the attempt's groups."""
    for index, path in enumerate(spec.procs_files):
        try:
            _write(path, "0")
        except OSError as problem:
            hint = _GROUP_HINTS.get(problem.errno or 0, "the kernel refused")
            raise StepFailed(
                "cgroup", f"procs_files[{index}]", problem, f"{path!r}: {hint}"
            ) from None


def _schedule(spec: StartSpec) -> None:
    if spec.autogroup_nice is not None:
        _set_autogroup(spec.autogroup_nice)
    if spec.nice is not None:
        try:
            os.setpriority(os.PRIO_PROCESS, 0, spec.nice)
        except OSError as problem:
            text = f"cannot set {spec.nice} (lowering needs CAP_SYS_NICE)"
            raise StepFailed("nice", "nice", problem, text) from None


def _set_autogroup(nice: int) -> None:
    # Without CAP_SYS_ADMIN the kernel takes one such write in 100 ms from all users together and
    # answers EAGAIN to the rest (kernel/sched/autogroup.c).
    deadline = time.monotonic() + _AUTOGROUP_PATIENCE_S
    while True:
        try:
            _write("/proc/self/autogroup", str(nice))
            return
        except FileNotFoundError:
            return  # a kernel without autogroups: nice alone does what was asked
        except OSError as problem:
            if problem.errno != errno.EAGAIN or time.monotonic() > deadline:
                text = f"cannot set {nice}"
                raise StepFailed("autogroup", "autogroup_nice", problem, text) from None
        time.sleep(0.02)


def _lower(spec: StartSpec) -> None:
    if spec.uid is not None and spec.gid is not None:
        other = spec.uid != os.geteuid()
        try:
            os.setgroups([])
            os.setresgid(spec.gid, spec.gid, spec.gid)
            os.setresuid(spec.uid, spec.uid, spec.uid)
            if other:
                _keep_low()
        except OSError as problem:
            text = f"cannot become uid {spec.uid}, gid {spec.gid}"
            raise StepFailed("user", "uid", problem, text) from None
    try:
        os.chdir(spec.cwd)
    except OSError as problem:
        raise StepFailed("cwd", "cwd", problem, repr(spec.cwd)) from None
    if spec.sched_idle:
        try:
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        except OSError as problem:
            raise StepFailed("sched_idle", "sched_idle", problem, "cannot set SCHED_IDLE") from None


def _keep_low() -> None:
    """No exec gives back what was let go: no setuid program, no file capability (prctl(2)).

    The bounding set stays as it is, for dropping from it takes CAP_SETPCAP; nothing can be gained
    from it any more.
    """
    none = ctypes.c_ulong(0)
    if _LIBC.prctl(_PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), none, none, none) != 0:
        raise OSError(ctypes.get_errno(), "PR_SET_NO_NEW_PRIVS")


def _execute(spec: StartSpec) -> NoReturn:
    name = spec.argv[0]
    if "/" in name:
        candidates = [name]
    else:
        search = spec.env.get("PATH") or _DEFAULT_PATH
        # An empty part would mean the working directory, which a task may fill: not searched.
        candidates = [f"{part}/{name}" for part in search.split(":") if part]
    kept: OSError | None = None
    for path in candidates:
        try:
            os.execve(path, spec.argv, spec.env)  # noqa: S606 (no shell is the point)
        except OSError as problem:
            absent = problem.errno in (errno.ENOENT, errno.ENOTDIR)
            if not absent or os.path.exists(path):
                kept = kept or problem
                found = path
    if kept is not None:
        raise StepFailed("exec", "argv[0]", kept, _exec_hint(kept, found)) from None
    missing = FileNotFoundError(errno.ENOENT, "")
    if "/" in name:
        raise StepFailed("exec", "argv[0]", missing, f"{name!r} does not exist")
    raise StepFailed("exec", "argv[0]", missing, f"{name!r} not found in PATH {search!r}"[:1000])


def _exec_hint(problem: OSError, path: str) -> str:
    if problem.errno == errno.ENOENT:
        return f"{path!r} exists, but the interpreter in its first line (#!) or its loader does not"
    if problem.errno == errno.EACCES:
        what = "is a directory" if os.path.isdir(path) else "is not executable"
        return f"{path!r} {what} for uid {os.getuid()}"
    if problem.errno == errno.ENOEXEC:
        return f"{path!r} is neither a program for this machine nor a script with a #! line"
    if problem.errno == errno.E2BIG:
        return f"{path!r}: argv and env together are too long for the kernel"
    return f"{path!r} cannot be executed"


def _write(path: str, value: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, value.encode("ascii"))
    finally:
        os.close(fd)
