"""From what a controller knows to what a user is told: wall times, and bounds on the size."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace

from tango.model.decision import Decision, line
from tango.model.decision_text import sentence
from tango.model.explanation import Explanation, Finding, Reason

# A worker's decisions come over the stream on which logs do, as a log of this name:
# "decisions:SUBJECT:NAME:LIMIT". No replica, attempt or process key has a colon in its name.
DECISIONS = "decisions:"
# Of one explanation; a message has 4 MiB.
MAX_BYTES = 2**20


def reasons(records: Iterable[Decision], daemon: str, now: float) -> list[Reason]:
    """The records as sentences and JSON, with wall times. now: the controller's present."""
    offset = time.time() - now
    return [
        Reason(record[1] + offset, daemon, sentence(record), line(record)) for record in records
    ]


def explanation(finding: Finding, daemon: str, now: float) -> Explanation:
    """What this daemon itself can tell."""
    return bounded(
        Explanation(
            finding.subject,
            finding.name,
            daemon,
            finding.summary,
            tuple(reasons(finding.records, daemon, now)),
            finding.missing,
        )
    )


def bounded(found: Explanation) -> Explanation:
    """Without the oldest decisions, where all of them are too much for one message."""
    size = 0
    kept = 0
    for reason in reversed(found.decisions):
        size += 2 * (len(reason.text) + len(reason.record))
        if size > MAX_BYTES:
            break
        kept += 1
    left_out = len(found.decisions) - kept
    if not left_out:
        return found
    remark = f"{left_out} older decisions are left out: all together are above {MAX_BYTES} bytes"
    return replace(found, decisions=found.decisions[left_out:], missing=(*found.missing, remark))
