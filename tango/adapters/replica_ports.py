"""TCP ports for replicas: free ones picked, fixed ones checked, none given to two at once."""

from __future__ import annotations

import socket

_TRIES = 64


class PortTaken(Exception):
    """The port cannot be had. lasting: not by waiting either."""

    def __init__(self, message: str, *, lasting: bool = False) -> None:
        super().__init__(message)
        self.lasting = lasting


class ReplicaPorts:
    """Which key has which port, from before its process listens until it has ended.

    A port is looked at by binding and releasing it, so that another program may still take it
    before the replica does: then the replica fails to start, and a port is picked anew.
    """

    def __init__(self) -> None:
        self._keys: dict[int, str] = {}
        self._ports: dict[str, int] = {}

    def pick(self, key: str) -> int:
        """A port that is free on every address of this machine. PortTaken where there is none."""
        for _ in range(_TRIES):
            port = self._bind(0)
            if port not in self._keys:
                self.hold(key, port)
                return port
        raise PortTaken("no free port was found")

    def claim(self, key: str, port: int) -> None:
        """This very port, or PortTaken with who has it."""
        holder = self._keys.get(port, key)
        if holder != key:
            raise PortTaken(f"port {port} is in use by {holder}")
        self._bind(port)
        self.hold(key, port)

    def hold(self, key: str, port: int) -> None:
        """Note that a key has a port, as of a process that was found running."""
        self.release(key)
        self._keys[port] = key
        self._ports[key] = port

    def release(self, key: str) -> None:
        """The key needs its port no more; fine where it had none."""
        port = self._ports.pop(key, None)
        if port is not None and self._keys.get(port) == key:
            del self._keys[port]

    @staticmethod
    def _bind(port: int) -> int:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            # As servers do: connections of an earlier run in TIME_WAIT are no obstacle, one that
            # listens is.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("", port))
            except PermissionError:
                raise PortTaken(f"port {port} needs privileges", lasting=True) from None
            except OSError as error:
                message = f"port {port} is in use ({error.strerror})" if port else str(error)
                raise PortTaken(message) from None
            found: int = probe.getsockname()[1]
            return found
