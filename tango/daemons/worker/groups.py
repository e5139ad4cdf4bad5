"""Carries out the worker's cgroup commands; removal waits until dying processes are gone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from tango.daemons.lifecycle import log_event
from tango.model.cgroup import GroupTarget, Mismatch
from tango.model.events import GroupApplied, GroupUsed
from tango.ports import Cgroups

REMOVE_RETRY_S = 0.05
REMOVE_TRIES = 100
KILLED_S = 0.1


class GroupWriter:
    """Synchronous on purpose: a write takes 0.1 ms, and a Forward must not overtake it."""

    def __init__(self, cgroups: Cgroups, post: Callable[[GroupApplied], None]) -> None:
        self._cgroups = cgroups
        self._post = post
        self._loop = asyncio.get_running_loop()
        self._removing: dict[str, asyncio.TimerHandle] = {}

    def create(self, group: str, target: GroupTarget) -> None:
        """Make the group, then set its targets; it is not to be removed any more."""
        for name in tuple(self._removing):
            if group == name or group.startswith(f"{name}/"):
                self._removing.pop(name).cancel()
        try:
            self._cgroups.create(group)
        except OSError as error:
            log_event("error", "group not created", group=group, error=str(error))
            self._post(GroupApplied(group, (Mismatch(group, "group", "exists", str(error)),)))
            return
        self.apply(group, target)

    def apply(self, group: str, target: GroupTarget) -> None:
        """Set targets; what the kernel did not take is reported."""
        try:
            mismatches = self._cgroups.apply(group, target)
        except OSError as error:
            mismatches = (Mismatch(group, "group", "writable", str(error)),)
        self._post(GroupApplied(group, mismatches))

    def remove(self, group: str, tries: int = REMOVE_TRIES) -> None:
        """Remove once empty; gives up after 5 s and says so."""
        self._removing.pop(group, None)
        try:
            self._cgroups.remove(group)
        except OSError as error:
            if tries > 1:
                self._removing[group] = self._loop.call_later(
                    REMOVE_RETRY_S, self.remove, group, tries - 1
                )
            else:
                log_event("warning", "group not removed", group=group, error=str(error))

    def kill(self, group: str) -> None:
        """End every process in the group; said, since nobody was to be there.

        Waits up to 0.1 s until they are gone: what is told next may start them anew elsewhere.
        """
        try:
            pids = self._living(group)
            if not pids:
                return
            log_event("warning", "orphans killed", group=group, pids=pids[:32])
            end = time.monotonic() + KILLED_S
            while pids and time.monotonic() < end:
                self._cgroups.kill(group)
                time.sleep(KILLED_S / 20)
                pids = self._living(group)
        except OSError as error:
            log_event("error", "orphans not killed", group=group, error=str(error))
            return
        if pids:
            log_event("error", "orphans live on", group=group, pids=pids[:32])

    def _living(self, group: str) -> list[int]:
        names = self._cgroups.groups()
        inside = [name for name in names if name == group or name.startswith(f"{group}/")]
        return sorted(pid for name in inside for pid in self._cgroups.procs(name))

    def existing(self) -> tuple[str, ...]:
        """Every group that is there, parents before children."""
        return self._cgroups.groups()

    def sample(self, groups: tuple[str, ...]) -> tuple[GroupUsed, ...]:
        """The kernel's counters; a group that has just gone is left out."""
        used = []
        for group in groups:
            try:
                usage = self._cgroups.usage(group)
            except OSError:
                continue
            used.append(
                GroupUsed(
                    group,
                    usage.cpu_s,
                    usage.memory_bytes,
                    usage.n_throttled,
                    usage.throttled_s,
                    usage.n_oom_kills,
                )
            )
        return tuple(used)
