"""Groups under one root, in one hierarchy (cgroup v2) or several (v1): make, list, move, remove."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
from collections.abc import Iterator, Mapping

from tango.adapters.cgroup_files import GroupFiles, KernelFiles
from tango.adapters.cgroup_values import check_name

_NOT_EMPTY = (errno.EBUSY, errno.ENOTEMPTY)
_MAKE_TRIES = 3
_KILL_PASSES = 8


class GroupTree:
    """The membership half of `tango.ports.Cgroups`.

    bases: for each controller, the directory that Tango may make groups in; never removed.
    root: relative path of the group that holds all others; every part of it is Tango's own, made
    if absent, adopted if present, and removed by remove("") as far as nobody else uses it. With ""
    the bases themselves are the root.
    """

    def __init__(self, bases: Mapping[str, str], root: str, files: GroupFiles | None) -> None:
        self._root = check_name(root)
        self._files: GroupFiles = KernelFiles() if files is None else files
        self._bases = dict(bases)

    def create(self, group: str) -> None:
        """See Cgroups. A group that exists is adopted with its values."""
        check_name(group)
        for base in self._hierarchies():
            self._make_path(base, f"{self._root}/{group}")

    def remove(self, group: str) -> None:
        """See Cgroups: deepest first, in every hierarchy. Does not wait: EBUSY is the caller's."""
        check_name(group)
        for base in self._hierarchies():
            for path in self._deepest_first(self._join(base, group)):
                if path != base:
                    self._remove_dir(path)
            if group == "":
                self._remove_own_parents(base)

    def groups(self) -> tuple[str, ...]:
        """See Cgroups; the root itself is not listed. A group in any one hierarchy counts."""
        found: set[tuple[str, ...]] = set()
        for base in self._hierarchies():
            top = self._join(base, "")
            for path in self._deepest_first(top):
                if path != top:
                    found.add(tuple(path[len(top) + 1 :].split("/")))
        return tuple("/".join(parts) for parts in sorted(found))

    def procs(self, group: str) -> tuple[int, ...]:
        """See Cgroups; sorted. A process that sits in only some hierarchies counts too."""
        pids: set[int] = set()
        for path in self.procs_files(group):
            pids.update(int(line) for line in self._files.read_long(path).split())
        # 0 stands for a process that our pid namespace cannot name.
        return tuple(sorted(pids - {0}))

    def procs_files(self, group: str) -> tuple[str, ...]:
        """See Cgroups."""
        check_name(group)
        return tuple(f"{self._join(base, group)}/cgroup.procs" for base in self._hierarchies())

    def move(self, group: str, pid: int) -> None:
        """See Cgroups. ProcessLookupError if it is gone; ValueError below 1 (0 is the caller)."""
        if pid < 1:
            raise ValueError(f"pid {pid}: want a positive process id")
        for path in self.procs_files(group):
            self._files.write(path, str(pid))

    def kill(self, group: str) -> None:
        """SIGKILL to every process in the group and below; returns before they are gone.

        Passes over the tree until one finds nobody new, so that a fork does not escape; bounded,
        since a fork bomb can win: the caller looks at `procs` and calls again.
        """
        check_name(group)
        signalled: set[int] = set()
        for _ in range(_KILL_PASSES):
            fresh = self._procs_within(group) - signalled
            if not fresh:
                return
            for pid in fresh:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            signalled |= fresh

    def _before_child(self, base: str, parent: str) -> None:
        """Make `parent` fit to have children."""

    def _after_make(self, base: str, parent: str, path: str) -> None:
        """Make `path` fit to have processes."""

    def _hierarchies(self) -> tuple[str, ...]:
        """Each directory once, where controllers are mounted together."""
        return tuple(dict.fromkeys(self._bases.values()))

    def _join(self, base: str, group: str) -> str:
        return "/".join(part for part in (base, self._root, group) if part)

    def _dir(self, controller: str, group: str) -> str:
        return self._join(self._bases[controller], group)

    def _make_path(self, base: str, name: str) -> None:
        # Another worker may remove an empty parent that we share just while we build on it.
        for tries_left in reversed(range(_MAKE_TRIES)):
            try:
                path = base
                for part in filter(None, name.split("/")):
                    parent, path = path, f"{path}/{part}"
                    self._before_child(base, parent)
                    self._files.make_dir(path)
                    self._after_make(base, parent, path)
            except FileNotFoundError:
                if tries_left == 0:
                    raise
            else:
                return

    def _deepest_first(self, top: str) -> Iterator[str]:
        for name in self._files.subdirs(top):
            yield from self._deepest_first(f"{top}/{name}")
        yield top

    def _procs_within(self, group: str) -> set[int]:
        names = (group, *(name for name in self.groups() if within(name, group)))
        pids: set[int] = set()
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                pids.update(self.procs(name))
        return pids

    def _remove_dir(self, path: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._files.remove_dir(path)

    def _remove_own_parents(self, base: str) -> None:
        parts = self._root.split("/")
        for depth in range(len(parts) - 1, 0, -1):
            try:
                self._remove_dir("/".join((base, *parts[:depth])))
            except OSError as error:
                if error.errno in _NOT_EMPTY:
                    return
                raise


def within(name: str, group: str) -> bool:
    """Whether `name` is the group or below it."""
    return group == "" or name == group or name.startswith(group + "/")
