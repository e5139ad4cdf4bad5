"""A worker's decisions, told to its edge as lines of JSON over the stream that logs come on."""

from __future__ import annotations

import json
from collections.abc import Iterator

from tango.controllers.worker.controller import WorkerController
from tango.daemons.explaining import DECISIONS, reasons
from tango.model.explanation import DEFAULT_LIMIT, MAX_LIMIT, Subject

CHUNK_BYTES = 32 * 1024


def told(controller: WorkerController, node: str, target: str, now: float) -> Iterator[bytes]:
    """Chunks of lines: {"missing": [...]} first, then {"at_s", "daemon", "text", "record"} each.

    target: "decisions:SUBJECT:NAME:LIMIT"; one that is none gets a `missing` that says so.
    """
    subject, _, rest = target.removeprefix(DECISIONS).partition(":")
    name, _, digits = rest.rpartition(":")
    known = {one.value: one for one in Subject}
    if subject not in known:
        yield _line({"missing": [f"node {node} does not know what a {subject[:40]!r} is"]})
        return
    limit = int(digits) if digits.isdecimal() and len(digits) < 10 else DEFAULT_LIMIT
    records, missing = controller.explain(name, known[subject], min(limit, MAX_LIMIT), now)
    chunk = _line({"missing": list(missing)})
    for reason in reasons(records, f"worker {node}", now):
        chunk += _line(
            {
                "at_s": reason.at_s,
                "daemon": reason.daemon,
                "text": reason.text,
                "record": reason.record,
            }
        )
        if len(chunk) >= CHUNK_BYTES:
            yield chunk
            chunk = b""
    if chunk:
        yield chunk


def _line(value: object) -> bytes:
    return json.dumps(value).encode() + b"\n"
