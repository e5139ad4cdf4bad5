"""Hands a controller's decision records to its log file."""

from __future__ import annotations

from tango.adapters.decision_log import DecisionLog, logged
from tango.controllers.decisions import Decisions
from tango.model.settings import DecisionSettings, LoggedRequests
from tango.model.starts import Life


class DecisionWriter:
    """One controller's log, where there is to be one. Raises InvalidField("decisions.log")."""

    def __init__(self, settings: DecisionSettings, decisions: Decisions, life: Life) -> None:
        self._which = settings.log_requests
        self._decisions = decisions
        self._written = 0
        self._log = DecisionLog(
            settings.log, max_bytes=settings.log_max_bytes, files=settings.log_files, life=life
        )

    def hand_over(self) -> None:
        """What is new since the last time; what was overwritten meanwhile is counted."""
        decisions = self._decisions
        last = decisions.last
        if last == self._written:
            return
        records = decisions.since(self._written)
        lost = last - self._written - len(records)
        if self._which is not LoggedRequests.ALL:
            records = [record for record in records if logged(record, self._which)]
        self._log.add(records, lost)
        self._written = last

    def close(self) -> None:
        """Blocks until it is written, for a few seconds at most."""
        self._log.close()
