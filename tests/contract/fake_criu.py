#!/usr/bin/env python3
"""A criu for tests, which misbehaves as the file MODE beside it says.

Dump stops the tree and writes two images. Restore makes a new process of the old id (as CRIU once
did, by ns_last_pid) that says so and goes on; it needs root.
"""

import os
import signal
import sys
import time
from pathlib import Path

ARGV = sys.argv[1:]
MODE = Path(__file__).with_name("MODE").read_text().strip()
# Bytes of a further image, if that file is there.
BULK = Path(__file__).with_name("BULK")
LAST_PID = Path("/proc/sys/kernel/ns_last_pid")


def option(name):
    return ARGV[ARGV.index(name) + 1]


def fail(text):
    if "--images-dir" in ARGV:
        log = Path(option("--images-dir"), option("--log-file"))
        log.write_text(f"(00.1) some line\n(00.2) Error (criu/x.c:1): {text}\n(00.3) bye\n")
    else:
        sys.stderr.write(f"Error (criu/x.c:1): {text}\n")
    sys.exit(1)


def field(pid, number):
    """Of /proc/PID/stat, counted from the state, which is 0."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[number]


def below(pid):
    found = [pid]
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            try:
                parent = int(field(path.name, 1))
            except OSError:
                continue
            if parent == pid:
                found += below(int(path.name))
    return found


def dump():
    tree = below(int(option("--tree")))
    folder = option("--images-dir")
    if MODE == "dump-hangs":
        for pid in tree:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(600)
    if MODE == "dump-slow":
        time.sleep(1.5)
    if MODE == "dump-killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if MODE == "dump-fails":
        os.kill(tree[0], signal.SIGSTOP)
        fail("a TCP connection, and no --tcp-established")
    if MODE != "dump-runs-on":
        for pid in tree:
            os.kill(pid, signal.SIGSTOP)
        # An idle one stops when it is next scheduled, which may take its time.
        while any(field(pid, 0) not in ("T", "Z") for pid in tree):
            time.sleep(0.01)
    if MODE != "dump-empty":
        for name in ("inventory.img", "pages-1.img"):
            Path(folder, name).write_text(f"{name} of {tree[0]}")
        if BULK.exists():
            with Path(folder, "pages-2.img").open("wb") as file:
                file.truncate(int(BULK.read_text()))
    Path(folder, "dump.log").touch()


def reborn(wanted, fd):
    """A stopped process of that id, which writes to fd once it goes on."""
    for _ in range(200):
        LAST_PID.write_text(str(wanted - 1))
        pid = os.fork()
        if pid == 0:
            if os.getpid() != wanted:
                os._exit(0)
            os.setsid()
            os.dup2(fd, 1)
            os.dup2(fd, 2)
            os.kill(os.getpid(), signal.SIGSTOP)
            print("restored", os.getpid(), flush=True)
            time.sleep(0.3 if MODE == "restore-brief" else 600)
            os._exit(7)
        if pid == wanted:
            return pid
        os.waitpid(pid, 0)
    return fail(f"process id {wanted} cannot be had")


def restore():
    folder = option("--images-dir")
    if MODE == "restore-fails":
        text = "Error (criu/files-reg.c:2): File /x has bad size 7 (expect 8)\n"
        Path(option("--log-file")).write_text(text)
        sys.exit(1)
    fd = int(option("--inherit-fd").partition("fd[")[2].partition("]")[0])
    wanted = int(Path(folder, "inventory.img").read_text().split()[-1])
    pid = reborn(wanted, fd)
    while field(pid, 0) != "T":
        time.sleep(0.01)
    Path(option("--pidfile")).write_text(str(pid + (MODE == "restore-other")))


if ARGV == ["--version"]:
    sys.stdout.write("nonsense\n" if MODE == "version" else "Version: 3.99\nGitID: v3.99\n")
elif ARGV == ["check"]:
    if MODE == "check-fails":
        fail("vdso: Unexpected rt vDSO area bounds")
    sys.stdout.write("Looks good.\n")
elif ARGV[0] == "dump":
    dump()
elif ARGV[0] == "restore":
    restore()
