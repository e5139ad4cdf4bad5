"""A file that a command writes is there whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tango.model.errors import InvalidField


@contextmanager
def whole_file(path: Path, field: str) -> Iterator[Path]:
    """Where to write; it takes the place of `path` when the body is through.

    Raises InvalidField for `field` where the body cannot write, and leaves nothing of it.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        yield part
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        problem = f"cannot be written: {error.strerror}"
        raise InvalidField(field, problem, "choose another place", str(path)) from error
