"""Pods of placement as documents write them: all that they may want of a node, and back again."""

from __future__ import annotations

import math

from tango.adapters.documents import Section
from tango.adapters.node_terms import (
    Row,
    checked,
    read_prefers,
    read_requires,
    read_tolerations,
    term_rows,
)
from tango.algorithms.placement.pod import Pod
from tango.model.cores import MAX_CORES
from tango.model.errors import InvalidField
from tango.model.image import parse_image
from tango.model.units import format_cpu

MAX_BOUND_MS = 86_400_000.0
MAX_PRIORITY = 2**31 - 1
# The model's fields by the document's keys, where they differ.
_KEYS = {"cpu_millis": "cpu", "memory_bytes": "memory", "bound_s": "bound_ms"}


def read_pod(row: Section) -> Pod:
    """A row of `pods`. Raises InvalidField with field, file and line."""
    bound_ms = row.number("bound_ms", math.inf, low=0, high=MAX_BOUND_MS)
    pod = {
        "name": row.string("name"),
        "cpu_millis": row.cpu("cpu", 0),
        "memory_bytes": row.memory("memory", 0),
        "cores": row.integer("cores", 0, low=0, high=MAX_CORES),
        "cpuset": row.core_ids("cpuset"),
        "ports": row.integers("ports", low=1, high=65535),
        "group": row.string("group", ""),
        "images": read_images(row, "images"),
        "near": row.string("near", ""),
        "bound_s": bound_ms / 1000,
        "node": row.string("node", ""),
        "requires": read_requires(row),
        "prefers": read_prefers(row),
        "tolerations": read_tolerations(row),
        "priority": row.integer("priority", 0, low=-MAX_PRIORITY, high=MAX_PRIORITY),
    }
    return checked(row, lambda: Pod(**pod), _KEYS)  # type: ignore[arg-type]


def pod_row(pod: Pod) -> Row:
    """What read_pod makes the pod from; what is as by default is left out."""
    row: Row = {"name": pod.name}
    plain: tuple[tuple[str, object], ...] = (
        ("cpu", format_cpu(pod.cpu_millis) if pod.cpu_millis else None),
        ("memory", pod.memory_bytes),
        ("cores", pod.cores),
        ("cpuset", list(pod.cpuset)),
        ("ports", list(pod.ports)),
        ("group", pod.group),
        ("images", list(pod.images)),
        ("near", pod.near),
        ("node", pod.node),
        *term_rows(pod.requires, pod.prefers, pod.tolerations),
        ("priority", pod.priority),
    )
    row |= {key: value for key, value in plain if value}
    if pod.bound_s < math.inf:
        row["bound_ms"] = as_ms(pod.bound_s)
    return row


def as_ms(seconds: float) -> float:
    """Milliseconds without the noise of the product, so that what is read back is the same."""
    return round(seconds * 1000, 9)


def read_images(row: Section, key: str) -> tuple[str, ...]:
    """References to images, in the one form in which all ways to write a name are the same."""
    return tuple(
        read_image(row, f"{key}[{at}]", text) for at, text in enumerate(row.strings(key, ()))
    )


def read_image(row: Section, key: str, text: str) -> str:
    """One of them."""
    try:
        return str(parse_image(text, row.field(key)))
    except InvalidField as error:
        raise error.at(row.where(key)) from None
