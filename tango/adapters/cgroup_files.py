"""Reading and writing control group files: the few file operations both drivers stand on."""

from __future__ import annotations

import errno
import os
from collections import OrderedDict
from pathlib import Path
from typing import Protocol

_CHUNK = 8192
_GONE = (errno.ENODEV, errno.ENOENT)
# What pwrite says of a descriptor that could only be opened for reading (seq_file: ESPIPE).
_OPEN_FOR_READING = (errno.EBADF, errno.ESPIPE)
_NO_WRITE = (errno.EACCES, errno.EPERM, errno.EROFS)


class GroupFiles(Protocol):
    """File operations on a cgroup tree; paths are absolute strings. Errors: OSError as it is.

    A group that is gone raises FileNotFoundError, whatever the kernel calls it.
    """

    def read(self, path: str) -> str:
        """The content of a small file, stripped."""
        ...

    def read_long(self, path: str) -> str:
        """The content of a file of any length, such as cgroup.procs."""
        ...

    def write(self, path: str, value: str) -> None:
        """Write one value with one system call."""
        ...

    def exists(self, path: str) -> bool:
        """Whether the file or directory is there."""
        ...

    def make_dir(self, path: str) -> bool:
        """Make one group; False if it is there already. NotADirectoryError if a file is."""
        ...

    def remove_dir(self, path: str) -> None:
        """Remove one group that has neither children nor processes."""
        ...

    def subdirs(self, path: str) -> tuple[str, ...]:
        """Names of the groups directly below, sorted; empty if the group is absent."""
        ...

    def close(self) -> None:
        """Let go of every descriptor."""
        ...


class KernelFiles:
    """The real thing. Keeps descriptors open, since opening costs 5 to 20 times a read or write.

    max_fds: descriptors kept at most; the least recently used one is closed. An open descriptor
    does not keep a group alive. For one thread at a time.
    """

    def __init__(self, max_fds: int = 256) -> None:
        if max_fds < 1:
            raise ValueError(f"max_fds {max_fds}: want at least 1")
        self._max = max_fds
        self._fds: OrderedDict[str, int] = OrderedDict()

    def read(self, path: str) -> str:
        """See GroupFiles. At most 8 KiB: no file that is read this way comes near."""
        fd, fresh = self._descriptor(path)
        try:
            data = os.pread(fd, _CHUNK, 0)
        except OSError as error:
            if error.errno not in _GONE:
                raise OSError(error.errno, error.strerror, path) from error
            self._forget(path)
            if fresh:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path) from error
            # The group may have been removed and made again by someone else: look once more.
            return self.read(path)
        return data.decode("ascii").strip()

    def read_long(self, path: str) -> str:
        """See GroupFiles; opened anew, because the kernel makes such a list at open."""
        try:
            return Path(path).read_text("ascii")
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path) from error

    def write(self, path: str, value: str) -> None:
        """See GroupFiles."""
        fd, fresh = self._descriptor(path)
        try:
            os.pwrite(fd, value.encode("ascii"), 0)
        except OSError as error:
            if error.errno in _OPEN_FOR_READING:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path) from error
            if error.errno not in _GONE:
                raise OSError(error.errno, error.strerror, path) from error
            self._forget(path)
            if fresh:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path) from error
            self.write(path, value)

    def exists(self, path: str) -> bool:
        """See GroupFiles."""
        return Path(path).exists()

    def make_dir(self, path: str) -> bool:
        """See GroupFiles. Mode 0755: payloads read their own limits there."""
        try:
            Path(path).mkdir(mode=0o755)
        except FileExistsError:
            if not Path(path).is_dir():
                raise NotADirectoryError(
                    errno.ENOTDIR, "a kernel file has this name", path
                ) from None
            return False
        return True

    def remove_dir(self, path: str) -> None:
        """See GroupFiles."""
        below = path + "/"
        for name in [name for name in self._fds if name.startswith(below)]:
            self._forget(name)
        Path(path).rmdir()

    def subdirs(self, path: str) -> tuple[str, ...]:
        """See GroupFiles."""
        try:
            with os.scandir(path) as entries:
                return tuple(sorted(e.name for e in entries if e.is_dir(follow_symlinks=False)))
        except OSError as error:
            if error.errno in _GONE:
                return ()
            raise

    def close(self) -> None:
        """See GroupFiles; a later read opens again."""
        while self._fds:
            os.close(self._fds.popitem()[1])

    @property
    def open_fds(self) -> int:
        """Descriptors held now."""
        return len(self._fds)

    def _descriptor(self, path: str) -> tuple[int, bool]:
        """An open descriptor, and whether it was opened just now."""
        fd = self._fds.get(path)
        if fd is not None:
            self._fds.move_to_end(path)
            return fd, False
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            if error.errno not in _NO_WRITE:
                raise
            try:
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except PermissionError:
                # Write-only files exist too (cgroup.kill).
                fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        self._fds[path] = fd
        if len(self._fds) > self._max:
            os.close(self._fds.popitem(last=False)[1])
        return fd, True

    def _forget(self, path: str) -> None:
        fd = self._fds.pop(path, None)
        if fd is not None:
            os.close(fd)
