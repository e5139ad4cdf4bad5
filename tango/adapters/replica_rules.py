"""The rule by which an edge places replicas, made from the profile that its settings name."""

from __future__ import annotations

from tango.adapters.policies import NEEDS_EXTRA, placement_plugins
from tango.algorithms.placement.replicas import ReplicaRule
from tango.algorithms.placement.spread import Spread
from tango.model.errors import InvalidField
from tango.model.placement_profile import DEFAULT, SPREAD, Profile


def installed(profile: Profile) -> Profile:
    """The same, or `spread` for the default one where numpy is not installed: nobody asked for it.

    Settings hold what this answers, so that a recording says by which rule was placed.
    """
    if profile != DEFAULT:
        return profile
    try:
        import numpy  # noqa: F401, ICN001 - only whether it is there
    except ModuleNotFoundError:
        return SPREAD
    return profile


def replica_rule(profile: Profile) -> ReplicaRule:
    """Its rule, with its plugins found by their entry points. Raises InvalidField."""
    if profile == SPREAD:
        return Spread()
    try:
        # Here, and not above: an edge that spreads runs without numpy.
        from tango.algorithms.placement.profile_rule import ProfileRule
    except ModuleNotFoundError as error:
        problem = f"profile {profile.name!r} needs {error.name}, which is not installed"
        fix = f'{NEEDS_EXTRA}, or write name = "{SPREAD.name}" and no plugins'
        raise InvalidField("placement", problem, fix) from None
    return ProfileRule(profile, placement_plugins(use.plugin for use in profile.plugins))
