"""Names that people choose: services, jobs, tasks, nodes, edges (RFC 1123 labels)."""

from __future__ import annotations

import re

from tango.model.errors import InvalidField

NAME = re.compile(r"^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$")


def check_name(name: str, field: str = "name") -> str:
    """The name itself, or InvalidField: lower-case letters, digits and '-', 63 at most."""
    if not NAME.match(name):
        raise InvalidField(
            field,
            f"{name!r} is not a valid name",
            "use 1 to 63 of a-z, 0-9 and '-', beginning and ending with a letter or digit",
        )
    return name
