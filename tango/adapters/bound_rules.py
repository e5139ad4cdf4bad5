"""The rule by which the central master places tasks with bounds and backups, where numpy is."""

from __future__ import annotations

from tango.adapters.policies import placement_plugins
from tango.model.bounds import BoundRule
from tango.model.placement_profile import Profile


def bound_rule(profile: Profile) -> BoundRule | None:
    """By the profile's filters, and those that are always needed; None without numpy.

    Raises InvalidField for unknown plugins.
    """
    try:
        # Here, and not above: a central master without such tasks runs without numpy.
        from tango.algorithms.placement.bound_tasks import BoundTasks, with_needed
    except ModuleNotFoundError as error:
        if error.name != "numpy":
            raise
        return None
    uses = with_needed(profile).plugins
    return BoundTasks(profile, placement_plugins(use.plugin for use in uses))
