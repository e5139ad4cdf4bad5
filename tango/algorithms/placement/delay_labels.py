"""A pod's delay bound as kubernetes-edge-scheduler writes it: the label `delay_REFERENCE: "MS"`."""

from __future__ import annotations

import math
from collections.abc import Mapping

from tango.model.errors import InvalidField

PREFIX = "delay_"
ROLE_LABEL = "kubernetes.io/role"
CLOUD_ROLE = "cloud"


def bound_of(labels: Mapping[str, str]) -> tuple[str, float]:
    """(near, bound_s) for a Pod: the node or pod, and seconds; ("", inf) without such a label.

    Raises InvalidField for several of them, and for what is no time of 0 ms and up.
    """
    found = sorted(name for name in labels if name.startswith(PREFIX))
    if not found:
        return "", math.inf
    if len(found) > 1:
        raise InvalidField(f"labels.{found[1]}", f"is there beside {found[0]}", "keep one bound")
    [label] = found
    field, text = f"labels.{label}", labels[label]
    if label == PREFIX:
        raise InvalidField(field, "names no node and no pod", f"write {PREFIX}edge-1")
    try:
        bound_ms = float(text)
    except ValueError:
        bound_ms = math.nan
    if not 0 <= bound_ms < math.inf:
        raise InvalidField(field, f"{text!r} is no delay", 'write milliseconds, 0 and up: "25"')
    return label.removeprefix(PREFIX), bound_ms / 1000


def is_cloud(labels: Mapping[str, str]) -> bool:
    """Whether a node with these labels takes pods without a bound."""
    return labels.get(ROLE_LABEL) == CLOUD_ROLE
