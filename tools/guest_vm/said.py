"""What the tool says to people, how it runs other programs, and how it fails."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

_STARTED = time.monotonic()


class GuestFailed(Exception):
    """Something that is told in one line, with what to do about it."""


def say(text: str) -> None:
    """One line of progress with the seconds since the start."""
    print(f"[{time.monotonic() - _STARTED:6.1f} s] {text}", file=sys.stderr, flush=True)


def run(argv: Sequence[str | Path], limit_s: float, **options: object) -> None:
    """Run to the end; GuestFailed with the last lines where it fails or takes too long."""
    words = [str(word) for word in argv]
    try:
        done = subprocess.run(  # type: ignore[call-overload]
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=limit_s,
            **options,
        )
    except subprocess.TimeoutExpired:
        raise GuestFailed(f"{words[0]} took more than {limit_s:.0f} s") from None
    except OSError as error:
        raise GuestFailed(f"{words[0]} cannot be started: {error}") from None
    if done.returncode:
        tail = "\n".join(done.stdout.splitlines()[-15:])
        raise GuestFailed(f"{' '.join(words[:6])} ... ended with {done.returncode}:\n{tail}")
