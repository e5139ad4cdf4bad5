"""The guest's disk: Debian 12 by debootstrap, Tango's dependencies in a venv; kept in a cache."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from said import GuestFailed, run, say

SUITE = "bookworm"
MIRROR = "http://deb.debian.org/debian"
PACKAGES = (
    "criu",
    "dbus",
    "initramfs-tools",
    "iproute2",
    "kmod",
    "linux-image-cloud-amd64",
    "procps",
    "python3",
    "python3-venv",
    "systemd",
    "systemd-sysv",
    "udev",
)
DISK_MIB = 2048
VENV = "/opt/tango"
_INSIDE = Path(__file__).with_name("inside")
_NEEDED = {
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "debootstrap": "debootstrap",
    "mkfs.ext4": "e2fsprogs",
}
# Nothing of these is wanted in a guest that lives for minutes, and each costs seconds emulated.
_MASKED = (
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty@tty1.service",
    "serial-getty@ttyS0.service",
    "systemd-networkd.service",
    "systemd-timesyncd.service",
)


@dataclass(frozen=True)
class Image:
    """A disk with Debian and the dependencies, and the kernel to boot it with."""

    disk: Path
    kernel: Path
    initrd: Path


def cache_dir() -> Path:
    """Where images are kept: $XDG_CACHE_HOME or ~/.cache, tango-guest."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    path = Path(base, "tango-guest")
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def check_host() -> None:
    """GuestFailed where a program or root's rights are missing."""
    missing = sorted(package for name, package in _NEEDED.items() if shutil.which(name) is None)
    if missing:
        raise GuestFailed(f"missing here: apt-get install {' '.join(missing)}")
    if os.geteuid() != 0:
        raise GuestFailed("debootstrap and chroot need root; run it as root")


def image(cache: Path, wheels: Path, *, rebuild: bool, limit_s: float) -> Image:
    """The image from the cache, made first where there is none for these very contents."""
    base_key = _digest(SUITE, MIRROR, *PACKAGES)
    names = sorted(path.name for path in wheels.iterdir())
    agent = [(_INSIDE / name).read_text() for name in ("agent.sh", "guest.service")]
    source = Path(__file__).read_text()
    key = _digest(base_key, source, str(DISK_MIB), *agent, *names)
    place = cache / f"image-{key}"
    found = Image(place / "disk.img", place / "vmlinuz", place / "initrd.img")
    tree = cache / f"debian-{base_key}"
    if rebuild:
        for path in (place, tree):
            shutil.rmtree(path, ignore_errors=True)
    if place.is_dir():
        say(f"image from the cache: {place}")
        return found
    if not tree.is_dir():
        _debootstrap(tree, limit_s)
    _make_image(tree, wheels, place, limit_s)
    _prune(cache, keep=(place, tree, wheels))
    return found


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _debootstrap(tree: Path, limit_s: float) -> None:
    say(f"debootstrap {SUITE} with {len(PACKAGES)} packages (some minutes, once)")
    partial = tree.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    started = time.monotonic()
    include = ",".join(PACKAGES)
    argv = ["debootstrap", "--variant=minbase", f"--include={include}", SUITE, partial, MIRROR]
    try:
        run(argv, limit_s)
    except GuestFailed as failed:
        _still_mounted(partial)
        raise GuestFailed(f"{failed}\n(log: {partial}/debootstrap/debootstrap.log)") from None
    _still_mounted(partial)
    shutil.rmtree(partial / "var/cache/apt/archives", ignore_errors=True)
    partial.rename(tree)
    say(f"debootstrap took {time.monotonic() - started:.0f} s")


def _still_mounted(tree: Path) -> None:
    """Unmount what debootstrap left (/proc, /sys), or a later removal would reach the host's."""
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    inside = [line.split()[1] for line in mounts if line.split()[1].startswith(f"{tree}/")]
    for place in reversed(inside):
        run(["umount", place], 20)


def _make_image(tree: Path, wheels: Path, place: Path, limit_s: float) -> None:
    say("image: Debian, a venv with the dependencies, the agent")
    partial = place.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(mode=0o700)
    root = partial / "root"
    run(["cp", "-a", "--reflink=auto", tree, root], 300)
    run(["cp", "-r", wheels, root / "wheels"], 60)
    chroot = ["chroot", root, "/usr/bin/env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/"]
    run([*chroot, "python3", "-m", "venv", VENV], 120)
    every = [f"/wheels/{path.name}" for path in sorted(wheels.iterdir())]
    pip = [f"{VENV}/bin/python", "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
    run([*chroot, *pip, *every], 300)
    shutil.rmtree(root / "wheels")
    _configure(root, chroot)
    for name in ("vmlinuz", "initrd.img"):
        shutil.copy(
            (root / name).resolve()
            if not (root / name).is_symlink()
            else root / (root / name).readlink(),
            partial / name,
        )
    disk = partial / "disk.img"
    with disk.open("wb") as file:
        file.truncate(DISK_MIB << 20)
    run(["mkfs.ext4", "-q", "-L", "guest", "-d", root, disk], limit_s)
    shutil.rmtree(root)
    partial.rename(place)


def _configure(root: Path, chroot: list[str | Path]) -> None:
    (root / "etc/hostname").write_text("guest\n")
    (root / "etc/hosts").write_text("127.0.0.1 localhost guest\n::1 localhost\n")
    (root / "etc/fstab").write_text("/dev/vda / ext4 defaults,noatime 0 1\n")
    (root / "etc/systemd/journald.conf.d").mkdir(parents=True, exist_ok=True)
    (root / "etc/systemd/journald.conf.d/guest.conf").write_text("[Journal]\nStorage=persistent\n")
    shutil.copy(_INSIDE / "agent.sh", root / "usr/local/sbin/guest-agent")
    (root / "usr/local/sbin/guest-agent").chmod(0o755)
    shutil.copy(_INSIDE / "guest.service", root / "etc/systemd/system/guest.service")
    # Not enabled by its [Install]: one that runs last, wanted by the target itself.
    wants = root / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir(parents=True, exist_ok=True)
    (wants / "guest.service").symlink_to("/etc/systemd/system/guest.service")
    for unit in _MASKED:
        link = root / "etc/systemd/system" / unit
        link.unlink(missing_ok=True)
        link.symlink_to("/dev/null")


def _prune(cache: Path, keep: tuple[Path, ...]) -> None:
    for path in cache.iterdir():
        if path not in keep and path.is_dir() and not path.name.startswith("tango-"):
            shutil.rmtree(path, ignore_errors=True)
