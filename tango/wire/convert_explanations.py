"""Converts pb2 <-> model what `explain` asks and is told."""

from __future__ import annotations

from tango.model.checks import check_range
from tango.model.errors import InvalidField
from tango.model.explanation import DEFAULT_LIMIT, MAX_LIMIT, Explanation, Reason, Subject
from tango.v1 import central_service_pb2 as central
from tango.v1 import edge_service_pb2 as edge
from tango.v1 import types_pb2 as pb
from tango.wire.convert_fields import inverse, required, text

# Longer than any name or id of ours.
MAX_NAME = 512

_SUBJECTS = {
    Subject.REQUEST: pb.SUBJECT_REQUEST,
    Subject.SERVICE: pb.SUBJECT_SERVICE,
    Subject.JOB: pb.SUBJECT_JOB,
    Subject.NODE: pb.SUBJECT_NODE,
}
_SUBJECT_OF = inverse(_SUBJECTS)
_NAMES = [name.removeprefix("SUBJECT_").lower() for name in pb.Subject.keys()[1:]]


ExplainRequest = edge.EdgeServiceExplainRequest | central.CentralServiceExplainRequest


def explained_from_pb(message: ExplainRequest) -> tuple[str, tuple[Subject, ...], int]:
    """(name, subjects, limit); no subjects are all. Raises InvalidField."""
    if not message.name:
        raise InvalidField("name", "is empty", "name a request, a service, a job or a node")
    if len(message.name) > MAX_NAME:
        raise InvalidField("name", f"has {len(message.name)} characters", f"at most {MAX_NAME}")
    limit = message.limit or DEFAULT_LIMIT
    check_range("limit", limit, 1, MAX_LIMIT)
    found = [
        subject_from_pb(number, f"subjects[{at}]") for at, number in enumerate(message.subjects)
    ]
    return message.name, tuple(dict.fromkeys(found)) or tuple(Subject), limit


def subject_to_pb(subject: Subject) -> pb.Subject.ValueType:
    """By the table."""
    return _SUBJECTS[subject]


def subject_from_pb(number: int, field: str) -> Subject:
    """Raises InvalidField for one that is missing or unknown."""
    return required(_SUBJECT_OF, number, field, _NAMES)


def explanation_to_pb(one: Explanation) -> pb.Explanation:
    """Field by field."""
    return pb.Explanation(
        subject=subject_to_pb(one.subject),
        name=text(one.name),
        daemon=one.daemon,
        summary=text(one.summary),
        decisions=[
            pb.Reason(
                at_s=reason.at_s,
                daemon=text(reason.daemon),
                text=text(reason.text),
                record=text(reason.record),
            )
            for reason in one.decisions
        ],
        missing=[text(what) for what in one.missing],
    )


def explanation_from_pb(message: pb.Explanation) -> Explanation:
    """Raises InvalidField for a subject that this version does not know."""
    return Explanation(
        subject_from_pb(message.subject, "explanation.subject"),
        message.name,
        message.daemon,
        message.summary,
        tuple(
            Reason(reason.at_s, reason.daemon, reason.text, reason.record)
            for reason in message.decisions
        ),
        tuple(message.missing),
    )
