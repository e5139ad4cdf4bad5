"""Which plugins weigh in, and how much: a profile, as the configuration names it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from tango.model.errors import InvalidField

Value = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Use:
    """One plugin. weight: of its score, 0 for none; filters: whether its filter counts.

    parameters: keyword arguments of the plugin's own. where: "file:line", "" for no file.
    """

    plugin: str
    weight: float = 1.0
    filters: bool = True
    parameters: tuple[tuple[str, Value], ...] = ()
    where: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if not 0 <= self.weight < math.inf:
            problem = f"{self.weight} is no weight"
            raise InvalidField(f"{self.plugin}.weight", problem, "use 0 and up")


@dataclass(frozen=True, slots=True)
class Profile:
    """Plugins in the order in which they filter."""

    name: str
    plugins: tuple[Use, ...]

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for use in self.plugins:
            if use.plugin in seen:
                raise InvalidField(f"{self.name}.plugins", f"{use.plugin} is there twice", "once")
            seen.add(use.plugin)


# By which labels that are required, and taints, bar nodes, whatever a profile says.
TERM_FILTERS = ("affinity", "taints")


def with_filters(profile: Profile, names: Sequence[str]) -> Profile:
    """The profile, with these filters in any case; what is added has no say in its scores."""
    uses = tuple(
        replace(use, filters=True) if use.plugin in names else use for use in profile.plugins
    )
    known = {use.plugin for use in uses}
    missing = tuple(Use(name, 0.0) for name in names if name not in known)
    return replace(profile, plugins=(*missing, *uses))


DEFAULT = Profile(
    "default",
    (
        Use("affinity"),
        Use("taints"),
        Use("delay"),
        Use("fit"),
        Use("cores"),
        Use("spread", 2.0),
        Use("image"),
        Use("layers"),
    ),
)
# No plugins and no numpy: fewest of the service's replicas, then most idle memory.
SPREAD = Profile("spread", ())
