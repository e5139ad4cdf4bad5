"""Whether the kernel killed a replica's process for memory: told by its group's counter."""

from __future__ import annotations

from tango.controllers.worker.counters import Counters
from tango.controllers.worker.reasons import describe_end
from tango.controllers.worker.replica import Replica, ReplicaBooks
from tango.model.events import GroupUsed
from tango.model.process import ProcessRecord


class OomWatch:
    """Compares a group's OOM kills after a process ended with those before it began."""

    def __init__(self, books: ReplicaBooks, counters: Counters) -> None:
        self._books = books
        self._counters = counters
        self._waiting: dict[str, Replica] = {}

    def begin(self, replica: Replica) -> None:
        """A process is about to begin in the replica's group."""
        replica.autopsy = None
        replica.oom_kills = self._counters.oom_kills(replica.group)

    def adopt(self, replica: Replica) -> None:
        """It began before this worker: what the first sample says is taken as before."""
        replica.oom_kills = None
        if replica.group:
            self._waiting[replica.group] = replica

    def look(self, replica: Replica, record: ProcessRecord) -> None:
        """Its process ended badly: read the group, and mend the reason if memory was the cause."""
        if replica.group and replica.oom_kills is not None and (record.signal or record.exit_code):
            replica.autopsy = record
            self._waiting[replica.group] = replica
            self._counters.ask((replica.group,))

    def sampled(self, used: GroupUsed) -> None:
        """Counters of a group that may be waited for."""
        replica = self._waiting.pop(used.group, None)
        if replica is None:
            return
        record = replica.autopsy
        if replica.oom_kills is None:
            replica.oom_kills = used.n_oom_kills
        elif record is not None and used.n_oom_kills > replica.oom_kills:
            replica.autopsy = None
            cause = describe_end(record, out_of_memory=True)
            replica.reason = replica.reason.replace(describe_end(record), cause)
            self._books.tell(replica)

    def forget(self, replica: Replica) -> None:
        """Its group is going."""
        self._waiting.pop(replica.group, None)
