"""What a plugin is: a class, found by the entry point `tango.placement`, made for one room.

It is called with the room and its parameters, and has one or more of `keeps` (Filter), `scores`
(Score), and `reserve` with `unreserve` (Reserve). It reads the room and never changes it.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Protocol, runtime_checkable

from tango.algorithms.placement.arrays import Bools, Floats
from tango.algorithms.placement.pod import Pod
from tango.algorithms.placement.room import Room
from tango.model.errors import InvalidField
from tango.model.placement_profile import Profile, Use


@runtime_checkable
class Filter(Protocol):
    """Takes out nodes. of_room: whether a node taken out may be kept once pods have ended there."""

    of_room: bool

    def keeps(self, pod: Pod) -> Iterable[tuple[str, Bools]]:
        """(why the others go, the nodes that stay), once per reason; may stop when none stays."""
        ...


@runtime_checkable
class Score(Protocol):
    """Ranks nodes, 0 to 100, higher is better."""

    def scores(self, pod: Pod, among: Bools, out: Floats) -> bool:
        """Write each node's score to `out`; False: nothing to say of this pod, `out` is ignored.

        among: the nodes that count; what is written for others is ignored.
        """
        ...


@runtime_checkable
class Reserve(Protocol):
    """Has room of its own to take, such as a volume. Called once the node is chosen."""

    def reserve(self, pod: Pod, node: int) -> str:
        """Take it; or say why not, "" for taken. Then the next best node is asked."""
        ...

    def unreserve(self, pod: Pod, node: int) -> None:
        """Give it back; also called for what was never reserved."""
        ...


class Plugin(Protocol):
    """The class behind an entry point."""

    def __call__(self, room: Room, **parameters: object) -> object:
        """Made for this room."""
        ...


def made(profile: Profile, room: Room, plugins: Mapping[str, Plugin]) -> list[tuple[Use, object]]:
    """The profile's plugins for this room. Raises InvalidField, naming the plugin and its place."""
    found = []
    for use in profile.plugins:
        try:
            found.append((use, _made(profile, use, room, plugins)))
        except InvalidField as error:
            raise error.at(error.where or use.where) from None
    return found


def _made(profile: Profile, use: Use, room: Room, plugins: Mapping[str, Plugin]) -> object:
    field = f"{profile.name}.{use.plugin}"
    kind = plugins.get(use.plugin)
    if kind is None:
        known = ", ".join(sorted(plugins)) or "none is installed"
        raise InvalidField(field, "no placement plugin has this name", f"use one of: {known}")
    parameters = dict(use.parameters)
    try:
        inspect.signature(kind).bind(room, **parameters)
    except TypeError as error:
        known = ", ".join(list(inspect.signature(kind).parameters)[1:]) or "none"
        raise InvalidField(field, str(error), f"its parameters: {known}") from None
    one = kind(room, **parameters)
    if not isinstance(one, Filter | Score | Reserve):
        raise InvalidField(field, "neither filters, scores nor reserves", "see docs/placement.md")
    return one
