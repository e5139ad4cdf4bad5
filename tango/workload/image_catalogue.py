"""A catalogue of container images as a site runs them, drawn from a seed, as OCI manifests.

Images are made as people make them: a base (Debian, Alpine, ...), a runtime on it, dependencies of
a team or of the application, its code, and a few layers of bytes for what a Dockerfile only sets.
Sizes of bases and runtimes are rounded from well-known images; all the rest is drawn:

- a base is in use in two states, before and after its last update, which share nothing;
- a third of the applications have their team's dependencies below their own;
- dependencies are log-normal with a median of 20 MiB, code of 1 MiB (sigma 1.2 and 1.5);
- one to three versions are in use: each differs by its code, one in three by its dependencies too;
- applications are asked for by Zipf's law (exponent 1), the newest version for 70 % of the pods.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

from tango.workload.bounds import require_whole

MIB = 2**20
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"

# MiB, compressed; rounded from the images of these names, for amd64.
_BASES = {
    "debian-slim": (28.0,),
    "ubuntu": (29.0,),
    "alpine": (3.5,),
    "distroless": (0.1, 0.7, 9.0),
    "ubi-minimal": (38.0,),
}
_RUNTIMES: dict[str, tuple[tuple[str, ...], tuple[float, ...], float]] = {
    # name: (bases, layers on them, weight)
    "none": (("distroless", "alpine"), (), 2.0),
    "python": (("debian-slim", "alpine"), (3.5, 12.0, 0.001), 3.0),
    "node": (("debian-slim", "alpine"), (42.0, 1.7, 0.001), 3.0),
    "java": (("ubuntu", "ubi-minimal"), (11.0, 55.0, 0.002), 2.5),
    "php": (("debian-slim",), (100.0, 12.0, 11.0, 0.003), 1.0),
    "dotnet": (("debian-slim",), (18.0, 32.0, 11.0), 1.0),
    "inference": (("ubuntu",), (4.5, 55.0, 750.0, 1200.0), 0.5),
}
_DEPENDENCIES, _CODE = (20.0, 1.2), (1.0, 1.5)
MAX_LAYER_MIB = 2000.0
_TEAMS = 6
_NEWEST = 0.7


@dataclass(frozen=True, slots=True)
class CatalogueImage:
    """An image: its name with tag, and its manifest as a registry would send it.

    weight: how often it is asked for, beside the others.
    """

    name: str
    manifest: bytes
    weight: float


class ImageCatalogue:
    """The images, and draws of them. The same seed gives the same catalogue."""

    def __init__(self, applications: int, seed: int) -> None:
        require_whole("applications", applications, 1, 100_000)
        self._random = random.Random(f"images {seed}")
        self._seed = seed
        self.images = tuple(
            image
            for rank in range(1, applications + 1)
            for image in self._application(f"app-{rank}", 1.0 / rank)
        )
        self._cumulative = tuple(accumulate(image.weight for image in self.images))

    def draw(self, generator: random.Random) -> CatalogueImage:
        """One of them, by weight."""
        [found] = generator.choices(self.images, cum_weights=self._cumulative)
        return found

    def _application(self, name: str, weight: float) -> Iterator[CatalogueImage]:
        draw = self._random
        names = list(_RUNTIMES)
        [runtime] = draw.choices(names, [_RUNTIMES[name][2] for name in names])
        bases, on_top, _ = _RUNTIMES[runtime]
        base = draw.choice(bases)
        state = f"{base} {draw.choice(('old', 'new'))}"
        below = [(f"{state} {at}", size) for at, size in enumerate(_BASES[base])]
        below += [(f"{runtime} on {state} {at}", size) for at, size in enumerate(on_top)]
        if draw.random() < 1 / 3:
            team = f"team {draw.randrange(_TEAMS)} with {runtime} on {state}"
            # Whoever draws it, it is the same layer.
            shared = random.Random(f"{self._seed} {team}")
            below.append((team, _lognormal(shared, *_DEPENDENCIES)))
        marks = [(f"{name} {at}", draw.uniform(100, 2000) / MIB) for at in range(draw.randrange(5))]
        versions = draw.randint(1, 3)
        older = (1 - _NEWEST) / max(1, versions - 1)
        dependencies = (f"{name} dependencies 1", _lognormal(draw, *_DEPENDENCIES))
        for version in range(1, versions + 1):
            if version > 1 and draw.random() < 1 / 3:
                size = dependencies[1] * draw.uniform(0.9, 1.2)
                dependencies = (f"{name} dependencies {version}", size)
            code = (f"{name} code {version}", _lognormal(draw, *_CODE))
            share = 1.0 if versions == 1 else _NEWEST if version == versions else older
            layers = [*below, dependencies, code, *marks]
            tagged = f"registry.example/{name}:v{version}"
            yield CatalogueImage(tagged, self._manifest(tagged, layers), weight * share)

    def _manifest(self, name: str, layers: list[tuple[str, float]]) -> bytes:
        entries = [
            self._descriptor(LAYER, what, max(32, round(min(size, MAX_LAYER_MIB) * MIB)))
            for what, size in layers
        ]
        config = self._descriptor(CONFIG, name, 4000)
        fields = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": entries}
        return json.dumps(fields).encode()

    def _descriptor(self, kind: str, what: str, size: int) -> dict[str, object]:
        digest = hashlib.sha256(f"{self._seed} {what}".encode()).hexdigest()
        return {"mediaType": kind, "digest": f"sha256:{digest}", "size": size}


def _lognormal(draw: random.Random, median: float, sigma: float) -> float:
    return median * draw.lognormvariate(0.0, sigma)
