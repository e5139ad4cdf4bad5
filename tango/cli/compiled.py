"""Whether this installation runs its hot modules as machine code: see tools/compile."""

from __future__ import annotations

from importlib.machinery import EXTENSION_SUFFIXES, PathFinder
from pathlib import Path

import tango.controllers.edge


def compiled() -> bool:
    """True if they do; looks for the file alone, for the import takes its time."""
    found = PathFinder.find_spec("controller", list(tango.controllers.edge.__path__))
    return (
        found is not None
        and found.origin is not None
        and Path(found.origin).name.endswith(tuple(EXTENSION_SUFFIXES))
    )
