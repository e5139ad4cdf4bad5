"""Where something listens ("host:port", "[::1]:port", "unix:/path") and whether it is loopback."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from tango.model.errors import InvalidField

# sun_path holds 108 bytes with the closing NUL (unix(7)).
MAX_UNIX_PATH = 107
_HOST_PORT = re.compile(
    r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9._-]+)):(?P<port>\d{1,5})"
)


@dataclass(frozen=True, slots=True)
class Address:
    """A TCP host and port, or the path of a unix socket (then host is "" and port 0)."""

    host: str
    port: int
    path: str = ""

    @property
    def loopback(self) -> bool:
        """Whether only this machine reaches it: a unix socket, 127.0.0.0/8, ::1 or localhost.

        Other names are not looked up: what they resolve to can change after the check.
        """
        if self.path or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def numeric_host(self) -> str:
        """The host with localhost as 127.0.0.1, so that nobody's resolver is asked."""
        return "127.0.0.1" if self.host == "localhost" else self.host

    def answers_to(self, host: str) -> bool:
        """Whether HTTP's Host names this loopback listener, and not a page's own host name.

        A name that its owner makes point here would let his pages in (DNS rebinding).
        """
        name, colon, port = host.rpartition(":")
        if not colon or port.endswith("]"):
            name = host
        elif port != str(self.port):
            return False
        own = self.numeric_host
        return name in {"localhost", "127.0.0.1", "[::1]", f"[{own}]" if ":" in own else own}

    def with_port(self, port: int) -> Address:
        """The same host at another port."""
        return Address(self.host, port, self.path)

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str, field: str = "address") -> Address:
    """The address of "127.0.0.1:7000", "[::1]:7000", "localhost:0" or "unix:/run/x.sock".

    Raises InvalidField for anything else, ports above 65535 and relative or long socket paths.
    """
    if text.startswith("unix:"):
        path = text.removeprefix("unix:").removeprefix("//")
        if not path.startswith("/") or "\0" in path:
            raise InvalidField(field, f"{text!r} is not a socket path", 'write "unix:/run/x.sock"')
        if len(path.encode("utf-8", "surrogateescape")) > MAX_UNIX_PATH:
            problem = f"the socket path is longer than {MAX_UNIX_PATH} bytes"
            raise InvalidField(field, problem, "use a shorter directory")
        return Address("", 0, path)
    match = _HOST_PORT.fullmatch(text)
    if match is None:
        raise InvalidField(field, f"{text!r} is not host:port", 'write "127.0.0.1:7000"')
    host = match["six"] or match["host"]
    if match["six"]:
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise InvalidField(
                field, f"{host!r} is not an IPv6 address", 'write "[::1]:7000"'
            ) from None
    port = int(match["port"])
    if port > 65535:
        raise InvalidField(field, f"port {port} is out of range", "use 0 to 65535")
    return Address(host, port)
