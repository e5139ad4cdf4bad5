"""Tasks that want to be near to a service: to its nearest ready replica, wherever that goes."""

from __future__ import annotations

import pytest
from central_bench import Bench, ended, running
from test_central_bounds import (
    RULE,
    TRIPS_A,
    TRIPS_B,
    again,
    at,
    job,
    place,
    reserved,
    submit,
    task,
)

from tango.controllers.central.bounds import OWN_UPDATE_S, SETTLE_S
from tango.model.cluster import NodeView
from tango.model.decision_text import sentence
from tango.model.errors import InvalidField
from tango.model.explanation import Subject
from tango.model.job import JobSpec, JobState, Near, TaskSpec
from tango.model.settings import DelaySettings

LINGER_S = DelaySettings().updates * OWN_UPDATE_S


def near(service: str = "web", ms: float = 3.0, *, backup: bool = False) -> JobSpec:
    spec = task(backup=backup, cpu=100)
    bound = Near(service=service, within_s=ms / 1000)
    return job(TaskSpec(spec.name, spec.argv, cpu_millis=100, near=bound, backup=backup))


def views(names: str, *hosts: str, service: str = "web", **more: object) -> list[NodeView]:
    return [
        at(name, services=(service,) if name in hosts else (), **more) for name in names.split()
    ]


def up(bench: Bench, *hosts: str) -> None:
    """Both sites, the service ready on these nodes, and long enough that all is known."""
    bench.edge_up(*views("a1 a2", *hosts), session=1, edge="a", trips=TRIPS_A)
    bench.edge_up(*views("b1", *hosts), session=2, edge="b", trips=TRIPS_B)
    bench.advance(SETTLE_S + 0.1)


def serving(*hosts: str) -> Bench:
    bench = Bench(bound_rule=RULE)
    up(bench, *hosts)
    return bench


def told(bench: Bench, *hosts: str, seconds: float = 1.0) -> None:
    """The sites tell their nodes for so long, with the service ready on these."""
    for _ in range(int(seconds)):
        bench.nodes(*views("a1 a2", *hosts), session=1, trips=TRIPS_A)
        bench.nodes(*views("b1", *hosts), session=2, trips=TRIPS_B)
        bench.advance(1.0)


def test_it_goes_to_where_the_nearest_replica_is() -> None:
    bench = serving("b1")
    submit(bench, "j1", near())
    assert place(bench) == "b/b1"
    # Of two hosts either will do; only a2 is not within 1 ms of one.
    bench = serving("b1", "a1")
    for number in range(6):
        submit(bench, f"j{number}", near(ms=1))
    assert {place(bench, f"j{number}") for number in range(6)} == {"a/a1", "b/b1"}
    # Within 3 ms of one of them is all, within 11 ms of b1 nothing of the other site.
    submit(bench, "all", near(ms=3))
    assert place(bench, "all") == "a/a2"


def test_explain_names_the_service_and_what_is_within_the_bound() -> None:
    bench = serving("a1")
    submit(bench, "j1", near())
    (found,) = bench.central.explain("j1", (Subject.JOB,), 10, bench.now)
    assert "to be within 3 ms of service web" in found.summary
    text = sentence(found.records[0])
    assert "within 3 ms of service web: a/a1 0.0 ms, a/a2 2.0 ms" in text
    assert "b/b1: delay: beyond 3 ms of service web" in text
    assert "~" not in text
    submit(bench, "j2", near())
    bound = near().tasks[0].near
    submit(bench, "huge", job(TaskSpec("main", ("true",), cpu_millis=1990, near=bound)))
    assert bench.job("huge").reason == (
        "waiting for room: none of 3 nodes will do: 1 beyond 3 ms of service web, 2 not enough CPU"
    )


def test_an_unknown_service_is_waited_for_and_the_nearest_name_is_told() -> None:
    bench = serving("a1")
    submit(bench, "j1", near("wep"))
    assert bench.state("j1") is JobState.PENDING
    assert bench.job("j1").reason == (
        "waiting for room: no service 'wep' has a ready replica; did you mean 'web'?"
    )
    submit(bench, "j2", near("other"))
    assert bench.job("j2").reason.endswith("no service 'other' has a ready replica")
    bench.nodes(*views("b1", "b1", service="wep"), session=2, trips=TRIPS_B)
    bench.advance(1.2)
    assert place(bench) == "b/b1"


def test_it_follows_the_replicas_but_not_at_once() -> None:
    bench = serving("a1")
    submit(bench, "j1", near())
    bench.status(running("j1.0.1"))
    assert place(bench)[0] == "a"
    told(bench, "b1", seconds=LINGER_S - 1)
    assert bench.stops() == []
    told(bench, "b1", seconds=3)
    assert bench.stops() == ["j1.0.1"]
    assert "it shall run within its bound again, on b/b1" in bench.job().tasks[0].evicting
    bench.status(ended("j1.0.1", None, signal=15))
    bench.advance(0.2)
    assert (place(bench), bench.job().tasks[0].failures) == ("b/b1", 0)


def test_a_replica_that_is_unready_for_a_moment_moves_nobody() -> None:
    bench = serving("a1", "b1")
    submit(bench, "j1", near(ms=0))
    bench.status(running("j1.0.1"))
    home = place(bench)
    other = "b1" if home == "a/a1" else "a1"
    for _ in range(4):
        told(bench, other, seconds=LINGER_S - 1)
        told(bench, "a1", "b1")
    assert bench.stops() == []
    told(bench, other, seconds=LINGER_S + 2)
    assert bench.stops() == ["j1.0.1"]


def test_where_no_replica_is_ready_any_more_it_stays_and_newcomers_wait() -> None:
    bench = serving("a1")
    submit(bench, "j1", near())
    bench.status(running("j1.0.1"))
    told(bench, seconds=20)
    assert bench.stops() == []
    assert bench.job().tasks[0].warning == ""
    submit(bench, "j2", near())
    assert bench.state("j2") is JobState.PENDING
    assert bench.job("j2").reason.endswith("no service 'web' has a ready replica")


def test_what_is_away_counts_on_and_what_is_dead_does_not() -> None:
    bench = serving("a1", "b1")
    submit(bench, "j1", near(ms=0))
    bench.status(running("j1.0.1"))
    home = place(bench)
    session, names = (1, "a1 a2") if home == "a/a1" else (2, "b1")
    trips = TRIPS_A if session == 1 else TRIPS_B
    for _ in range(10):
        away = [at(name, ready=f"{home[0]}/{name}" != home, services=()) for name in names.split()]
        bench.nodes(*away, session=session, trips=trips)
        bench.advance(1.0)
    assert bench.stops() == []
    bench.edge_down(session)
    bench.advance(20.0)
    assert bench.stops() == []


def test_its_backup_is_near_to_the_service_too() -> None:
    bench = serving("a1")
    submit(bench, "j1", near(backup=True))
    assert {place(bench), bench.job().tasks[0].backup} == {"a/a1", "a/a2"}
    assert reserved(bench) == {bench.job().tasks[0].backup: 128}
    # No second node is within 1 ms of a1.
    submit(bench, "j2", near(ms=1, backup=True))
    assert "unprotected: no other node within its bound" in bench.job("j2").tasks[0].warning


def test_a_restart_of_the_central_master_moves_nobody_before_all_is_known() -> None:
    bench = serving("a1", "b1")
    submit(bench, "j1", near(ms=3))
    bench.status(running("j1.0.1"))
    home = place(bench)
    assert home[0] in "ab"
    late = again(bench)
    far = ("b", 2, TRIPS_B, "b1") if home[0] == "a" else ("a", 1, TRIPS_A, "a1 a2")
    # First the other site dials in, and the one with the task and its service much later.
    late.edge_up(*views(far[3], "a1", "b1"), session=far[1], edge=far[0], trips=far[2])
    late.advance(SETTLE_S - 2)
    own = ("a", 1, TRIPS_A, "a1 a2") if home[0] == "a" else ("b", 2, TRIPS_B, "b1")
    attempts = (running("j1.0.1"),)
    late.edge_up(
        *views(own[3]), session=own[1], edge=own[0], trips=own[2], attempts=attempts
    )  # its replica is not heard of yet
    late.advance(2.0)
    assert late.stops() == []
    late.nodes(*views(own[3], "a1", "b1"), session=own[1], trips=own[2])
    late.advance(SETTLE_S + 2)
    assert late.stops() == []


@pytest.mark.parametrize(
    ("bound", "field", "problem"),
    [
        (Near(service="web", node="a1"), "near", "names both a node and a service"),
        (Near(service="web", task="t"), "near", "names both a task and a service"),
        (Near(), "near", "names nothing to be near to"),
        (Near(service="We b", within_s=1.0), "near.service", "'We b' is not a valid name"),
        (Near(service="web", within_s=-1.0), "near.within_ms", "-1000 is out of range"),
    ],
)
def test_bad_bounds_are_refused_with_their_field(bound: Near, field: str, problem: str) -> None:
    with pytest.raises(InvalidField) as caught:
        job(TaskSpec("main", ("true",), near=bound)).validate()
    assert (caught.value.field, caught.value.problem) == (f"tasks[0].{field}", problem)
