"""An edge asks its workers for their decisions; one that does not tell is named."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tango.daemons.edge import explain
from tango.daemons.edge.explain import WorkerDecisions
from tango.daemons.explaining import bounded
from tango.daemons.logs_relay import LogRelay
from tango.model.decision import NODE_STATE, line
from tango.model.explanation import Explanation, Finding, Reason, Subject
from tango.model.messages import CloseLog, LogPart, OpenLog

RECORD = (1, 5.0, NODE_STATE, "a", "up", "")
FINDING = Finding(Subject.NODE, "a", "Node a is ready.", (RECORD,), (), ("a",))
SAID = {"at_s": 1.0, "daemon": "edge a liar", "text": "it was so", "record": line(RECORD)}


class Link:
    """A worker's stream: answers every OpenLog with these parts."""

    def __init__(self, logs: LogRelay, answer: Callable[[str], list[LogPart]]) -> None:
        self.logs = logs
        self.answer = answer
        self.asked: list[str] = []

    def send(self, message: OpenLog | CloseLog) -> bool:
        if isinstance(message, OpenLog):
            self.asked.append(message.target)
            for part in self.answer(message.log_id):
                self.logs.on_part(part)
        return True


async def told(answer: Callable[[str], list[LogPart]] | None) -> tuple[Explanation, list[str]]:
    logs = LogRelay("t")
    link = Link(logs, answer) if answer is not None else None
    asking = WorkerDecisions(logs, lambda node: link if node == "a" else None)
    found = await asking.explained(FINDING, "edge site-a", 7, 10.0)
    return found, link.asked if link is not None else []


def parts(*lines: object) -> Callable[[str], list[LogPart]]:
    data = b"".join(json.dumps(one).encode() + b"\n" for one in lines)
    return lambda log_id: [LogPart(log_id, data), LogPart(log_id, last=True)]


async def test_its_decisions_are_put_among_the_edges_own_by_time() -> None:
    found, asked = await told(parts({"missing": ["older ones"]}, SAID))
    assert asked == ["decisions:node:a:7"]
    first, second = found.decisions
    assert (first.at_s, first.daemon, first.text) == (1.0, "worker a", "it was so")
    assert second.daemon == "edge site-a"
    assert second.text == "node a is up"
    assert found.missing == ("of the worker of a: older ones",)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (None, "the node is away"),
        (lambda log_id: [LogPart(log_id, last=True, error="no log of decisions")], "no log of"),
        (lambda log_id: [LogPart(log_id, b"{}{"), LogPart(log_id, last=True)], "Extra data"),
        (parts({"at_s": 1}), "'text'"),
        (parts([1, 2]), ""),
        (parts(SAID | {"at_s": 1e300}), "1e+300 is no time"),
        (parts(SAID | {"at_s": "nan"}), "nan is no time"),
        (parts(SAID | {"record": "so"}), "Expecting value"),
        (lambda log_id: [LogPart(log_id, bytes(2**20 + 1)), LogPart(log_id)], "too much"),
        (lambda log_id: [], "no answer in"),
    ],
)
async def test_one_that_does_not_tell_is_named(
    answer: Callable[[str], list[LogPart]] | None, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(explain, "PATIENCE_S", 0.05)
    found, _ = await told(answer)
    assert [reason.daemon for reason in found.decisions] == ["edge site-a"]
    (missing,) = found.missing
    assert missing.startswith("what the worker of a decided: ")
    assert why in missing


async def test_of_very_many_nodes_only_some_are_asked() -> None:
    nodes = tuple(f"n{number}" for number in range(20))
    asking = WorkerDecisions(LogRelay("t"), lambda _: None)
    found = await asking.explained(Finding(Subject.SERVICE, "s", "", (), (), nodes), "e", 7, 10.0)
    assert found.missing[-1] == "decisions of 4 more nodes"


def test_an_explanation_fits_into_a_message() -> None:
    reason = Reason(1.0, "central", "x" * 2000, "y" * 2000)
    found = bounded(Explanation(Subject.NODE, "a", "central", "", (reason,) * 1000))
    assert len(found.decisions) == 2**20 // 8000
    assert found.missing == (
        "869 older decisions are left out: all together are above 1048576 bytes",
    )
