"""Decision records: what was decided, about whom, on what grounds; formatted only when asked for.

A record is a plain tuple, `(number, at, form, *parts)`: the cheapest thing that keeps the grounds.
Parts are numbers, texts and references to what is immutable and small (a Route, a Demand, the one
offer that was taken); never a request with its body, a whole snapshot or a spec with its `env`. So
a ring of records is bounded in bytes too, and no secret is in one.

`line` writes a record as one line of JSON, in the order of its form's fields. The same events give
the same bytes, whatever the hash seed of the process: a daemon's log and a simulator's compare.
"""

from __future__ import annotations

import enum
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from tango.model.job import parse_attempt_id

# Of what `line` writes. A reader refuses a higher one; fields may be added to a form under this.
FORMAT = 1

Decision = tuple[Any, ...]
"""(number, at, form, *parts). number: counts a daemon's records from 1; at: seconds, as `now`."""

Record = Callable[..., None]
"""record(form, now, *parts): parts in the order of the form's fields."""

PARTS = 3
# Longest text of a part that is written: an error may quote what a user sent.
MAX_TEXT = 2000


class Form:
    """One kind of record: its name, and the names of its parts.

    Parts named "request", "service", "node", "job", "attempt" and "replica" say who it is about.
    """

    __slots__ = ("fields", "index", "kind")

    def __init__(self, kind: str, *fields: str) -> None:
        self.kind = kind
        self.fields = fields
        self.index = {name: PARTS + at for at, name in enumerate(fields)}

    def __repr__(self) -> str:
        return f"Form({self.kind!r})"


# ---- of requests, at an edge: one or a few for each request

# policy: by name. route, demand, offer: as in model.plan (None where no longer known); candidates:
# how many nodes the policy was shown. queued_s: since arrival. expected_s: latency predicted then.
ROUTE = Form(
    "route", "request", "service", "node", "policy", "route", "demand", "offer", "candidates",
    "queued_s", "expected_s", "deadline_s",
)  # fmt: skip
# grounds: an AdmissionGrounds, None where the request itself was wrong.
REJECT = Form("reject", "request", "service", "code", "error", "grounds", "retry_after_ms")
# A node gave a request back unserved, or was lost with it: it is queued again.
RETURN = Form("return", "request", "service", "node", "why")
# How a request that was taken in ended. total_s: since arrival.
END = Form("end", "request", "service", "node", "outcome", "error", "total_s", "deadline_s")
# To a neighbouring site, and a neighbour's refusal. route, offer: as in ROUTE.
FORWARD = Form(
    "forward", "request", "service", "site", "policy", "route", "demand", "offer", "candidates",
    "queued_s", "expected_s", "deadline_s",
)  # fmt: skip
FORWARD_REFUSED = Form("forward-refused", "request", "service", "site", "why")

# ---- at an edge: replicas, BE attempts, nodes

# nodes: the SpreadNodes that were looked at; memory_bytes: what the replica declares.
REPLICA_PLACE = Form("replica-place", "service", "replica", "node", "memory_bytes", "nodes")
REPLICA_LEAVE = Form("replica-leave", "service", "replica", "node", "why")
REPLICA_WAIT = Form("replica-wait", "service", "why")
# What was asked and what was free on the node for BE, when the edge said yes or no.
ATTEMPT_ADMIT = Form(
    "attempt-admit", "attempt", "node", "cpu_millis", "memory_bytes", "free_cpu_millis",
    "free_memory_bytes",
)  # fmt: skip
ATTEMPT_REFUSE = Form(
    "attempt-refuse", "attempt", "node", "cpu_millis", "memory_bytes", "free_cpu_millis",
    "free_memory_bytes", "why",
)  # fmt: skip
# state: cordoned, draining, uncordoned; up, down, dead, refused.
NODE_STATE = Form("node-state", "node", "state", "why")

# ---- at the central master: jobs

# placement: as in model.plan; offer: what the node offered when the plan was committed.
JOB_PLACE = Form(
    "job-place", "job", "task", "attempt", "site", "node", "policy", "cpu_millis", "memory_bytes",
    "placement", "offer", "candidates",
)  # fmt: skip
JOB_WAIT = Form("job-wait", "job", "why")
JOB_REFUSED = Form("job-refused", "job", "task", "attempt", "site", "node", "why", "retry_s")
JOB_EVICT = Form("job-evict", "job", "task", "attempt", "site", "node", "why")
JOB_GIVE_UP = Form("job-give-up", "job", "task", "attempt", "site", "node", "why")
# task_state, job_state: after the end. retry_s: until the next attempt, 0 for none.
JOB_END = Form(
    "job-end", "job", "task", "attempt", "site", "node", "task_state", "job_state", "why", "retry_s"
)
JOB_CANCEL = Form("job-cancel", "job")

# ---- on a node, by its worker (every one of them is about its node)

# A CPU quota that follows requests in flight. replica: "" for the sum over a service's. Millicores
# are -1 for no quota, None where not known. held: requests that the new quota is made for.
RESIZE = Form(
    "resize", "service", "replica", "before_millis", "after_millis", "period_us", "in_flight",
    "held",
)  # fmt: skip
REQUEST_DECLINE = Form("request-decline", "request", "service", "why")
ATTEMPT_START = Form("attempt-start", "attempt", "cpu_millis", "memory_bytes")
ATTEMPT_DECLINE = Form("attempt-decline", "attempt", "why")
ATTEMPT_STOP = Form("attempt-stop", "attempt", "why", "grace_s")
ATTEMPT_END = Form("attempt-end", "attempt", "exit_code", "signal", "failure", "cpu_s")
REPLICA_BACKOFF = Form("replica-backoff", "service", "replica", "why", "delay_s", "restarts")
REPLICA_STOP = Form("replica-stop", "service", "replica", "why")
# BE's CPU on the node: what it may have from now on, and what LC uses of the capacity.
SUPPRESS = Form(
    "suppress", "before_millis", "after_millis", "lc_millis", "capacity_millis", "floor_millis",
    "why",
)  # fmt: skip
# Memory taken back for LC. spared: (attempt, why) of those that were looked at and not taken.
EVICT = Form(
    "evict", "attempt", "priority", "memory_bytes", "needed_bytes", "lost_cpu_s", "why", "spared"
)
# QoS re-assurance, one window. latency_ms: its percentile; slack: (target - latency) / target.
# state: expand, shrink, hold, saturated.
ASSURE = Form(
    "assure", "service", "state", "slack", "latency_ms", "target_ms", "samples", "before_millis",
    "after_millis",
)  # fmt: skip

FORMS = tuple(value for value in vars().copy().values() if isinstance(value, Form))


@dataclass(frozen=True, slots=True)
class AdmissionGrounds:
    """What an edge knew of a service's queue when it refused a call. Seconds; slots in requests.

    wait_s, service_s: predicted for this call; margin_s: the usual error of such predictions.
    """

    queued: int
    room: int
    busy: int
    deadline_s: float
    wait_s: float = 0.0
    service_s: float = 0.0
    margin_s: float = 0.0


def plain(value: object) -> Any:
    """A part as what JSON knows; dataclasses as objects, in the order of their fields."""
    if value is None or isinstance(value, str | bool | int):
        if isinstance(value, str) and len(value) > MAX_TEXT:
            return value[:MAX_TEXT] + " ..."
        return value
    if isinstance(value, float):
        # JSON has no infinity.
        return value if math.isfinite(value) else None
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    raise TypeError(f"{type(value).__name__} has no place in a decision record")


def facts(record: Decision) -> dict[str, Any]:
    """The parts by name, as what JSON knows."""
    return {name: plain(part) for name, part in zip(record[2].fields, record[PARTS:], strict=True)}


def line(record: Decision) -> str:
    """One line of JSON without its end: {"v", "n", "at", "kind", then the form's fields}."""
    head = {"v": FORMAT, "n": record[0], "at": record[1], "kind": record[2].kind}
    return json.dumps(head | facts(record), separators=(",", ":"), allow_nan=False)


def is_about(record: Decision, kind: str, name: str) -> bool:
    """Whether it concerns this "request", "service", "node" or "job".

    A job's name finds its attempts, too. A worker's records name no node: all are about its own.
    """
    index: dict[str, int] = record[2].index
    at = index.get(kind)
    if at is not None and record[at] == name:
        return True
    if kind == "job" and at is None:
        attempt = index.get("attempt")
        if attempt is not None:
            parsed = parse_attempt_id(record[attempt])
            return parsed is not None and parsed[0] == name
    return False
