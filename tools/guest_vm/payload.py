"""What the guest is given: wheels, tests, units and the plan, as one tar on a disk of its own."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sys
import tarfile
import tomllib
from pathlib import Path

from said import GuestFailed, run, say

TESTS = ("pytest", "pytest-asyncio", "pytest-timeout")
_PYTHON = "3.11"  # Debian 12's
_PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
_SOURCES = ("tango", "protos", "hatch_build.py", "pyproject.toml", "README.md", "LICENSE")
_BROUGHT = ("tests/contract", "systemd", "configs", "pyproject.toml")
_VERSION = re.compile(r'^__version__ = "([^"]+)"$', re.MULTILINE)
_SKIPPED = shutil.ignore_patterns("__pycache__", "*.pyc", "*_pb2*")


def dependency_wheels(root: Path, cache: Path) -> Path:
    """Directory with the pinned wheels of Tango's and the tests' requirements for the guest."""
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *TESTS]
    constraints = root / "constraints.txt"
    digest = hashlib.sha256("\0".join([*wanted, constraints.read_text()]).encode())
    place = cache / f"wheels-{digest.hexdigest()[:16]}"
    if place.is_dir():
        return place
    say("downloading the dependencies' wheels (once)")
    partial = place.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    argv = [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:"]
    argv += ["--python-version", _PYTHON, "--implementation", "cp"]
    argv += [f"--platform={name}" for name in _PLATFORMS]
    run([*argv, "-c", constraints, "-d", partial, *wanted], 600)
    partial.rename(place)
    return place


def bumped(version: str) -> str:
    """The next patch release: "0.1.0" -> "0.1.1". GuestFailed for what is not numbers."""
    parts = version.split(".")
    if not all(part.isdigit() for part in parts):
        raise GuestFailed(f"tango/__init__.py says version {version!r}; want numbers with dots")
    return ".".join([*parts[:-1], str(int(parts[-1]) + 1)])


def tango_wheels(root: Path, cache: Path, *, with_newer: bool) -> Path:
    """Directory with Tango's wheel; in newer/, where asked for, the same with a higher version."""
    partial = cache / "tango-building.partial"
    shutil.rmtree(partial, ignore_errors=True)
    source = partial / "source"
    for name in _SOURCES:
        _copy(root / name, source / name)
    digest = hashlib.sha256()  # of the copy: the tree may change while we build
    for path in sorted(path for path in source.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(source)}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    place = cache / f"tango-{digest.hexdigest()[:16]}{'-both' if with_newer else ''}"
    if not place.is_dir():
        version = _version(source)
        _wheel(source, partial, version)
        if with_newer:
            newer = bumped(version)
            file = source / "tango/__init__.py"
            file.write_text(_VERSION.sub(f'__version__ = "{newer}"', file.read_text()))
            _wheel(source, partial / "newer", newer)
        for stale in cache.glob("tango-*"):
            if stale != partial:
                shutil.rmtree(stale, ignore_errors=True)
        shutil.rmtree(source)
        partial.rename(place)
    shutil.rmtree(partial, ignore_errors=True)
    return place


def make(root: Path, wheels: Path, scratch: Path, suites: tuple[str, ...], only: str) -> Path:
    """A raw disk image (a tar) for the guest: Tango's wheel, a newer one, tests, units, plan."""
    inside = scratch / "inside"
    inside.mkdir()
    shutil.copytree(wheels, inside / "wheel")
    for name in _BROUGHT:
        _copy(root / name, inside / name)
    for path in Path(__file__).with_name("inside").iterdir():
        if path.suffix == ".py":
            shutil.copy(path, inside / path.name)
    version = _version(root)
    plan = {"suites": suites, "version": version, "newer": bumped(version), "only": only}
    (inside / "plan.json").write_text(json.dumps(plan))
    disk = scratch / "payload.tar"
    with tarfile.open(disk, "w") as tar:
        tar.add(inside, ".")
    with disk.open("r+b") as file:  # a disk is whole sectors
        file.truncate(-(-disk.stat().st_size // 4096) * 4096)
    return disk


def _version(source: Path) -> str:
    found = _VERSION.search((source / "tango/__init__.py").read_text())
    if found is None:
        raise GuestFailed("tango/__init__.py has no __version__")
    return found[1]


def _wheel(source: Path, out: Path, version: str) -> None:
    say(f"building the wheel of {version}")
    argv = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", out, source]
    run(argv, 600)
    if len(list(out.glob(f"*-{version}-*.whl"))) != 1:
        raise GuestFailed(f"no wheel of version {version} came out of the build")


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=_SKIPPED)
    elif source.exists():
        shutil.copy(source, target)
    else:
        raise GuestFailed(f"{source} is missing")
