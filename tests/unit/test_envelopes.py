"""Session envelopes: numbers, what is unknown, what makes no sense."""

from __future__ import annotations

import pytest

from tango.model.job import AttemptState, AttemptStatus
from tango.model.messages import AttemptChanged, CentralWelcome, EdgeWelcome, OpenLog
from tango.v1 import central_service_pb2 as central
from tango.v1 import edge_service_pb2 as edge
from tango.wire import sessions
from tango.wire.stream_session import SessionBroken


def test_numbers_travel_with_the_message() -> None:
    message = AttemptChanged(AttemptStatus("j.0.1", AttemptState.ENDED, exit_code=0))
    for encode, decode in (
        (sessions.encode_from_worker, sessions.decode_from_worker),
        (sessions.encode_from_edge, sessions.decode_from_edge),
    ):
        assert decode(encode(message, 2**63, 7)) == (2**63, 7, message)  # type: ignore[operator]
    log = OpenLog("1", "job", 0, follow=True)
    for encode, decode in (
        (sessions.encode_to_worker, sessions.decode_to_worker),
        (sessions.encode_to_edge, sessions.decode_to_edge),
    ):
        assert decode(encode(log, 1, 2)) == (1, 2, log)  # type: ignore[operator]


def test_a_message_of_another_direction_is_the_senders_bug() -> None:
    with pytest.raises(TypeError, match="CentralWelcome does not travel"):
        sessions.encode_to_worker(CentralWelcome(1), 1, 1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="EdgeWelcome does not travel"):
        sessions.encode_to_edge(EdgeWelcome("e", 1), 1, 1)  # type: ignore[arg-type]


def test_an_empty_envelope_is_unknown_and_keeps_its_numbers() -> None:
    with pytest.raises(sessions.UnknownMessage) as raised:
        sessions.decode_from_edge(central.ConnectEdgeRequest(incarnation=3, sequence=4))
    assert (raised.value.incarnation, raised.value.sequence) == (3, 4)
    assert isinstance(raised.value, SessionBroken)


def test_a_message_of_a_newer_version_is_unknown() -> None:
    # Field 900 of the envelope, length-delimited, as a later proto might have it.
    newer = edge.ConnectWorkerRequest(incarnation=1, sequence=1).SerializeToString()
    newer += b"\xa2\x38\x02\x08\x01"
    with pytest.raises(sessions.UnknownMessage):
        sessions.decode_from_worker(edge.ConnectWorkerRequest.FromString(newer))


def test_nonsense_inside_is_a_bad_envelope_that_names_the_field() -> None:
    envelope = edge.ConnectWorkerRequest(
        incarnation=3, sequence=4, attempt_changed={"attempt": {"attempt_id": "a"}}
    )
    with pytest.raises(sessions.BadEnvelope, match=r"^attempt_changed.attempt.state: is not set"):
        sessions.decode_from_worker(envelope)
