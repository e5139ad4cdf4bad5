"""Why requests were rejected or failed is counted by kind, in bounded memory."""

from __future__ import annotations

from tango.model.request import CallReply, Code, Outcome
from tango.workload.reasons import MAX_REASONS, OTHER, Reasons, reason_of


def reply(error: str) -> CallReply:
    return CallReply("r", Outcome.REJECTED, Code.RESOURCE_EXHAUSTED, error=error)


def test_figures_do_not_make_another_reason() -> None:
    found = {reason_of(reply(f"predicted wait {wait} ms is too long")) for wait in (1.5, 20)}
    assert found == {"resource_exhausted: predicted wait ... ms is too long"}
    assert reason_of(reply("")) == "resource_exhausted"


def test_memory_is_bounded_and_nothing_is_lost() -> None:
    reasons = Reasons()
    for number in range(3 * MAX_REASONS):
        reasons.note(f"reason {number}")
        reasons.note("reason 0")
        reasons.note("")
    assert len(reasons) == MAX_REASONS + 1
    assert reasons["reason 0"] == 3 * MAX_REASONS + 1
    assert reasons[OTHER] == 2 * MAX_REASONS
    assert reasons.total() == 6 * MAX_REASONS
