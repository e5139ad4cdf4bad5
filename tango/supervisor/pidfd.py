"""Exit codes of processes that are not our children, where the kernel keeps them."""

from __future__ import annotations

import fcntl
import struct

# include/uapi/linux/pidfd.h: struct pidfd_info begins with a 64 bit mask and ends its first
# published size (64 bytes) with the wait status, valid if the mask comes back with PIDFD_INFO_EXIT.
_SIZE = 64
_EXIT = 1 << 3
_GET_INFO = (3 << 30) | (_SIZE << 16) | (0xFF << 8) | 11


class NotKept(Exception):
    """This kernel does not tell the exit codes of other people's children."""


def wait_status(fd: int) -> int | None:
    """The wait status of a process that ended; None as long as its parent has not reaped it.

    Linux 6.15 and later, and only if the pidfd was opened before it was reaped; else NotKept, or
    None for ever.
    """
    info = bytearray(struct.pack("=Q", _EXIT).ljust(_SIZE, b"\0"))
    try:
        fcntl.ioctl(fd, _GET_INFO, info)
    except OSError:
        raise NotKept from None
    (mask,) = struct.unpack_from("=Q", info)
    if not mask & _EXIT:
        return None
    (status,) = struct.unpack_from("=i", info, _SIZE - 4)
    return int(status)
