"""What labels and taints may be called, and how many: the rules of Kubernetes, at the door.

A key is NAME or PREFIX/NAME: a name of 1 to 63 letters, digits, '-', '_' and '.', a letter or digit
at both ends; a prefix is a DNS name of at most 253. A value is as a name, or empty.
(kubernetes.io, "Labels and Selectors", "Syntax and character set".)
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from tango.model.affinity import (
    EFFECTS,
    Effect,
    Labels,
    NodeTerms,
    Requirement,
    Taint,
    Taints,
    Toleration,
)
from tango.model.checks import check_range
from tango.model.errors import InvalidField

MAX_LABELS = 64
MAX_TAINTS = 32
# Of what one task or service says of nodes.
MAX_CONDITIONS = 32
MAX_VALUES = 64
MAX_WEIGHT = 100.0
MAX_PREFIX = 253

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_PREFIX = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*")
_NAME_FIX = "use 1 to 63 letters, digits, '-', '_' and '.', a letter or digit at both ends"
NO_EXECUTE = "would end what runs there, which no taint does here"
NO_EXECUTE_FIX = "use NoSchedule; `tango drain` moves what is on a node already"


def check_key(key: str, field: str) -> None:
    """Raise InvalidField for what is no key of a label or taint."""
    prefix, slash, name = key.rpartition("/")
    if slash and not (len(prefix) <= MAX_PREFIX and _PREFIX.fullmatch(prefix)):
        problem = f"{key!r} has no DNS name before its '/'"
        raise InvalidField(field, problem, 'write "example.com/name"')
    if not _NAME.fullmatch(name):
        raise InvalidField(field, f"{key!r} is not the key of a label", _NAME_FIX)


def check_value(value: str, field: str) -> None:
    """Raise InvalidField for what is no value of a label or taint; "" is one."""
    if value and not _NAME.fullmatch(value):
        raise InvalidField(field, f"{value!r} is not the value of a label", f"{_NAME_FIX}, or ''")


def check_labels(labels: Labels, field: str = "labels") -> None:
    """Raise InvalidField for the first that is none, named by its key, or for too many."""
    if len(labels) > MAX_LABELS:
        raise InvalidField(field, f"are {len(labels)}", f"at most {MAX_LABELS}")
    seen: set[str] = set()
    for key, value in labels:
        if key in seen:
            raise InvalidField(f"{field}.{key}", "is there twice", "a node has one value of each")
        seen.add(key)
        check_key(key, f"{field}.{key}")
        check_value(value, f"{field}.{key}")


def parse_taint(text: str, field: str = "taint") -> Taint:
    """A taint of a node from "key=value:Effect" or "key:Effect", as kubectl writes it."""
    pair, colon, effect = text.rpartition(":")
    if not colon or effect not in EFFECTS:
        fix = 'write "key=value:NoSchedule", or PreferNoSchedule'
        raise InvalidField(field, f"{text!r} is not a taint", fix)
    if effect == "NoExecute":
        raise InvalidField(field, f"{text!r} {NO_EXECUTE}", NO_EXECUTE_FIX)
    key, _, value = pair.partition("=")
    check_key(key, field)
    check_value(value, field)
    known: dict[str, Effect] = {
        "NoSchedule": "NoSchedule",
        "PreferNoSchedule": "PreferNoSchedule",
    }
    return Taint(key, value, known[effect])


def check_taints(taints: Taints, field: str = "taints") -> None:
    """Raise InvalidField for two of one key and effect, as Kubernetes does, or for too many."""
    if len(taints) > MAX_TAINTS:
        raise InvalidField(field, f"are {len(taints)}", f"at most {MAX_TAINTS}")
    seen: set[tuple[str, str]] = set()
    for index, taint in enumerate(taints):
        if (taint.key, taint.effect) in seen:
            problem = f"{taint.key}:{taint.effect} is there twice"
            raise InvalidField(f"{field}[{index}]", problem, "keep one")
        seen.add((taint.key, taint.effect))


def check_terms(terms: NodeTerms | None, prefix: str = "") -> None:
    """Raise InvalidField for a condition on labels, or a toleration, that none can be.

    prefix: of the field in errors, such as "tasks[0].".
    """
    if terms is None:
        return
    _check_requirements(terms.requires, f"{prefix}requires")
    field = f"{prefix}prefers"
    _check_requirements(tuple(one for one, _ in terms.prefers), field)
    for index, (_, weight) in enumerate(terms.prefers):
        check_range(f"{field}[{index}].weight", weight, 0, MAX_WEIGHT)
    field = f"{prefix}tolerations"
    _check_count(terms.tolerations, field)
    for index, one in enumerate(terms.tolerations):
        _check_toleration(one, f"{field}[{index}]")


def _check_requirements(requirements: Sequence[Requirement], field: str) -> None:
    _check_count(requirements, field)
    for index, one in enumerate(requirements):
        check_key(one.key, f"{field}[{index}].key")
        if len(one.values) > MAX_VALUES:
            problem = f"are {len(one.values)}"
            raise InvalidField(f"{field}[{index}].values", problem, f"at most {MAX_VALUES}")
        if one.operator in ("In", "NotIn"):
            for at, value in enumerate(one.values):
                check_value(value, f"{field}[{index}].values[{at}]")


def _check_toleration(one: Toleration, field: str) -> None:
    if one.key:
        check_key(one.key, f"{field}.key")
    if one.value is not None:
        check_value(one.value, f"{field}.value")


def _check_count(what: Sequence[object], field: str) -> None:
    if len(what) > MAX_CONDITIONS:
        raise InvalidField(field, f"has {len(what)}", f"at most {MAX_CONDITIONS}")
