"""Labels and taints of a node, as its worker's file has them."""

from __future__ import annotations

from tango.adapters.documents import Section
from tango.model.affinity import Labels, Taints
from tango.model.errors import InvalidField
from tango.model.label_rules import check_labels, check_taints, parse_taint


def read_labels(section: Section) -> Labels:
    """{zone = "west"}, sorted. Raises InvalidField."""
    labels = tuple(sorted(section.string_map("labels")))
    try:
        check_labels(labels)
    except InvalidField as error:
        raise section.error(error.field, error.problem, error.fix) from None
    return labels


def read_taints(section: Section) -> Taints:
    """["gpu=true:NoSchedule"], as kubectl writes them, sorted. Raises InvalidField."""
    texts = section.strings("taints", ())
    try:
        taints = tuple(parse_taint(text, f"taints[{at}]") for at, text in enumerate(texts))
        check_taints(taints)
    except InvalidField as error:
        raise section.error(error.field, error.problem, error.fix) from None
    return tuple(sorted(taints, key=lambda taint: (taint.key, taint.effect)))
