"""The queue of waiting gangs: by priority, then arrival; a bounded window of it goes to the policy.

A sorted list cut into chunks: put and drop cost O(log n) comparisons and the move of one chunk,
a window costs its own size, whatever the number of gangs that wait.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator

from tango.model.plan import Gang

Key = tuple[int, int, str]
"""(-priority, arrival number, job id): smaller is served first."""

_CHUNK = 512


class GangQueue:
    """At most one gang a job. Keys are unique."""

    def __init__(self) -> None:
        self._gangs: dict[str, tuple[Key, Gang]] = {}
        self._chunks: list[list[Key]] = []
        self._lasts: list[Key] = []

    def __len__(self) -> int:
        return len(self._gangs)

    def __contains__(self, job_id: str) -> bool:
        return job_id in self._gangs

    def get(self, job_id: str) -> Gang | None:
        """The gang that waits for this job."""
        entry = self._gangs.get(job_id)
        return entry[1] if entry else None

    def key(self, job_id: str) -> Key:
        """The place of the gang that waits for this job."""
        return self._gangs[job_id][0]

    def first(self) -> Key | None:
        """The key of the gang that is served first."""
        return self._chunks[0][0] if self._chunks else None

    def last(self) -> Key | None:
        """The key of the gang that is served last."""
        return self._lasts[-1] if self._lasts else None

    def put(self, arrival: int, gang: Gang) -> Key:
        """Let the gang wait; one of the same job that waited is replaced."""
        self.drop(gang.job_id)
        key = (-gang.priority, arrival, gang.job_id)
        self._gangs[gang.job_id] = (key, gang)
        if not self._chunks:
            self._chunks.append([key])
            self._lasts.append(key)
            return key
        at = min(bisect_left(self._lasts, key), len(self._chunks) - 1)
        chunk = self._chunks[at]
        insort(chunk, key)
        self._lasts[at] = chunk[-1]
        if len(chunk) > 2 * _CHUNK:
            self._chunks.insert(at + 1, chunk[_CHUNK:])
            self._lasts.insert(at + 1, chunk[-1])
            del chunk[_CHUNK:]
            self._lasts[at] = chunk[-1]
        return key

    def drop(self, job_id: str) -> None:
        """The job waits no more; fine if it did not."""
        entry = self._gangs.pop(job_id, None)
        if entry is None:
            return
        at = bisect_left(self._lasts, entry[0])
        chunk = self._chunks[at]
        del chunk[bisect_left(chunk, entry[0])]
        if chunk:
            self._lasts[at] = chunk[-1]
        else:
            del self._chunks[at], self._lasts[at]

    def after(self, key: Key | None) -> Iterator[tuple[Key, Gang]]:
        """Gangs in order, from the first one behind `key` on; the queue must not change meanwhile.

        None begins at the head.
        """
        first = bisect_right(self._lasts, key) if key is not None else 0
        for at in range(first, len(self._chunks)):
            chunk = self._chunks[at]
            begin = bisect_right(chunk, key) if key is not None and at == first else 0
            for index in range(begin, len(chunk)):
                found = chunk[index]
                yield found, self._gangs[found[2]][1]
