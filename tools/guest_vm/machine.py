"""The virtual machine: qemu with TCG, two cores, no network, its console watched line by line."""

from __future__ import annotations

import ctypes
import re
import select
import signal
import subprocess
import time
from pathlib import Path
from typing import BinaryIO

from debian import Image
from said import GuestFailed, run, say

CORES = 2
MEMORY_MIB = 2048
RESULTS_MIB = 32
# What the guest says to us; everything else on the console is for --verbose and the log.
_TOLD = re.compile(r"@guest (.*)$")
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_PANIC = "Kernel panic"
_PR_SET_PDEATHSIG = 1


class Found:
    """What a run left: the results' disk, and the console."""

    def __init__(self, disk: Path, console: Path, finished: bool) -> None:
        self.disk = disk
        self.console = console
        self.finished = finished


def argv(image: Image, overlay: Path, payload: Path, results: Path) -> list[str]:
    """qemu's command line: disks by serial number, console on stdout, no network."""

    def disk(path: Path, name: str, kind: str, *options: str) -> list[str]:
        drive = f"file={path},if=none,id={name},format={kind},cache=unsafe"
        return [
            "-drive",
            ",".join([drive, *options]),
            "-device",
            f"virtio-blk-pci,drive={name},serial={name}",
        ]

    kernel = "root=/dev/vda rw console=ttyS0 quiet loglevel=3 mitigations=off panic=0"
    kernel += " systemd.show_status=no systemd.unified_cgroup_hierarchy=1 psi=1"
    return [
        *("qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none"),
        *("-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max,la57=off"),
        *("-smp", str(CORES), "-m", str(MEMORY_MIB), "-nic", "none"),
        *("-device", "virtio-rng-pci", "-serial", "stdio"),
        *("-kernel", str(image.kernel), "-initrd", str(image.initrd), "-append", kernel),
        *disk(overlay, "root", "qcow2"),
        *disk(payload, "payload", "raw", "readonly=on"),
        *disk(results, "results", "raw"),
    ]


def run_overlay(image: Image, scratch: Path) -> Path:
    """A throw-away disk over the cached one."""
    overlay = scratch / "overlay.qcow2"
    base = ["-b", image.disk, "-F", "raw"]
    run(["qemu-img", "create", "-q", "-f", "qcow2", *base, overlay], 60)
    return overlay


def run_guest(
    image: Image, payload: Path, scratch: Path, *, limit_s: float, verbose: bool
) -> Found:
    """Run the guest until it powers off. GuestFailed where it panics or its time is up."""
    overlay = run_overlay(image, scratch)
    results = scratch / "results.tar"
    with results.open("wb") as file:
        file.truncate(RESULTS_MIB << 20)
    console = scratch / "console.log"
    libc = ctypes.CDLL(None)
    with console.open("wb") as log:
        process = subprocess.Popen(
            argv(image, overlay, payload, results),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # It dies with us, however we die.
            preexec_fn=lambda: libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL),
        )
        try:
            finished = _watch(process, log, limit_s, verbose)
        finally:
            process.kill()
            process.wait()
    return Found(results, console, finished)


def _watch(process: subprocess.Popen[bytes], log: BinaryIO, limit_s: float, verbose: bool) -> bool:
    assert process.stdout is not None
    deadline = time.monotonic() + limit_s
    partial = ""
    fd = process.stdout.fileno()
    last = ""
    while True:
        ready, _, _ = select.select([fd], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            say(f"the guest's {limit_s:.0f} s are up; its last line: {last}")
            return False
        data = process.stdout.read1(65536)  # type: ignore[attr-defined]
        if not data:
            status = process.wait()
            if status:
                raise GuestFailed(f"qemu ended with {status}: {last}")
            return True
        log.write(data)
        log.flush()
        *lines, partial = (partial + data.decode("utf-8", "replace")).split("\n")
        for line in lines:
            text = _ESCAPES.sub("", line).strip("\r ")
            last = text or last
            told = _TOLD.search(text)
            if told:
                say(f"  guest: {told[1]}")
            elif verbose and text:
                say(f"  | {text}")
            if _PANIC in text:
                raise GuestFailed(f"the guest's kernel: {text}")
