"""Delay bounds on random topologies: offline beside online, and what delay layers lose.

All arms see the same pods on the same nodes. Figures are medians over seeds, with the smallest and
the largest; nothing is left out.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tango.adapters.policies import placement_plugins
from tango.algorithms.placement.cluster import Cluster, NodeRow
from tango.algorithms.placement.delay_bound import DelayBound
from tango.algorithms.placement.delay_improve import improvement
from tango.algorithms.placement.delay_layers import LayeredDelays, Use
from tango.algorithms.placement.delay_offline import place_offline
from tango.algorithms.placement.delay_replan import replan
from tango.algorithms.placement.delays import Delays, MatrixDelays, SiteDelays
from tango.algorithms.placement.placer import Placer
from tango.algorithms.placement.pod import Pod
from tango.algorithms.placement.room import Room
from tango.model.placement_profile import Profile
from tango.model.placement_profile import Use as Plugin

GIB = 2**30
PROFILE = Profile("edge", (Plugin("affinity"), Plugin("delay"), Plugin("fit")))
PLUGINS = placement_plugins(use.plugin for use in PROFILE.plugins)
N_NODES = 20
SQUARE_S = 0.040
LOADS = (50, 70, 90, 110)
FIGURES = ("backup_gib", "rejected", "unprotected", "moves", "interrupted")
# Of the last three: what the central master does on wish, by how many moves are allowed.
IMPROVED = {"backups": 0, "10 moves": 10, "any": 10_000}
ARMS = ("online", "offline", "applied", *IMPROVED)
LAYERS_S = (0.005, 0.010, 0.020, 0.040)
BOUNDS_S = (0.005, 0.007, 0.010, 0.015, 0.020, 0.030, 0.040)
# References that are looked at on large topologies.
MOST_REFERENCES = 200


def square(size: int, rng: random.Random) -> MatrixDelays:
    """Nodes anywhere on a square of 40 ms."""
    places = np.array([(rng.uniform(0, SQUARE_S), rng.uniform(0, SQUARE_S)) for _ in range(size)])
    apart = places[:, None, :] - places[None, :, :]
    return MatrixDelays(np.sqrt((apart * apart).sum(axis=2)))


def sites(size: int, rng: random.Random) -> SiteDelays:
    """Sites of 20 nodes within 0.5 ms, anywhere on the same square."""
    n_sites = max(1, size // 20)
    between = square(n_sites, rng)
    rows = [between.row(at) + 0.001 for at in range(n_sites)]
    return SiteDelays([node * n_sites // size for node in range(size)], rows, 0.0005)


def world(seed: int, n_pods: int) -> tuple[Cluster, list[Pod]]:
    """20 nodes of 16 GiB on a square of 40 ms; pods of 1 to 4 GiB within 5 to 20 ms of a node."""
    rng = random.Random(seed)
    delays = square(N_NODES, rng)
    rows = [NodeRow(f"n{number:02d}", 64000, 16 * GIB) for number in range(N_NODES)]
    pods = [
        Pod(
            f"p{number:03d}", 100, rng.randrange(1, 5) * GIB,
            near=f"n{rng.randrange(N_NODES):02d}", bound_s=rng.uniform(0.005, 0.02),
        )
        for number in range(n_pods)
    ]  # fmt: skip
    return Cluster(rows, delays=delays), pods


def books(cluster: Cluster) -> DelayBound:
    return DelayBound(Placer(Room(cluster), PROFILE, PLUGINS))


def figures(here: DelayBound, n_pods: int) -> dict[str, float]:
    reserved = sum(size.memory_bytes for size in here.placeholders.sizes.values())
    return {
        "backup_gib": reserved / GIB,
        "rejected": n_pods - sum(bool(one.node) for one in here.bound.values()),
        "unprotected": sum(bool(one.node) and not one.backup for one in here.bound.values()),
        "moves": 0,
        "interrupted": 0,
    }


def placed(seed: int, n_pods: int) -> dict[str, dict[str, float]]:
    """applied: placed online, then the offline plan of those that are there, where it is better.

    IMPROVED: as far as moves go in which a pod is stopped before it begins anew, and no backup is
    given up meanwhile.
    """
    cluster, pods = world(seed, n_pods)
    online = books(cluster)
    for pod in pods:
        online.schedule(pod)
    offline = books(cluster)
    place_offline(offline, pods)
    plan = replan(online)
    applied = figures(plan.here, n_pods)
    applied |= {"moves": plan.moves, "interrupted": len(plan.interrupted)}
    applied["taken"] = not plan.why_not
    return {
        "online": figures(online, n_pods),
        "offline": figures(offline, n_pods),
        "applied": applied,
        **{arm: improved(online, n_pods, moves) for arm, moves in IMPROVED.items()},
    }


def improved(online: DelayBound, n_pods: int, max_moves: int) -> dict[str, float]:
    plan = improvement(online, max_moves, (), online.room.cluster.names)
    wishes = [wish for wave in plan.waves for wish in wave]
    moved = {wish.task for wish in wishes if wish.node != online.bound[wish.task].node}
    return {
        "backup_gib": plan.after.reserved_bytes / GIB,
        "rejected": n_pods - plan.after.placed,
        "unprotected": plan.after.unprotected,
        "moves": len(moved),
        "interrupted": len(moved),
        "taken": not plan.why_not,
    }


def spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def compare(seeds: int) -> dict[str, object]:
    found: dict[str, object] = {}
    print(f"{N_NODES} nodes of 16 GiB, {seeds} seeds; median (least to most)")
    for n_pods in LOADS:
        runs = [placed(seed, n_pods) for seed in range(seeds)]
        for arm in ARMS:
            columns = {key: spread([run[arm][key] for run in runs]) for key in FIGURES}
            text = "  ".join(
                f"{key} {one['median']:g} ({one['least']:g} to {one['most']:g})"
                for key, one in columns.items()
            )
            taken = sum(run[arm].get("taken", False) for run in runs)
            also = f"  better in {taken:g} of {seeds}" if "taken" in runs[0][arm] else ""
            print(f"{n_pods} pods  {arm:8} {text}{also}")
            found[f"{n_pods}/{arm}"] = {**columns, "taken": taken}
    return found


def kept(
    exact: Delays, layered: LayeredDelays, bound_s: float, use: Use, rng: random.Random
) -> float:
    """Share of the other nodes of the exact radius that are found, over all references."""
    found = there = 0
    for at in rng.sample(range(exact.size), min(exact.size, MOST_REFERENCES)):
        there += int(np.count_nonzero(exact.row(at) <= bound_s)) - 1
        found += int(np.count_nonzero(layered.radius(at, bound_s, use))) - 1
    return found / there if there else 1.0


def losses(seeds: int) -> dict[str, object]:
    layers = ", ".join(f"{layer * 1000:g}" for layer in LAYERS_S)
    print(
        f"layers at {layers} ms; share of the exact radius that is found, median of {seeds} seeds"
    )
    report: dict[str, object] = {}
    for kind, make, size in (
        ("square", square, 100),
        ("square", square, 1000),
        ("sites", sites, 1000),
        ("sites", sites, 5000),
    ):
        shares: dict[tuple[Use, float], list[float]] = {}
        took = []
        for seed in range(seeds):
            exact = make(size, random.Random(seed))
            begun = time.perf_counter()
            layered = LayeredDelays(exact, LAYERS_S)
            took.append(time.perf_counter() - begun)
            for use in ("largest", "all"):
                for bound_s in BOUNDS_S:
                    share = kept(exact, layered, bound_s, use, random.Random(seed))
                    shares.setdefault((use, bound_s), []).append(share)
        for use in ("largest", "all"):
            line = {
                f"{bound_s * 1000:g} ms": statistics.median(shares[use, bound_s])
                for bound_s in BOUNDS_S
            }
            text = "  ".join(f"{bound} {share:.0%}" for bound, share in line.items())
            print(f"{kind} {size}  {use:7}  {text}")
            report[f"{kind}/{size}/{use}"] = line
        print(f"{kind} {size}  made in {statistics.median(took):.2f} s")
        report[f"{kind}/{size}/seconds"] = statistics.median(took)
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--layer-seeds", type=int, default=5)
    parser.add_argument("--report", type=Path)
    chosen = parser.parse_args()
    report = {"placement": compare(chosen.seeds), "layers": losses(chosen.layer_seeds)}
    if chosen.report:
        chosen.report.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
