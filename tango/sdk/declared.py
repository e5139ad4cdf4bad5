"""What a caller declares: a spec, a file of manifests, or manifests already read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tango.adapters.manifests import Manifest, load_manifests
from tango.model.errors import InvalidField
from tango.model.job import JobSpec
from tango.model.service import ServiceSpec


def services_of(
    what: str | Path | ServiceSpec | Sequence[Manifest],
) -> list[tuple[ServiceSpec, tuple[str, ...]]]:
    """(spec, sites named with it) of each service, validated. Raises InvalidField for a job."""
    if isinstance(what, ServiceSpec):
        what.validate()
        return [(what, ())]
    manifests = load_manifests(Path(what)) if isinstance(what, str | Path) else what
    services = []
    for manifest in manifests:
        if not isinstance(manifest.spec, ServiceSpec):
            fix = "`tango submit` takes jobs, `tango apply` services"
            raise InvalidField("kind", "is a Job", fix, manifest.where)
        services.append((manifest.spec, manifest.sites))
    return services


def job_of(what: str | Path | JobSpec) -> JobSpec:
    """The one job of a file, or a spec as it is. Raises InvalidField for anything else."""
    if isinstance(what, JobSpec):
        return what
    manifests = load_manifests(Path(what))
    if len(manifests) != 1 or not isinstance(manifests[0].spec, JobSpec):
        raise InvalidField(
            "kind", "must be one Job", "`tango apply` takes services", manifests[0].where
        )
    return manifests[0].spec
