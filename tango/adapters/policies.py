"""Finds policies by name through entry points, so that a third party adds one from outside."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from importlib.metadata import EntryPoints, entry_points
from typing import TYPE_CHECKING, Any, cast

from tango.model.errors import InvalidField
from tango.model.placement_profile import DEFAULT, TERM_FILTERS, Profile, with_filters
from tango.model.plan import BatchPolicy, TrafficPolicy

if TYPE_CHECKING:  # what it imports needs numpy, which is not on every node
    from tango.algorithms.placement.plugin import Plugin

NEEDS_EXTRA = "install the extra `solver` (in a clone: pip install '.[solver]')"


def traffic_policy(name: str) -> TrafficPolicy:
    """The LC policy registered under `tango.traffic`. Raises InvalidField with those there are."""
    return cast("TrafficPolicy", _class("tango.traffic", name, "edge.traffic_policy")())


def batch_policy(name: str, profile: Profile = DEFAULT) -> BatchPolicy:
    """The BE policy registered under `tango.batch`. Raises InvalidField with those there are.

    profile: for one that places by it; its class has `takes_profile` set.
    """
    kind: Any = _class("tango.batch", name, "central.batch_policy")
    if getattr(kind, "takes_profile", False):
        uses = with_filters(profile, TERM_FILTERS).plugins
        plugins = placement_plugins(use.plugin for use in uses)
        return cast("BatchPolicy", kind(profile, plugins))
    return cast("BatchPolicy", kind())


def placement_plugins(names: Iterable[str]) -> Mapping[str, Plugin]:
    """These plugins of `tango.placement`, loaded. Raises InvalidField with those there are."""
    found = {name: _class("tango.placement", name, f"placement.{name}") for name in names}
    return cast("Mapping[str, Plugin]", found)


def policy_names(group: str) -> tuple[str, ...]:
    """All names registered in a group, sorted."""
    return tuple(sorted(_registered(group).names))


@cache
def _registered(group: str) -> EntryPoints:
    """What is installed under it. Once: it reads a file of each package that there is."""
    return entry_points(group=group)


def _class(group: str, name: str, field: str) -> Callable[[], object]:
    found = tuple(_registered(group).select(name=name))
    if not found:
        known = ", ".join(policy_names(group)) or "none is installed"
        raise InvalidField(field, f"no policy is named {name!r}", f"use one of: {known}")
    try:
        return cast("Callable[[], object]", found[0].load())
    except ModuleNotFoundError as error:
        needs = f"{name!r} needs {error.name}, which is not installed"
        raise InvalidField(field, needs, NEEDS_EXTRA) from None
