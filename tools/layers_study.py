"""Where a pod goes decides what is downloaded: five ways to score nodes, on the same pods.

Pods arrive at random (Poisson), run for an exponential time, and need one image each of a seeded
catalogue. A node downloads the layers that it lacks, keeps them, and drops the longest unused ones
that no pod needs where its disk is full. All arms see the same pods in the same order, on nodes
that start empty; each filters by CPU and memory and adds its score to least-allocated and balanced
allocation. Ties are broken by lot, as kube-scheduler does it.
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
import random
import statistics
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tango.adapters.registry_manifests import Manifest, parse_manifest
from tango.algorithms.placement.image_locality import image_locality
from tango.algorithms.placement.layers import (
    WEIGHT_HIGH,
    balanced_allocation,
    local_bytes,
    raw_score,
    score_node,
    total_bytes,
    total_score,
)
from tango.model.layers import Layer
from tango.workload.image_catalogue import MANIFEST, ImageCatalogue

GIB = 2**30
CPU, MEMORY = 4000, 8 * GIB
# Millicores, MiB.
PODS = ((250, 128), (400, 300), (500, 1536), (1000, 1024))
MEAN_LIFE_S = 600.0
# Bytes a second from the registry to a node, drawn for each.
BANDWIDTHS = tuple(mbit * 125_000.0 for mbit in (20, 50, 100, 200))
ARMS = ("none", "image-locality", "layers", "layers-2", "layers-0.5")


@dataclass(frozen=True)
class Pod:
    at: float
    life_s: float
    image: str
    cpu: int
    memory: int


@dataclass
class Node:
    """layers: sizes by digest, the longest unused first. used: how many pods need a layer."""

    bandwidth: float
    cpu: int = 0
    memory: int = 0
    held: int = 0
    layers: dict[str, int] = field(default_factory=dict)
    used: dict[str, int] = field(default_factory=dict)

    def fractions(self, pod: Pod) -> tuple[float, float]:
        return (self.cpu + pod.cpu) / CPU, (self.memory + pod.memory) / MEMORY

    def start(self, pod: Pod, required: tuple[Layer, ...], disk: int) -> int:
        """The bytes that were downloaded for it."""
        self.cpu += pod.cpu
        self.memory += pod.memory
        missing = 0
        for layer in required:
            if layer.digest not in self.layers:
                missing += layer.size_bytes
                self.held += layer.size_bytes
            # Taken out and put in again: at the end of the order.
            self.layers.pop(layer.digest, None)
            self.layers[layer.digest] = layer.size_bytes
            self.used[layer.digest] = self.used.get(layer.digest, 0) + 1
        if self.held > disk:
            self._drop(disk)
        return missing

    def end(self, pod: Pod, required: tuple[Layer, ...]) -> None:
        self.cpu -= pod.cpu
        self.memory -= pod.memory
        for layer in required:
            self.used[layer.digest] -= 1

    def _drop(self, disk: int) -> None:
        for digest in [d for d in self.layers if not self.used.get(d)]:
            if self.held <= disk:
                return
            self.held -= self.layers.pop(digest)


def parsed(catalogue: ImageCatalogue) -> dict[str, tuple[Layer, ...]]:
    """As the registry client reads them."""
    found = {}
    for image in catalogue.images:
        manifest = parse_manifest(image.manifest, MANIFEST, image.name)
        assert isinstance(manifest, Manifest)
        found[image.name] = manifest.layers
    return found


def pods(
    catalogue: ImageCatalogue, count: int, nodes: int, load: float, seed: int
) -> Iterator[Pod]:
    """load: share of the cluster's CPU that they hold in the mean."""
    drawn = random.Random(f"pods {seed}")
    mean_cpu = statistics.mean(cpu for cpu, _ in PODS)
    rate = load * nodes * CPU / (mean_cpu * MEAN_LIFE_S)
    at = 0.0
    for _ in range(count):
        at += drawn.expovariate(rate)
        cpu, mib = drawn.choice(PODS)
        image = catalogue.draw(drawn).name
        yield Pod(at, drawn.expovariate(1 / MEAN_LIFE_S), image, cpu, mib * 2**20)


def score(arm: str, pod: Pod, node: Node, required: tuple[Layer, ...], nodes: list[Node]) -> int:
    cpu, memory = node.fractions(pod)
    least = int((2 - cpu - memory) / 2 * 100)
    balanced = balanced_allocation(cpu, memory)
    if arm == "none":
        return balanced + least
    if arm == "image-locality":
        present = []
        if has(node, required):
            size = total_bytes(required)
            present.append((size, sum(has(other, required) for other in nodes)))
        return image_locality(present, 1, len(nodes)) + balanced + least
    if arm == "layers":
        found = score_node(required, node.layers, cpu, memory)
        return total_score(found.score, balanced, least)
    weight = float(arm.removeprefix("layers-"))
    raw = raw_score(local_bytes(required, node.layers), total_bytes(required))
    assert weight <= WEIGHT_HIGH
    return total_score(int(raw * weight), balanced, least)


def has(node: Node, required: tuple[Layer, ...]) -> bool:
    return all(layer.digest in node.layers for layer in required)


def run(
    arm: str,
    wanted: list[Pod],
    images: dict[str, tuple[Layer, ...]],
    count: int,
    disk: int,
    seed: int,
) -> dict[str, float]:
    """One arm over all pods."""
    drawn = random.Random(f"nodes {seed}")
    nodes = [Node(drawn.choice(BANDWIDTHS)) for _ in range(count)]
    lots = random.Random(f"ties {seed}")
    running: list[tuple[float, int, Pod, Node]] = []
    waits: list[float] = []
    downloaded = refused = 0
    spread = most = weighed = last = 0.0
    for number, pod in enumerate(wanted):
        while running and running[0][0] <= pod.at:
            _, _, ended, there = heapq.heappop(running)
            there.end(ended, images[ended.image])
        used = [node.cpu / CPU for node in nodes]
        spread += statistics.pstdev(used) * (pod.at - last)
        most += max(used) * (pod.at - last)
        weighed += pod.at - last
        last = pod.at
        required = images[pod.image]
        fitting = [node for node in nodes if max(node.fractions(pod)) <= 1]
        if not fitting:
            refused += 1
            continue
        best = max(fitting, key=lambda n: (score(arm, pod, n, required, nodes), lots.random()))
        missing = best.start(pod, required, disk)
        downloaded += missing
        waits.append(missing / best.bandwidth)
        heapq.heappush(running, (pod.at + pod.life_s, number, pod, best))
    return {
        "downloaded_gib": downloaded / GIB,
        "wait_mean_s": statistics.mean(waits),
        "wait_p95_s": sorted(waits)[math.ceil(0.95 * len(waits)) - 1],
        "no_wait": sum(wait == 0 for wait in waits) / len(waits),
        "cpu_spread": spread / weighed,
        "cpu_max": most / weighed,
        "refused": refused,
    }


def study(
    *, applications: int, nodes: int, count: int, load: float, disk_gib: float, seeds: int
) -> dict[str, list[dict[str, float]]]:
    """Each arm's figures, one for each seed."""
    figures: dict[str, list[dict[str, float]]] = {arm: [] for arm in ARMS}
    for seed in range(seeds):
        catalogue = ImageCatalogue(applications, seed)
        images = parsed(catalogue)
        wanted = list(pods(catalogue, count, nodes, load, seed))
        for arm in ARMS:
            figures[arm].append(run(arm, wanted, images, nodes, int(disk_gib * GIB), seed))
    return figures


def main() -> None:
    """Run all arms, print a table, write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--applications", type=int, default=60)
    parser.add_argument("--nodes", type=int, default=20)
    parser.add_argument("--pods", type=int, default=3000)
    parser.add_argument("--load", type=float, default=0.5, help="of the CPU, in the mean")
    parser.add_argument("--disk-gib", type=float, default=8.0, help="for layers, on each node")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--report", type=Path)
    args = parser.parse_args()
    figures = study(
        applications=args.applications, nodes=args.nodes, count=args.pods, load=args.load,
        disk_gib=args.disk_gib, seeds=args.seeds,
    )  # fmt: skip
    head = ("downloaded", "mean wait", "p95 wait", "no wait", "CPU spread", "CPU max", "refused")
    print(f"{'':<16}" + "".join(f"{name:>18}" for name in head))
    for arm, runs in figures.items():
        cells = []
        for key in runs[0]:
            values = [one[key] for one in runs]
            more = f" +-{statistics.stdev(values):.3g}" if len(values) > 1 else ""
            cells.append(f"{statistics.mean(values):.4g}{more}")
        print(f"{arm:<16}" + "".join(f"{cell:>18}" for cell in cells))
    print("downloaded in GiB, waits in s; mean and standard deviation over the seeds")
    if args.report:
        arguments = {name: value for name, value in vars(args).items() if name != "report"}
        args.report.write_text(json.dumps({"arguments": arguments, "arms": figures}, indent=1))


if __name__ == "__main__":
    main()
