"""TCP ports for processes: free ones picked, fixed ones checked, none given to two at once."""

from __future__ import annotations

import socket

from tango.model.process import ProcessSpec

_TRIES = 64


class PortTaken(Exception):
    """The port cannot be had. lasting: not by waiting either."""

    def __init__(self, message: str, *, lasting: bool = False) -> None:
        super().__init__(message)
        self.lasting = lasting


class ReplicaPorts:
    """Which key has which ports, from before its process listens until it has ended.

    A port is looked at by binding and releasing it, so that another program may still take it
    before the replica does: then the replica fails to start, and a port is picked anew.
    """

    def __init__(self) -> None:
        self._keys: dict[int, str] = {}
        self._ports: dict[str, tuple[int, ...]] = {}

    def port_for(self, spec: ProcessSpec) -> int | None:
        """What the process is to have is its own from now on, by its key; the port that it is told
        first, None for none. Raises PortTaken."""
        if spec.ports:
            self.claim(spec.key, *spec.ports)
            return spec.ports[0]
        if spec.port == 0:
            return self.pick(spec.key)
        if spec.port is not None:
            self.claim(spec.key, spec.port)
        return spec.port

    def pick(self, key: str) -> int:
        """A port that is free on every address of this machine. PortTaken where there is none."""
        for _ in range(_TRIES):
            port = self._bind(0)
            if port not in self._keys:
                self.hold(key, port)
                return port
        raise PortTaken("no free port was found")

    def claim(self, key: str, *ports: int) -> None:
        """These very ports, or PortTaken with who has one of them."""
        for port in ports:
            holder = self._keys.get(port, key)
            if holder != key:
                raise PortTaken(f"port {port} is in use by {holder}")
            self._bind(port)
        self.hold(key, *ports)

    def hold(self, key: str, *ports: int) -> None:
        """Note that a key has these ports, as of a process that was found running."""
        self.release(key)
        self._keys.update(dict.fromkeys(ports, key))
        self._ports[key] = ports

    def release(self, key: str) -> None:
        """The key needs its ports no more; fine where it had none."""
        for port in self._ports.pop(key, ()):
            if self._keys.get(port) == key:
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
