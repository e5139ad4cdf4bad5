"""Labels, taints and tolerations: how nodes, and what runs on them, choose each other.

Meanings are those of Kubernetes: node affinity, taints and tolerations (kubernetes.io, "Assigning
Pods to Nodes", "Taints and Tolerations"), but that a taint never ends what runs already.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from tango.model.errors import InvalidField

Operator = Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]
Effect = Literal["NoSchedule", "PreferNoSchedule", "NoExecute"]
OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt")
EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
# Of a node: keys are there once, sorted.
Labels: TypeAlias = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Taint:
    """A node keeps away what does not tolerate it; PreferNoSchedule: where others will do."""

    key: str
    value: str = ""
    effect: Effect = "NoSchedule"

    def __post_init__(self) -> None:
        if self.effect not in EFFECTS:
            fix = f"use one of: {', '.join(EFFECTS)}"
            raise InvalidField("taint.effect", f"{self.effect!r} is unknown", fix)

    @property
    def is_hard(self) -> bool:
        """Whether it bars who does not tolerate it."""
        return self.effect != "PreferNoSchedule"

    @property
    def text(self) -> str:
        """As kubectl writes it: "gpu=true:NoSchedule", "spot:NoSchedule"."""
        value = f"={self.value}" if self.value else ""
        return f"{self.key}{value}:{self.effect}"


Taints: TypeAlias = tuple[Taint, ...]


@dataclass(frozen=True, slots=True)
class Toleration:
    """The taints that match are borne. key "": all keys; value None: all values; effect likewise.

    An empty key with a value is refused, as in Kubernetes.
    """

    key: str = ""
    value: str | None = None
    effect: Effect | None = None

    def __post_init__(self) -> None:
        if not self.key and self.value is not None:
            raise InvalidField("toleration.key", "is empty beside a value", "name the taint's key")
        if self.effect is not None and self.effect not in EFFECTS:
            fix = f"use one of: {', '.join(EFFECTS)}"
            raise InvalidField("toleration.effect", f"{self.effect!r} is unknown", fix)

    @property
    def text(self) -> str:
        """As a taint's, "*" for any: "gpu=true:NoSchedule", "gpu:*", "*:*"."""
        value = f"={self.value}" if self.value is not None else ""
        return f"{self.key or '*'}{value}:{self.effect or '*'}"

    def bears(self, taint: Taint) -> bool:
        """Whether this one taint keeps nobody away any more."""
        return (
            self.key in ("", taint.key)
            and self.value in (None, taint.value)
            and self.effect in (None, taint.effect)
        )


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on a node's labels. Gt and Lt compare whole numbers."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.operator not in OPERATORS:
            fix = f"use one of: {', '.join(OPERATORS)}"
            raise InvalidField("affinity.operator", f"{self.operator!r} is unknown", fix)
        field, count = "affinity.values", len(self.values)
        if self.operator in ("Exists", "DoesNotExist"):
            if count:
                raise InvalidField(field, f"{self.operator} takes no values", "remove them")
        elif not count:
            raise InvalidField(field, f"{self.operator} needs a value", "give one")
        elif self.operator in ("Gt", "Lt") and (count != 1 or _whole(self.values[0]) is None):
            raise InvalidField(field, f"{self.operator} needs one whole number", 'such as "3"')

    @property
    def text(self) -> str:
        """In one phrase: "zone In west,east", "ssd Exists"."""
        return " ".join((self.key, self.operator, ",".join(self.values))).rstrip()

    def holds(self, label: str | None) -> bool:
        """Whether a node with this value of the label (None: it has no such label) will do."""
        match self.operator:
            case "In":
                return label in self.values
            case "NotIn":
                return label not in self.values
            case "Exists":
                return label is not None
            case "DoesNotExist":
                return label is None
        number, bound = _whole(label or ""), _whole(self.values[0])
        if number is None or bound is None:
            return False
        return number > bound if self.operator == "Gt" else number < bound


# (requirement, weight): of those that hold, the weights are added up.
Preferences: TypeAlias = tuple[tuple[Requirement, float], ...]


@dataclass(frozen=True, slots=True)
class NodeTerms:
    """What a task or a replica says of nodes. requires: all of them; prefers: only a score."""

    requires: tuple[Requirement, ...] = ()
    prefers: Preferences = ()
    tolerations: tuple[Toleration, ...] = ()


def terms_of(
    requires: tuple[Requirement, ...],
    prefers: Preferences,
    tolerations: tuple[Toleration, ...],
) -> NodeTerms | None:
    """The same as one; None where nothing is said, as of most: that is cheap to tell."""
    if requires or prefers or tolerations:
        return NodeTerms(requires, prefers, tolerations)
    return None


def barred(terms: NodeTerms | None, labels: Labels, taints: Taints) -> str:
    """Why a node with these will not do: "without zone In west"; "" where it will."""
    return next(missed(terms, labels), "") or next(untolerated(terms, taints), "")


def missed(terms: NodeTerms | None, labels: Labels) -> Iterator[str]:
    """Which requirements a node with these labels does not meet, in words."""
    if terms is not None and terms.requires:
        has = dict(labels)
        for requirement in terms.requires:
            if not requirement.holds(has.get(requirement.key)):
                yield f"without {requirement.text}"


def untolerated(terms: NodeTerms | None, taints: Taints) -> Iterator[str]:
    """Which taints bar it, in words."""
    tolerations = terms.tolerations if terms is not None else ()
    for taint in taints:
        if taint.is_hard and not borne(taint, tolerations):
            yield f"tainted {taint.text}, not tolerated"


def borne(taint: Taint, tolerations: Iterable[Toleration]) -> bool:
    """Whether one of them bears the taint."""
    return any(toleration.bears(taint) for toleration in tolerations)


def _whole(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None
