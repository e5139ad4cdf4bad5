"""Converts what nodes, and what runs on them, say of each other: labels' conditions and taints.

From pb: an operator that is left out is In, the effect of a taint NoSchedule, of a toleration any.
An unknown operator or effect is an InvalidField, for nobody can obey it; but an unknown effect of a
node's taint is NoSchedule: that keeps away what might not be wanted there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from tango.model.affinity import (
    Effect,
    Operator,
    Preferences,
    Requirement,
    Taint,
    Taints,
    Toleration,
)
from tango.model.errors import InvalidField
from tango.v1 import types_pb2 as pb

_T = TypeVar("_T")
_OPERATOR: dict[Operator, pb.LabelOperator.ValueType] = {
    "In": pb.LABEL_OPERATOR_IN,
    "NotIn": pb.LABEL_OPERATOR_NOT_IN,
    "Exists": pb.LABEL_OPERATOR_EXISTS,
    "DoesNotExist": pb.LABEL_OPERATOR_DOES_NOT_EXIST,
    "Gt": pb.LABEL_OPERATOR_GT,
    "Lt": pb.LABEL_OPERATOR_LT,
}
_EFFECT: dict[Effect, pb.TaintEffect.ValueType] = {
    "NoSchedule": pb.TAINT_EFFECT_NO_SCHEDULE,
    "PreferNoSchedule": pb.TAINT_EFFECT_PREFER_NO_SCHEDULE,
    "NoExecute": pb.TAINT_EFFECT_NO_EXECUTE,
}
_OPERATOR_BACK: dict[int, Operator] = {number: word for word, number in _OPERATOR.items()}
_EFFECT_BACK: dict[int, Effect] = {number: word for word, number in _EFFECT.items()}


def requirement_to_pb(one: Requirement) -> pb.NodeRequirement:
    """Field by field."""
    return pb.NodeRequirement(key=one.key, operator=_OPERATOR[one.operator], values=one.values)


def requirement_from_pb(
    message: pb.NodeRequirement | pb.NodePreference, where: str = "requires"
) -> Requirement:
    """Raises InvalidField for an unknown operator, and values that do not go with it."""
    operator = _OPERATOR_BACK.get(message.operator or pb.LABEL_OPERATOR_IN)
    if operator is None:
        known = ", ".join(pb.LabelOperator.keys()[1:])
        problem = f"{message.operator} is unknown to this version"
        raise InvalidField(f"{where}.operator", problem, f"use one of {known}")
    known_operator = operator
    values = tuple(message.values)
    return _at(where, lambda: Requirement(message.key, known_operator, values))


def requires_from_pb(messages: Iterable[pb.NodeRequirement], where: str) -> tuple[Requirement, ...]:
    """In order. Raises InvalidField."""
    return tuple(
        requirement_from_pb(one, f"{where}.requires[{at}]") for at, one in enumerate(messages)
    )


def prefers_to_pb(prefers: Preferences) -> list[pb.NodePreference]:
    """In order; weights are set."""
    return [
        pb.NodePreference(
            key=one.key, operator=_OPERATOR[one.operator], values=one.values, weight=weight
        )
        for one, weight in prefers
    ]


def prefers_from_pb(messages: Iterable[pb.NodePreference], where: str) -> Preferences:
    """In order; a weight that is left out is 1. Raises InvalidField."""
    return tuple(
        (
            requirement_from_pb(one, f"{where}.prefers[{at}]"),
            one.weight if one.HasField("weight") else 1.0,
        )
        for at, one in enumerate(messages)
    )


def toleration_to_pb(one: Toleration) -> pb.Toleration:
    """value stays unset where any will do."""
    effect = pb.TAINT_EFFECT_UNSPECIFIED if one.effect is None else _EFFECT[one.effect]
    return pb.Toleration(key=one.key, value=one.value, effect=effect)


def toleration_from_pb(message: pb.Toleration, where: str = "tolerations") -> Toleration:
    """Raises InvalidField for an unknown effect, and a value without a key."""
    effect = _EFFECT_BACK.get(message.effect)
    if effect is None and message.effect:
        known = ", ".join(pb.TaintEffect.keys()[1:])
        problem = f"{message.effect} is unknown to this version"
        raise InvalidField(f"{where}.effect", problem, f"use one of {known}")
    value = message.value if message.HasField("value") else None
    return _at(where, lambda: Toleration(message.key, value, effect))


def tolerations_from_pb(messages: Iterable[pb.Toleration], where: str) -> tuple[Toleration, ...]:
    """In order. Raises InvalidField."""
    return tuple(
        toleration_from_pb(one, f"{where}.tolerations[{at}]") for at, one in enumerate(messages)
    )


def taint_to_pb(taint: Taint) -> pb.Taint:
    """Field by field."""
    return pb.Taint(key=taint.key, value=taint.value, effect=_EFFECT[taint.effect])


def taint_from_pb(message: pb.Taint) -> Taint:
    """An effect that is left out or unknown is NoSchedule."""
    return Taint(message.key, message.value, _EFFECT_BACK.get(message.effect, "NoSchedule"))


def taints_from_pb(messages: Iterable[pb.Taint]) -> Taints:
    """In order."""
    return tuple(taint_from_pb(one) for one in messages)


def _at(where: str, make: Callable[[], _T]) -> _T:
    """The model's complaint with the field as the proto names it."""
    try:
        return make()
    except InvalidField as error:
        field = f"{where}.{error.field.rpartition('.')[2]}"
        raise InvalidField(field, error.problem, error.fix) from None
