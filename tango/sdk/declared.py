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
    specs = [one.spec for one in manifests if isinstance(one.spec, JobSpec)]
    if len(specs) < len(manifests):
        other = next(one for one in manifests if not isinstance(one.spec, JobSpec))
        raise InvalidField("kind", "is a Service", "`tango apply` takes services", other.where)
    if len(specs) != 1:
        fix = "give one, or use `tango submit -f`, which takes many"
        raise InvalidField("document", f"holds {len(specs)} jobs", fix, str(what))
    return specs[0]
