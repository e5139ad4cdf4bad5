"""Compiles the hot modules to machine code by mypyc: the same sources and decisions, faster.

Nothing needs it: without, the same modules run as Python. A library for each kind of process, so
that a worker does not load what edges and the simulator need.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import sysconfig
import tempfile
from contextlib import chdir
from pathlib import Path

# It stands beside this file also for who loads that by its path, as hatch_build.py does.
sys.path.insert(0, str(Path(__file__).parent))
from native_records import RECORDS, native

# Library: the modules in it, as globs. Each module has a small file of its own besides, which costs
# a process 20 KiB: of a worker, which has 64 MiB, only what runs for each request and report.
MODEL = "tango_model"
GROUPS: dict[str, tuple[str, ...]] = {
    MODEL: tuple(file for file, names in RECORDS.items() if names),
    "tango_node": (
        "tango/algorithms/quota/follow.py",
        "tango/algorithms/quota/hrm.py",
        "tango/algorithms/quota/level.py",
        "tango/algorithms/quota/suppression.py",
        "tango/controllers/decisions.py",
        "tango/controllers/session.py",
        "tango/controllers/worker/attempts.py",
        "tango/controllers/worker/controller.py",
        "tango/controllers/worker/counters.py",
        "tango/controllers/worker/groups.py",
        "tango/controllers/worker/outbox.py",
        "tango/controllers/worker/replica.py",
        "tango/controllers/worker/replica_health.py",
        "tango/controllers/worker/replica_life.py",
        "tango/controllers/worker/replica_oom.py",
        "tango/controllers/worker/replica_targets.py",
        "tango/controllers/worker/requests.py",
        "tango/controllers/worker/timers.py",
        "tango/controllers/worker/usage.py",
    ),
    # Not the policies: others may derive theirs from them, which compiled classes forbid.
    "tango_edge": (
        "tango/algorithms/quota/reclaim.py",
        "tango/algorithms/traffic/few_nodes.py",
        "tango/algorithms/traffic/residual.py",
        "tango/algorithms/traffic/shares.py",
        "tango/controllers/edge/*.py",
    ),
    "tango_sdk": (
        "tango/sdk/follow.py",
        "tango/sdk/leased_routes.py",
        "tango/sdk/route_choice.py",
    ),
    "tango_central": (
        "tango/controllers/central/batch.py",
        "tango/controllers/central/bounds.py",
        "tango/controllers/central/controller.py",
        "tango/controllers/central/core.py",
        "tango/controllers/central/delay_table.py",
        "tango/controllers/central/departures.py",
        "tango/controllers/central/edges.py",
        "tango/controllers/central/improve.py",
        "tango/controllers/central/jobs.py",
        "tango/controllers/central/lc_use.py",
        "tango/controllers/central/ledger.py",
        "tango/controllers/central/outcomes.py",
        "tango/controllers/central/placing.py",
        "tango/controllers/central/preemption.py",
        "tango/controllers/central/queue.py",
        "tango/controllers/central/reports.py",
        "tango/controllers/central/retention.py",
        "tango/controllers/central/service_hosts.py",
        "tango/controllers/central/site.py",
        "tango/controllers/central/trying.py",
    ),
    "tango_sim": (
        "tango/sim/central_shell.py",
        "tango/sim/cpu_group.py",
        "tango/sim/cpu_tree.py",
        "tango/sim/edge_sessions.py",
        "tango/sim/edge_shell.py",
        "tango/sim/engine.py",
        "tango/sim/hosts.py",
        "tango/sim/machine.py",
        "tango/sim/machine_process.py",
        "tango/sim/network.py",
        "tango/sim/node_cpu.py",
        "tango/sim/node_memory.py",
        "tango/sim/payload.py",
        "tango/sim/sessions.py",
        "tango/sim/shell.py",
        "tango/sim/tally.py",
        "tango/sim/users.py",
        "tango/sim/worker_shell.py",
        "tango/workload/latency.py",
        "tango/workload/report.py",
    ),
}
# Compiled for size in wheels, as a worker loads them.
SMALL = ("tango_node",)
SUFFIX = str(sysconfig.get_config_var("EXT_SUFFIX"))


def sources(root: Path, *, records: bool) -> list[tuple[list[str], str]]:
    """Files of each group, relative to `root`; packages themselves stay Python."""
    found = []
    for name, globs in GROUPS.items():
        if name == MODEL and not records:
            continue
        files = [str(path.relative_to(root)) for glob in globs for path in sorted(root.glob(glob))]
        found.append(([file for file in files if not file.endswith("__init__.py")], name))
    return found


def compiled_files(root: Path) -> list[Path]:
    """What an earlier compilation left in the tree."""
    return [*root.glob(f"*__mypyc{SUFFIX}"), *(root / "tango").rglob(f"*{SUFFIX}")]


def remove(root: Path) -> None:
    """Back to Python."""
    for path in compiled_files(root):
        path.unlink()


def compile_into(
    root: Path, into: Path, *, opt_level: str = "3", records: bool = True
) -> list[Path]:
    """Compile the sources below `root`; the libraries' paths, relative to `into`.

    records: these too, which makes a simulation faster and a node's processes 3 MiB larger each.

    RuntimeError where mypyc, setuptools or a C compiler is missing, or the compilation fails.
    """
    try:
        from mypyc.build import mypycify
        from setuptools import Distribution
        from setuptools.command.build_ext import build_ext
    except ImportError as missing:
        raise RuntimeError(f"{missing.name} is missing; it comes with the extra `dev`") from None
    if shutil.which(os.environ.get("CC", "cc")) is None:
        raise RuntimeError("there is no C compiler; Debian's packages: gcc, python3-dev")
    groups = sources(root, records=records)
    with tempfile.TemporaryDirectory(prefix="tango-compile-") as scratch:
        tree = _prepared(root, Path(scratch, "tree"), records=records)
        with chdir(tree):
            extensions = mypycify(
                [file for files, _ in groups for file in files],
                separate=groups,
                multi_file=True,
                opt_level=opt_level,
                debug_level="0",
                target_dir=f"{scratch}/c",
            )
            for extension in extensions:
                # With several files to a group its headers define what other groups export in each.
                flags = [*extension.extra_compile_args, "-fcommon"]
                small = not records and extension.name.removesuffix("__mypyc") in SMALL
                extension.extra_compile_args = [*flags, "-Os"] if small else flags
            distribution = Distribution({"name": "tango-compiled", "ext_modules": extensions})
            command = build_ext(distribution)
            command.build_lib = str(into.absolute())
            command.build_temp = f"{scratch}/o"
            command.parallel = os.cpu_count()
            command.ensure_finalized()
            command.run()
        return [Path(path).relative_to(into.absolute()) for path in command.get_outputs()]


def _prepared(root: Path, tree: Path, *, records: bool) -> Path:
    """A copy of the package with its records written out."""
    ignored = shutil.ignore_patterns(f"*{SUFFIX}", "__pycache__")
    shutil.copytree(root / "tango", tree / "tango", ignore=ignored)
    shutil.copy(root / "pyproject.toml", tree)
    for file, names in RECORDS.items():
        if records or not names:
            (tree / file).write_text(native((root / file).read_text(), names))
    return tree


def main() -> int:
    """Compile in place, or undo it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--remove", action="store_true", help="back to Python")
    parser.add_argument("--no-records", action="store_true", help="as wheels for nodes are made")
    parser.add_argument("--opt-level", default="3", choices=("0", "1", "2", "3"))
    arguments = parser.parse_args()
    root = Path(__file__).parents[1]
    remove(root)
    if arguments.remove:
        return 0
    try:
        records = not arguments.no_records
        found = compile_into(root, root, opt_level=arguments.opt_level, records=records)
    except RuntimeError as problem:
        print(f"cannot compile: {problem}", file=sys.stderr)
        return 1
    print(f"compiled {len(found)} modules and libraries; tools/compile --remove undoes it")
    return 0


if __name__ == "__main__":
    sys.exit(main())
