"""`python -m tango.daemons central|edge|worker -c FILE`: a daemon without the command line's code.

`--record DIR` before the daemon's name does as [record] in its file.

`tango worker` becomes this by exec: what parses options and draws tables would stay in the memory
of every node for nothing.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

from tango.model.errors import TangoError

DAEMONS = ("central", "edge", "worker")
USAGE = f"usage: python -m tango.daemons [--record DIR] {'|'.join(DAEMONS)} -c FILE"


def main(argv: list[str]) -> int:
    """Run one daemon to its end; the exit status, 2 for a wrong command line."""
    record: Path | None = None
    if argv[:1] == ["--record"] and len(argv) > 1:
        record, argv = Path(argv[1]), argv[2:]
    match argv:
        case [kind, "-c", config] if kind in DAEMONS:
            pass
        case _:
            print(USAGE, file=sys.stderr)
            return 2
    try:
        status: int = import_module(f"tango.daemons.{kind}.main").run(Path(config), record)
    except TangoError as error:
        print(f"tango: {error}", file=sys.stderr)
        return 1
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
