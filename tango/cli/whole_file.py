"""A file that a command writes is there whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tango.model.errors import InvalidField


@contextmanager
def whole_file(path: Path, field: str) -> Iterator[Path]:
    """Where to write; it takes the place of `path` when the body is through.

    Raises InvalidField for `field` where the body cannot write, and leaves nothing of it.
    """
    part = _part(path)
    try:
        yield part
        part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):  # it may be the name itself that is wrong
            part.unlink(missing_ok=True)
        raise _unwritable(path, field, error) from error


def check_place(path: Path, field: str) -> None:
    """Refuse before a run a place where `whole_file` would fail after it, or would take the place
    of what is no file: /dev/null would become one. Raises InvalidField.
    """
    if not path.parent.is_dir():
        raise InvalidField(field, f"there is no folder {path.parent}", "make it first", str(path))
    try:
        _part(path).lstat()
    except FileNotFoundError:
        pass
    except OSError as error:
        raise _unwritable(path, field, error) from error
    if path.is_dir():
        raise InvalidField(field, "is a folder", "name a file", str(path))
    if path.exists() and not path.is_file():
        raise InvalidField(field, "is no plain file", "name one", str(path))
    if not os.access(path.parent, os.W_OK | os.X_OK):
        problem = f"nothing can be written in {path.parent}"
        raise InvalidField(field, problem, "choose another place", str(path))


def _part(path: Path) -> Path:
    return path.with_name(f".{path.name}.part")


def _unwritable(path: Path, field: str, error: OSError) -> InvalidField:
    problem = f"cannot be written: {error.strerror}"
    return InvalidField(field, problem, "choose another place", str(path))
