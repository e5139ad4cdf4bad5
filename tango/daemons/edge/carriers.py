"""Who called the replica for a request, this edge itself or a worker: a line for `explain`.

Kept here, beside the edge's decision records rather than in them: who carries is the daemon's
business, and each field of such a record costs every request, in the simulator too.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace

from tango.controllers.edge.books import Books
from tango.model.decision import END, RETURN, ROUTE
from tango.model.explanation import Finding, Subject
from tango.model.request import RequestDone

ITSELF = "The edge itself called the replica."


class Carriers:
    """Of requests whose records are still kept. keep: how many records of requests there are."""

    def __init__(self, keep: int) -> None:
        # Never fewer than the requests in the ring of records: one that is not here was a worker's.
        self._own: deque[str] = deque(maxlen=keep)

    def ended(self, done: RequestDone) -> None:
        """This edge has called a replica. One that was not reached may yet be a worker's."""
        if done.ran:
            self._own.append(done.request_id)

    def told(self, finding: Finding, books: Books) -> Finding:
        """The finding, with who called the replica where that is known."""
        if finding.subject is not Subject.REQUEST:
            return finding
        text = self._of_held(finding.name, books) or self._of_ended(finding)
        return replace(finding, summary=f"{finding.summary} {text}") if text else finding

    def _of_held(self, request_id: str, books: Books) -> str:
        """It is being served, or its replica has not yet let go of it."""
        call = books.calls.get(request_id)
        node = call.node if call is not None else None
        hold = node.holds.get(request_id) if node is not None else None
        if node is None or hold is None:
            return ""
        return ITSELF if hold.direct else _worker(node.name)

    def _of_ended(self, finding: Finding) -> str:
        # Where few records are wanted the route may not be among them.
        node = finding.nodes[-1] if finding.nodes else ""
        ended = False
        for record in finding.records:
            if record[2] is ROUTE:
                node = record[ROUTE.index["node"]]
            elif record[2] is RETURN:
                node = ""
            ended = record[2] is END
        if not ended or not node:
            return ""
        return ITSELF if finding.name in self._own else _worker(node)


def _worker(node: str) -> str:
    return f"The worker of {node} called the replica."
