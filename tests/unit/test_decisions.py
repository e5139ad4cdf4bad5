"""Decision records: bounded rings, one stable line of JSON and one sentence for each form."""

from __future__ import annotations

import json
import math

import pytest

from tango.algorithms.placement.replicas import Candidate, Choice
from tango.algorithms.quota.reassurance import Assessment
from tango.controllers.decisions import Decisions
from tango.model import decision as d
from tango.model.bounds import BoundLook
from tango.model.decision_text import said, sentence
from tango.model.job import JobState, TaskSpec
from tango.model.plan import BatchOffer, Demand, NodeOffer, Placement, Route
from tango.model.request import Code, Outcome

MIB = 2**20
GROUNDS = d.AdmissionGrounds(14, 0, 2, 0.1, 0.12, 0.01, 0.003)
ROUTE = Route("web", "a1", 1, 0.25, ("a2", 0.5), (("a3", "no free slot"), ("a4", "no free slot")))
DEMAND = Demand("web", 1, 100, 0, 0, service_s=0.01, slack_s=math.inf)
OFFER = NodeOffer("a1", 1500, 64 * MIB, (("api", 9), ("web", 3)), 0.25, 0.0004)
ROUTED = ("dss-lc", ROUTE, DEMAND, OFFER, 4, 0.002, 0.02, 0.1)
CHOICE = Choice(
    90.0,
    ("a2", 40.0),
    (("fit", 1.0, 70.0, 70.0), ("spread", 2.0, 100.0, 25.0)),
    (("not enough memory", 1, ("a3",)), ("dead", 4, ("a4", "a5"))),
)
NODES = (
    Candidate("a1", 0, 512 * MIB, 512 * MIB),
    Candidate("a2", 1, 256 * MIB, 256 * MIB),
    Candidate("a3", 0, 32 * MIB, 0),
)
PLACEMENT = Placement("j1", 0, "site-a", "a1", 0.2, ("b1", 0.4), (("a2", "not enough CPU"),))
ATTEMPT = ("j1", "main", "j1.0.1", "site-a", "a1")

# Parts of one record of each form, and its sentence.
SAMPLES: dict[d.Form, tuple[tuple[object, ...], str]] = {
    d.ROUTE: (
        ("r1", "web", "a1", *ROUTED),
        ("request r1 of web was routed to a1 after 2.0 ms in the queue: dss-lc scored it 0.25 "
        "(lower is better); before a2 with 0.5; a3, a4: no free slot; it had 3 free slots and "
        "1500m CPU for LC, load 25%, 0.4 ms away"),
    ),
    d.REJECT: (
        ("r1", "web", Code.RESOURCE_EXHAUSTED, "too late", GROUNDS, 33.0),
        ("request r1 of web was rejected on arrival: too late (14 queued, 2 being served, 0 free "
        "slots; predicted wait 120.0 ms + service 10.0 ms + usual error 3.0 ms against deadline "
        "100.0 ms); worth another try in 33 ms"),
    ),
    d.RETURN: (
        ("r1", "web", "a1", "busy"),
        "request r1 of web came back from a1, and is queued again: busy",
    ),
    d.END: (
        ("r1", "web", "a1", Outcome.LATE, "", 0.12, 0.1),
        "request r1 of web ended on a1 as late after 120.0 ms, deadline 100.0 ms",
    ),
    d.FORWARD: (
        ("r1", "web", "site-b", "b1", *ROUTED),
        ("request r1 of web was forwarded to b1 of site site-b after 2.0 ms in the queue: dss-lc "
        "scored it 0.25 (lower is better); before a2 with 0.5; a3, a4: no free slot; it had 3 free "
        "slots and 1500m CPU for LC, load 25%, 0.4 ms away"),
    ),
    d.FORWARD_REFUSED: (
        ("r1", "web", "site-b", "no room"),
        "site site-b refused request r1 of web: no room",
    ),
    d.REPLICA_PLACE: (
        ("web", "web-g1-0", "a1", 64 * MIB, NODES, "default", CHOICE),
        ("replica web-g1-0 of web was placed on a1, which had no replicas of it and 512.0 MiB free "
        "for LC; default gave it 90.0 of 100; before a2 with 40.0; fit 70 against 70 (x1), spread "
        "100 against 25 (x2); a3: not enough memory; a4, a5 and 2 more: dead"),
    ),
    d.REPLICA_MOVE: (
        ("web", "web-g1-0", "a1", "web-g1-4", "a2", 25.0, 100.0, "a2 came back"),
        ("replica web-g1-0 of web moves from a1 to a2, as web-g1-4: 100.0 of 100 there, 25.0 where "
        "it is: a2 came back"),
    ),
    d.REPLICA_MOVE_END: (
        ("web", "web-g1-0", "a1", "web-g1-4 is not ready"),
        "replica web-g1-0 of web stays on a1 after all: web-g1-4 is not ready",
    ),
    d.REPLICA_LEAVE: (
        ("web", "web-g1-0", "a1", "the node is drained"),
        "replica web-g1-0 of web left a1: the node is drained",
    ),
    d.REPLICA_WAIT: (
        ("web", "no room for 1 replica"),
        "service web is short of replicas: no room for 1 replica",
    ),
    d.ATTEMPT_ADMIT: (
        ("j1.0.1", "a1", 500, 64 * MIB, 1000, 128 * MIB),
        ("attempt j1.0.1 was admitted to a1: 500m CPU and 64.0 MiB asked, 1 CPU and 128.0 MiB free "
        "for BE"),
    ),
    d.ATTEMPT_REFUSE: (
        ("j1.0.1", "a1", 500, 64 * MIB, -20, 128 * MIB, "no CPU"),
        ("attempt j1.0.1 was refused: no CPU (500m CPU and 64.0 MiB asked, 0 CPU and 128.0 MiB "
        "free for BE)"),
    ),
    d.NODE_STATE: (("a1", "dead", "it was silent"), "node a1 is dead: it was silent"),
    d.JOB_PLACE: (
        (*ATTEMPT, "most-free", 500, 64 * MIB, PLACEMENT, BatchOffer("site-a", "a1", 900, MIB), 3,
        "0-1"),
        ("attempt j1.0.1 of job j1 was placed on a1 of site-a: most-free scored it 0.2 (lower is "
        "better), with core 0-1 for itself; before b1 with 0.4; a2: not enough CPU; it asks for "
        "500m CPU and 64.0 MiB of 900m and 1.0 MiB free"),
    ),
    d.JOB_WAIT: (("j1", "no node has 2 CPU free"), "job j1 waits: no node has 2 CPU free"),
    d.JOB_REFUSED: (
        (*ATTEMPT, "no room", 0.2),
        "attempt j1.0.1 of job j1 was refused: no room; it is placed again in 0.2 s at best",
    ),
    d.JOB_EVICT: (
        (*ATTEMPT, "node a1 is drained"),
        "attempt j1.0.1 of job j1 is stopped on a1 of site-a, to run elsewhere: node a1 is drained",
    ),
    d.JOB_MIGRATE: (
        (*ATTEMPT, "site-b", "b1", "a user asked for it"),
        ("attempt j1.0.1 of job j1 on a1 of site-a is to go on with its state on b1 of site-b: "
         "a user asked for it"),
    ),
    d.JOB_STAY: (
        (*ATTEMPT, "site-b", "b1", "it took more than 120 s"),
        ("attempt j1.0.1 of job j1 on a1 of site-a cannot take its state to b1 of site-b: "
         "it took more than 120 s"),
    ),
    d.JOB_GIVE_UP: (
        (*ATTEMPT, "node a1 lost"),
        "attempt j1.0.1 of job j1 was given up on a1 of site-a: node a1 lost",
    ),
    d.JOB_END: (
        (*ATTEMPT, JobState.PENDING, JobState.PENDING, "exit code 3", 1.5),
        ("attempt j1.0.1 of job j1 ended on a1 of site-a (exit code 3): the task is pending, to be "
        "tried again in 1.5 s, the job pending"),
    ),
    d.JOB_BOUND: (
        ("j1", "main", "e1", "n1", "e1/n2", "placed on e1/n1", BoundLook(
            "j1.0", "e1/n1", 0.02, (("e1/n1", 0.0), ("e1/n2", 0.0011)), 3,
            (("delay: beyond 20 ms of e1/n1", 7, ("e2/n1", "e2/n2")),
             ("gone or cordoned", 1, ("e1/n3",))),
            "e1/n1", 256 * MIB, "e1/n2", 128 * MIB, step=5, grew=True, shared=2,
        )),
        ("task main of job j1: placed on e1/n1, backup on e1/n2 (more room than was reserved, step "
         "5, shared with 2 other tasks); e1/n1 had 256.0 MiB free, e1/n2 128.0 MiB; within 20 ms "
         "of e1/n1: e1/n1 0.0 ms, e1/n2 1.1 ms and 1 more; e2/n1, e2/n2 and 5 more: delay: beyond "
         "20 ms of e1/n1; e1/n3: gone or cordoned"),
    ),
    d.JOB_CANCEL: (("j1",), "job j1 was cancelled by a user"),
    d.RESIZE: (
        ("web", "web-g1-0", 50, 550, 10_000, 2, 5),
        ("the CPU quota of replica web-g1-0 of web went from 50m CPU to 550m CPU in periods of 10 "
        "ms, made for 5 requests with 2 in flight"),
    ),
    d.REQUEST_DECLINE: (
        ("r1", "web", "busy"),
        "request r1 of web was sent back to the edge: busy",
    ),
    d.ATTEMPT_START: (
        ("j1.0.1", 500, 64 * MIB),
        "attempt j1.0.1 is started with 500m CPU and 64.0 MiB",
    ),
    d.ATTEMPT_DECLINE: (
        ("j1.0.1", "ran here before"),
        "attempt j1.0.1 is not started: ran here before",
    ),
    d.ATTEMPT_STOP: (
        ("j1.0.1", "cancelled", 5.0),
        "attempt j1.0.1 is stopped: cancelled, with 5 s to end",
    ),
    d.ATTEMPT_END: (
        ("j1.0.1", None, 9, "out of memory", 1.25),
        "attempt j1.0.1 ended by signal 9 after 1.25 s of CPU time: out of memory",
    ),
    d.REPLICA_BACKOFF: (
        ("web", "web-g1-0", "exit code 1", 0.5, 2),
        "replica web-g1-0 of web is started again in 0.5 s, after 2 restarts: exit code 1",
    ),
    d.REPLICA_STOP: (
        ("web", "web-g1-0", "not wanted here any more"),
        "replica web-g1-0 of web is stopped: not wanted here any more",
    ),
    d.SUPPRESS: (
        (1500, 500, 900, 1500, "LC uses more: down at once"),
        ("BE's CPU was suppressed, from 1500m CPU to 500m CPU, with LC at 900m CPU and at 1500m "
        "CPU at its peak: LC uses more: down at once"),
    ),
    d.EVICT: (
        ("j1.0.1", "a1", 0, 64 * MIB, 1.5, 96 * MIB, 64 * MIB, False, (("j2.0.1", "holds no"),),
        "node a1 needs 96 MiB"),
        ("attempt j1.0.1 was evicted from a1: node a1 needs 96 MiB; it gives 64.0 MiB of the 96.0 "
        "MiB needed, all of BE gives 64.0 MiB; priority 0, 1.5 s of CPU time lost; j2.0.1: holds "
        "no"),
    ),
    d.ASSURE: (
        ("web", "a1", 133, Assessment(40, -0.25, -0.5, 100, 0, 33, True, "the first step up")),
        ("CPU per request of web on a1 went from 100m CPU to 133m CPU (declared 100m CPU): the "
        "first step up; slack -0.25 over 40 requests, -0.50 without the queue; saturated"),
    ),
}  # fmt: skip


def made(form: d.Form, number: int = 1) -> d.Decision:
    return (number, 1.5, form, *SAMPLES[form][0])


@pytest.mark.parametrize("form", d.FORMS, ids=lambda form: form.kind)
def test_each_form_is_a_line_of_json_and_a_sentence(form: d.Form) -> None:
    record = made(form)
    text = d.line(record)
    assert "\n" not in text
    found = json.loads(text)
    assert list(found) == ["v", "n", "at", "kind", *form.fields], "in this order"
    assert (found["v"], found["n"], found["at"], found["kind"]) == (d.FORMAT, 1, 1.5, form.kind)
    assert json.dumps(found, separators=(",", ":")) == text
    assert {name: found[name] for name in form.fields} == d.facts(record)
    assert sentence(record) == SAMPLES[form][1]
    assert said(form.kind, found) == SAMPLES[form][1], "of a line, too"


def test_names_of_forms_differ() -> None:
    assert len(d.FORMS) == len({form.kind for form in d.FORMS})
    assert set(d.FORMS) == set(SAMPLES)


def test_a_line_holds_the_grounds() -> None:
    found = json.loads(d.line(made(d.ROUTE)))
    assert found["route"]["rejected"] == [["a3", "no free slot"], ["a4", "no free slot"]]
    assert found["route"]["runner_up"] == ["a2", 0.5]
    assert found["demand"]["slack_s"] is None, "JSON has no infinity"
    assert found["offer"]["slots"] == [["api", 9], ["web", 3]]
    assert json.loads(d.line(made(d.REJECT)))["grounds"] == {
        "queued": 14, "room": 0, "busy": 2, "deadline_s": 0.1, "wait_s": 0.12,
        "service_s": 0.01, "margin_s": 0.003,
    }  # fmt: skip


def test_what_is_not_immutable_and_plain_has_no_place() -> None:
    with pytest.raises(TypeError, match="object has no place in a decision record"):
        d.line((1, 0.0, d.JOB_WAIT, "j1", object()))
    with pytest.raises(TypeError, match="set has no place in a decision record"):
        d.facts((1, 0.0, d.JOB_WAIT, "j1", {"x"}))
    with pytest.raises(ValueError, match="shorter"):
        d.line((1, 0.0, d.JOB_WAIT, "j1"))
    for nowhere in ((math.inf,), (("n", math.nan),), ({"x": -math.inf},), math.inf):
        assert "NaN" not in d.line((1, 0.0, d.JOB_WAIT, "j1", nowhere))
        assert "Infinity" not in d.line((1, 0.0, d.JOB_WAIT, "j1", nowhere))
    long = d.facts((1, 0.0, d.JOB_WAIT, "j1", "x" * 10_000))["why"]
    assert len(long) < 2100
    assert len(d.line((1, 0.0, d.JOB_WAIT, "j1", "x" * 10_000))) < 2200


def test_a_record_of_a_later_version_is_told_as_it_is() -> None:
    assert said("teleport", {"node": "a1"}) == "teleport: {'node': 'a1'}"


def test_a_job_is_found_by_its_attempts() -> None:
    assert d.is_about(made(d.ATTEMPT_ADMIT), "job", "j1")
    assert d.is_about(made(d.ATTEMPT_ADMIT), "node", "a1")
    assert d.is_about(made(d.JOB_PLACE), "job", "j1")
    assert not d.is_about(made(d.ATTEMPT_ADMIT), "job", "j1.0")
    assert not d.is_about(made(d.ATTEMPT_ADMIT), "request", "j1")
    assert not d.is_about((1, 0.0, d.ATTEMPT_START, "no attempt", 1, 1), "job", "no attempt")


def test_rings_are_bounded_and_apart() -> None:
    decisions = Decisions(3)
    decisions.record(d.JOB_WAIT, 1.0, "j1", "no room")
    for number in range(10):
        decisions.request(d.RETURN, 2.0 + number, f"r{number}", "web", "a1", "busy")
    assert decisions.last == 11
    assert [record[0] for record in decisions.since(0)] == [1, 9, 10, 11]
    assert [record[0] for record in decisions.since(10)] == [11]
    assert decisions.since(11) == []
    assert [record[3] for record in decisions.about("job", "j1")] == ["j1"]
    assert list(decisions.about("request", "r0")) == []
    assert [record[3] for record in decisions.requests_of("service", "web")] == ["r9", "r8", "r7"]
    oldest = decisions.forgotten("request")
    assert oldest is not None
    assert oldest[1] == 9.0
    assert decisions.forgotten("job") is None, "nothing was overwritten there"


def test_a_ring_of_none_keeps_nothing() -> None:
    decisions = Decisions(0)
    decisions.record(d.JOB_WAIT, 1.0, "j1", "no room")
    decisions.request(d.RETURN, 1.0, "r", "web", "a1", "busy")
    assert (decisions.last, decisions.since(0)) == (0, [])


def test_no_record_takes_a_spec_with_its_environment() -> None:
    spec = TaskSpec("t", ("work",), env=(("TOKEN", "secret"),))
    fields = {name for form in d.FORMS for name in form.fields}
    assert fields.isdisjoint({"spec", "env", "argv", "body", "headers"})
    parts = [part for parts, _ in SAMPLES.values() for part in parts]
    assert not any(isinstance(part, type(spec)) for part in parts)
