"""The catalogue of images and the study on it: repeatable, shared as images are, and adding up."""

from __future__ import annotations

import importlib.util
import random
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tango.adapters.registry_manifests import Manifest, parse_manifest
from tango.algorithms.placement.image_locality import image_locality
from tango.model.errors import InvalidField
from tango.model.image import parse_image
from tango.model.layers import Layer
from tango.workload.image_catalogue import MANIFEST, MIB, ImageCatalogue

STUDY = Path(__file__).parents[2] / "tools/layers_study.py"


@pytest.fixture(name="study", scope="module")
def _study() -> ModuleType:
    spec = importlib.util.spec_from_file_location("layers_study", STUDY)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


def layers(catalogue: ImageCatalogue) -> dict[str, tuple[Layer, ...]]:
    found = {}
    for image in catalogue.images:
        manifest = parse_manifest(image.manifest, MANIFEST, image.name)
        assert isinstance(manifest, Manifest)
        found[image.name] = manifest.layers
    return found


def test_the_seed_decides() -> None:
    one, same, other = ImageCatalogue(30, 1), ImageCatalogue(30, 1), ImageCatalogue(30, 2)
    assert one.images == same.images
    assert one.images != other.images
    draws = [[one.draw(random.Random(5)) for _ in range(9)] for _ in range(2)]
    assert draws[0] == draws[1]
    with pytest.raises(InvalidField, match="applications"):
        ImageCatalogue(0, 1)


def test_images_are_valid_and_share_layers_of_one_size() -> None:
    catalogue = ImageCatalogue(60, 3)
    found = layers(catalogue)
    assert len(found) == len(catalogue.images), "no name twice"
    assert all(str(parse_image(name)) == name for name in found)
    sizes: dict[str, int] = {}
    for required in found.values():
        for layer in required:
            assert sizes.setdefault(layer.digest, layer.size_bytes) == layer.size_bytes
    together = sum(layer.size_bytes for required in found.values() for layer in required)
    assert sum(sizes.values()) < 0.6 * together, "images share a good part of their bytes"
    versions = [found[name] for name in found if name.startswith("registry.example/app-1:")]
    assert len({frozenset(required) for required in versions}) == len(versions)


def test_the_first_application_is_asked_for_most() -> None:
    catalogue = ImageCatalogue(50, 4)
    drawn = random.Random(1)
    names = [catalogue.draw(drawn).name.partition(":")[0] for _ in range(4000)]
    first, tenth = (names.count(f"registry.example/app-{rank}") for rank in (1, 10))
    assert 7 < first / tenth < 14, "Zipf's law: ten times as often"


@pytest.mark.parametrize(
    ("present", "containers", "nodes", "score"),
    [
        ([], 1, 10, 0),
        ([(23 * MIB, 10)], 1, 10, 0),
        ([(1000 * MIB, 10)], 1, 10, 100),
        ([(5000 * MIB, 10)], 1, 10, 100),
        ([(1000 * MIB, 1)], 1, 10, 7),  # 77 / 977
        ([(523 * MIB, 4)], 1, 4, 51),  # 500 / 977
        ([(523 * MIB, 4)], 2, 4, 25),  # 500 / 1977
        ([(523 * MIB, 4), (500 * MIB, 4)], 2, 4, 50),  # 1000 / 1977
        ([(1, 1)], 0, 4, 0),
        ([(1, 1)], 1, 0, 0),
    ],
)
def test_image_locality(
    present: list[tuple[int, int]], containers: int, nodes: int, score: int
) -> None:
    assert image_locality(present, containers, nodes) == score


def test_the_study_is_repeatable_and_layers_save_bytes(study: ModuleType) -> None:
    options = {
        "applications": 20, "nodes": 6, "count": 200, "load": 0.4, "disk_gib": 8.0, "seeds": 2,
    }  # fmt: skip
    figures = study.study(**options)
    assert figures == study.study(**options)
    for seed in range(2):
        downloaded = {arm: runs[seed]["downloaded_gib"] for arm, runs in figures.items()}
        assert downloaded["layers"] < downloaded["none"]
        assert downloaded["layers-2"] < downloaded["image-locality"]
        assert all(0 <= runs[seed]["cpu_max"] <= 1 for runs in figures.values())


def test_a_node_of_the_study_keeps_its_books(study: ModuleType) -> None:
    drawn = random.Random(7)
    names = [Layer(f"sha256:{n:064x}", drawn.randrange(1, 100)) for n in range(12)]
    node, disk = study.Node(1.0), 300
    running: list[tuple[object, tuple[Layer, ...]]] = []
    for _ in range(500):
        if running and drawn.random() < 0.5:
            node.end(*running.pop(drawn.randrange(len(running))))
        else:
            required = tuple(drawn.sample(names, drawn.randrange(1, 5)))
            before = set(node.layers)
            pod = study.Pod(0.0, 1.0, "", 100, 10)
            missing = sum(x.size_bytes for x in required if x.digest not in before)
            assert node.start(pod, required, disk) == missing
            running.append((pod, required))
        assert node.held == sum(node.layers.values())
        needed = {x.digest for _, required in running for x in required}
        assert needed <= set(node.layers), "what a pod needs stays"
        assert node.cpu == 100 * len(running)
    while running:
        node.end(*running.pop())
    node.start(study.Pod(0.0, 1.0, "", 1, 1), (), disk=0)
    assert node.held == 0
    assert not node.layers
