"""What `tango place -f` reads: jobs as `tango submit` takes them, or pods with all they want."""

from __future__ import annotations

import enum
import math
from pathlib import Path

from tango.adapters.documents import Section, decode_document, read_document
from tango.adapters.manifests import read_manifests
from tango.adapters.placement_pods import read_pod
from tango.adapters.yaml_documents import parse_yaml
from tango.algorithms.placement.pod import Pod
from tango.model.bounds import service_reference
from tango.model.errors import InvalidField
from tango.model.image import in_full
from tango.model.job import JobSpec, Near

Gang = tuple[str, tuple[Pod, ...]]


class _Kind(enum.Enum):
    JOB = "Job"
    POD = "Pod"


def load_gangs(path: str, *, stdin: bytes | str = b"") -> tuple[Gang, ...]:
    """(name, pods) of each job of a file, or of each `kind: Pod`; "-" is `stdin`.

    A task is a pod JOB/TASK. Raises InvalidField with field, file and line.
    """
    if path == "-":
        return _gangs(decode_document(stdin, "<stdin>"), "<stdin>")
    return _gangs(read_document(Path(path)), path)


def load_specs(path: str, *, stdin: bytes | str = b"") -> tuple[JobSpec, ...]:
    """The jobs of the same file, none where it has pods."""
    text, file = decode_document(stdin, "<stdin>"), "<stdin>"
    if path != "-":
        text, file = read_document(Path(path)), path
    if any(one.string("kind", "") == "Pod" for one in parse_yaml(text, file)):
        return ()
    specs = (manifest.spec for manifest in read_manifests(text, file))
    return tuple(spec for spec in specs if isinstance(spec, JobSpec))


def _gangs(text: str, file: str) -> tuple[Gang, ...]:
    documents = parse_yaml(text, file)
    if any(_kind(document) is _Kind.POD for document in documents):
        return _pods(documents)
    gangs = []
    for manifest in read_manifests(text, file):
        spec = manifest.spec
        if not isinstance(spec, JobSpec):
            fix = "replicas of services are placed by their edge; `tango place` takes jobs and pods"
            raise InvalidField("kind", "Service", fix, manifest.where)
        gangs.append((spec.name, task_pods(spec)))
    return tuple(gangs)


def _kind(document: Section) -> _Kind | None:
    """None: a service, which has an error of its own."""
    if not document.has("kind"):
        raise document.error("kind", "is missing", "write `kind: Job` or `kind: Pod`")
    if document.string("kind") == "Service":
        return None
    return document.choice("kind", _Kind)


def task_pods(spec: JobSpec) -> tuple[Pod, ...]:
    """What the tasks of a job want of their nodes."""
    return tuple(
        Pod(
            f"{spec.name}/{task.name}",
            task.cpu_millis,
            task.memory_bytes,
            cores=task.cores,
            cpuset=task.cpuset,
            node=task.node,
            images=in_full(task.images),
            priority=spec.priority,
            near=_near(spec.name, task.near),
            protected=task.backup,
            bound_s=task.near.within_s if task.near is not None else math.inf,
            requires=task.requires,
            prefers=task.prefers,
            tolerations=task.tolerations,
            ports=task.ports,
        )
        for task in spec.tasks
    )


def _near(job: str, near: Near | None) -> str:
    if near is None:
        return ""
    if near.service:
        return service_reference(near.service)
    return near.node or f"{job}/{near.task}"


def _pods(documents: tuple[Section, ...]) -> tuple[Gang, ...]:
    found: dict[str, Gang] = {}
    for document in documents:
        kind = document.string("kind")
        if kind != "Pod":
            raise document.error("kind", f"is {kind!r} beside pods", "put it into another file")
        pod = read_pod(document)
        if pod.name in found:
            raise document.error("name", f"{pod.name!r} is there twice", "rename one")
        document.finish()
        found[pod.name] = (pod.name, (pod,))
    return tuple(found.values())
