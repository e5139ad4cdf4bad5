"""Answers to `explain`: how something stands, and the decisions on it that are still kept."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from tango.model.decision import Decision


class Subject(enum.Enum):
    """What can be explained."""

    REQUEST = "request"
    SERVICE = "service"
    JOB = "job"
    NODE = "node"


DEFAULT_LIMIT = 20
MAX_LIMIT = 1000


@dataclass(frozen=True, slots=True)
class Finding:
    """What one controller knows: the summary now, and its records, oldest first.

    missing: what would belong here and is not, and why. nodes: whose workers may know more.
    """

    subject: Subject
    name: str
    summary: str
    records: tuple[Decision, ...] = ()
    missing: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reason:
    """One decision. at_s: unix seconds by the clock of who decided. daemon: "edge site-a".

    record: the line of JSON as a decision log has it (tango.model.decision.line).
    """

    at_s: float
    daemon: str
    text: str
    record: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """What one daemon, with those below it, has to say. Decisions are in order of time."""

    subject: Subject
    name: str
    daemon: str
    summary: str
    decisions: tuple[Reason, ...] = ()
    missing: tuple[str, ...] = ()
