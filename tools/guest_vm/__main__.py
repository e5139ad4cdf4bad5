"""`tools/guest`: builds (or takes from the cache) a Debian guest, runs test suites in it."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from pathlib import Path

import debian
import machine
import payload
import results
from said import GuestFailed, say

SUITES = ("contract", "checkpoint", "systemd")
# Emulated, a guest is 10 to 20 times slower than this machine, and this machine may be shared.
BUILD_LIMIT_S = 1500.0
RUN_LIMIT_S = 3600.0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="tools/guest",
        description="Run tests in a Debian 12 guest (qemu, emulated) with cgroup v2 and systemd.",
        epilog="Exit status: 0 all tests passed, 1 some failed or the guest did, 2 wrong usage.",
    )
    parser.add_argument("suites", nargs="*", help=f"of {', '.join(SUITES)}; none: all")
    parser.add_argument(
        "--out", type=Path, default=Path("guest-results"), help="where results go (%(default)s)"
    )
    parser.add_argument("--limit", type=float, default=RUN_LIMIT_S, metavar="SECONDS")
    parser.add_argument("--rebuild", action="store_true", help="make the base image anew")
    parser.add_argument("--verbose", action="store_true", help="show the guest's whole console")
    parser.add_argument("-k", dest="only", default="", help="passed on to pytest in the guest")
    given = parser.parse_args()
    wrong = [name for name in given.suites if name not in SUITES]
    if wrong:
        parser.error(f"no suite {wrong[0]!r}; there are {', '.join(SUITES)}")
    return given


def main() -> int:
    given = arguments()
    # An interrupted run, too, is to leave no qemu behind: `finally` clauses do that.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    root = Path(__file__).resolve().parents[2]
    chosen = tuple(name for name in SUITES if not given.suites or name in given.suites)
    started = time.monotonic()
    try:
        debian.check_host()
        cache = debian.cache_dir()
        needed = payload.dependency_wheels(root, cache)
        image = debian.image(cache, needed, rebuild=given.rebuild, limit_s=BUILD_LIMIT_S)
        wheels = payload.tango_wheels(root, cache, with_newer="systemd" in chosen)
        with tempfile.TemporaryDirectory(prefix="tango-guest-") as scratch:
            folder = Path(scratch)
            disk = payload.make(root, wheels, folder, chosen, given.only)
            say(f"guest starts: {', '.join(chosen)} (limit {given.limit:.0f} s)")
            found = machine.run_guest(
                image, disk, folder, limit_s=given.limit, verbose=given.verbose
            )
            out = given.out.resolve()
            passed = results.bring_back(found, out, chosen)
    except GuestFailed as failed:
        say(f"FAILED: {failed}")
        return 1
    except KeyboardInterrupt:
        say("interrupted")
        return 130
    say(f"{'passed' if passed else 'FAILED'} in {time.monotonic() - started:.0f} s; see {out}")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
