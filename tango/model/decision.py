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
    "forward", "request", "service", "site", "peer_node", "policy", "route", "demand", "offer",
    "candidates", "queued_s", "expected_s", "deadline_s",
)  # fmt: skip
FORWARD_REFUSED = Form("forward-refused", "request", "service", "site", "why")

# ---- at an edge: replicas, BE attempts, nodes

# memory_bytes: what the replica declares. nodes: the best few Candidates. rule: by name, with its
# Choice, None where it keeps none.
REPLICA_PLACE = Form(
    "replica-place", "service", "replica", "node", "memory_bytes", "nodes", "rule", "choice"
)
# A replica moves for balance's sake. node: where it is; score, score_there: of the two nodes by the
# rule, as if it were gone, 0 to 100.
REPLICA_MOVE = Form(
    "replica-move", "service", "replica", "node", "successor", "to", "score", "score_there", "why"
)
REPLICA_MOVE_END = Form("replica-move-end", "service", "replica", "node", "why")
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

# Memory taken back for LC, one record for each victim. lost_cpu_s: its work so far; freed_bytes: by
# all of its eviction's victims; spared: (attempt, why) of those that stay.
EVICT = Form(
    "evict", "attempt", "node", "priority", "memory_bytes", "lost_cpu_s", "needed_bytes",
    "freed_bytes", "sufficient", "spared", "why",
)  # fmt: skip
# QoS re-assurance changed a service's CPU per request on a node. assessment: of the window.
ASSURE = Form("assure", "service", "node", "cpu_millis", "assessment")

# ---- at the central master: jobs

# placement: as in model.plan; offer: what the node offered when the plan was committed.
JOB_PLACE = Form(
    "job-place", "job", "task", "attempt", "site", "node", "policy", "cpu_millis", "memory_bytes",
    "placement", "offer", "candidates", "cores",
)  # fmt: skip
JOB_WAIT = Form("job-wait", "job", "why")
JOB_REFUSED = Form("job-refused", "job", "task", "attempt", "site", "node", "why", "retry_s")
JOB_EVICT = Form("job-evict", "job", "task", "attempt", "site", "node", "why")
# A task moves with its state; or its attempt at a node cannot, so that it does not get there.
JOB_MIGRATE = Form(
    "job-migrate", "job", "task", "attempt", "site", "node", "to_site", "to_node", "why"
)
JOB_STAY = Form("job-stay", "job", "task", "attempt", "site", "node", "to_site", "to_node", "why")
JOB_GIVE_UP = Form("job-give-up", "job", "task", "attempt", "site", "node", "why")
# task_state, job_state: after the end. retry_s: until the next attempt, 0 for none.
JOB_END = Form(
    "job-end", "job", "task", "attempt", "site", "node", "task_state", "job_state", "why", "retry_s"
)
# Of a task with a delay bound or a backup. backup: "edge/node", "" for none. look: as in
# model.bounds, None where nothing was looked for.
JOB_BOUND = Form("job-bound", "job", "task", "site", "node", "backup", "why", "look")
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
# A cap on all of BE's CPU moved. before_millis: None for none yet. lc_peak_millis: of the last
# seconds, which the cap follows.
SUPPRESS = Form("suppress", "before_millis", "after_millis", "lc_millis", "lc_peak_millis", "why")

FORMS = tuple(value for value in vars().copy().values() if isinstance(value, Form))


# Not frozen, which would make it four times as dear: it is made for each call that is refused.
@dataclass(slots=True)
class AdmissionGrounds:
    """What an edge knew of a service's queue when it refused a call; never changed afterwards.

    Seconds; slots in requests. wait_s, service_s: predicted for this call; margin_s: the usual
    error of such predictions.
    """

    queued: int
    room: int
    busy: int
    deadline_s: float
    wait_s: float = 0.0
    service_s: float = 0.0
    margin_s: float = 0.0


def facts(record: Decision) -> dict[str, Any]:
    """The parts by name, as what JSON knows; dataclasses as objects, in the order of their fields.

    TypeError for a part that has no place in a record.
    """
    parts = zip(record[2].fields, record[PARTS:], strict=True)
    return {name: _plain(_short(part)) for name, part in parts}


def line(record: Decision) -> str:
    """One line of JSON without its end: {"v", "n", "at", "kind", then the form's fields}."""
    form: Form = record[2]
    found: dict[str, object] = {"v": FORMAT, "n": record[0], "at": record[1], "kind": form.kind}
    for name, part in zip(form.fields, record[PARTS:], strict=True):
        found[name] = _short(part)
    try:
        return _encode(found)
    except ValueError:
        # Somewhere inside is an infinity, which JSON does not have: the slow way, without it.
        return _encode(_plain(found))


def _short(part: object) -> object:
    if isinstance(part, str) and len(part) > MAX_TEXT:
        return part[:MAX_TEXT] + " ..."
    return part


def _plain(value: object) -> Any:
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return _plain(_opened(value))


def _opened(value: object) -> object:
    """What is inside of an enum's member or a dataclass; logs are written by the million."""
    if isinstance(value, enum.Enum):
        return value.value
    names = _FIELDS.get(type(value))
    if names is None:
        if not is_dataclass(value):
            raise TypeError(f"{type(value).__name__} has no place in a decision record")
        names = _FIELDS[type(value)] = tuple(field.name for field in fields(value))
    found = {}
    for name in names:
        item = getattr(value, name)
        found[name] = None if item in _INFINITIES else item
    return found


_FIELDS: dict[type, tuple[str, ...]] = {}
_INFINITIES = (math.inf, -math.inf)
_encode = json.JSONEncoder(
    separators=(",", ":"), allow_nan=False, check_circular=False, default=_opened
).encode


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
