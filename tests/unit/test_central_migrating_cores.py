"""Tasks with whole cores migrate: pinned to their new cores, the old ones free, and back again."""

from __future__ import annotations

from dataclasses import replace

from central_bench import Bench, ended, running
from cores_bench import asks, bench, free, named, placed, worker

from tango.model.cluster import NodeView
from tango.model.errors import FailedPrecondition
from tango.model.job import AttemptStatus, Checkpoint
from tango.model.messages import StartAttempt

DONE = Checkpoint("j.0.1", "sha256:1", 4096)


def able(name: str, count: int) -> NodeView:
    return worker(name, count, checkpoints=True)


def at_work() -> Bench:
    """j has cores 0 and 1 of w1, other core 0 of w2."""
    central = bench("first-fit", able("w1", 2), able("w2", 4))
    central.submit("j", asks(2))
    central.status(running("j.0.1"))
    central.advance(0.2)
    central.submit("other", named("w2", cores=1))
    central.advance(0.2)
    central.status(running("other.0.1"))
    assert (placed(central, "j"), placed(central, "other")) == ([("w1", (0, 1))], [("w2", (0,))])
    return central


def checkpointed() -> AttemptStatus:
    return replace(ended("j.0.1", None, signal=9), checkpoint=DONE)


def mask(central: Bench, name: str) -> int:
    offer = free(central, name)
    return 0 if offer is None else offer[0]


def test_it_is_pinned_to_its_new_cores_and_its_old_ones_are_free() -> None:
    central = at_work()
    central.migrate("j", "w2")
    # Nobody else gets them meanwhile.
    assert mask(central, "w2") == 0b1000
    central.submit("late", named("w2", (1,)))
    central.advance(0.2)
    assert placed(central, "late") == [("", ())]
    central.status(checkpointed())
    assert placed(central, "j") == [("w2", (1, 2))]
    start = [one for _, one in central.sent if isinstance(one, StartAttempt)][-1]
    assert (start.node, start.cores) == ("w2", (1, 2))
    assert start.restore == replace(DONE, edge="e1", node="w1")
    central.status(running("j.0.2"))
    assert (mask(central, "w1"), mask(central, "w2")) == (0b11, 0b1000)
    central.status(ended("j.0.2"))
    central.advance(0.2)
    assert placed(central, "late") == [("w2", (1,))]


def test_where_the_target_fails_it_goes_back_to_its_cores() -> None:
    central = at_work()
    central.migrate("j", "w2")
    central.status(checkpointed())
    central.refuse("j.0.2")
    assert placed(central, "j") == [("w1", (0, 1))]
    assert (mask(central, "w1"), mask(central, "w2")) == (0, 0b1110)


def test_where_its_cores_are_taken_meanwhile_its_state_is_lost() -> None:
    central = at_work()
    central.migrate("j", "w2")
    central.status(checkpointed())
    central.submit("thief", named("w1", (1,)))
    central.advance(0.2)
    assert placed(central, "thief") == [("w1", (1,))]
    central.refuse("j.0.2")
    assert "its cores at the source are taken" in central.job("j").tasks[0].moved
    central.advance(0.2)
    assert placed(central, "j") == [("w2", (1, 2))]


def test_it_goes_nowhere_without_the_cores_or_against_its_word() -> None:
    central = at_work()
    central.submit("big", named("w2", cores=2))
    central.advance(0.2)
    central.status(running("big.0.1"))
    error = central.answers[central.migrate("j", "w2")].error
    assert isinstance(error, FailedPrecondition)
    assert "2 cores are needed" in str(error) or "CPU" in str(error)
    error = central.answers[central.migrate("other", "w1")].error
    assert isinstance(error, FailedPrecondition)
    assert "names node w2" in str(error)


def test_kept_cores_outlive_a_restart() -> None:
    central = at_work()
    central.migrate("j", "w2")
    again = Bench(central.disk, policy=central.policy, incarnation=2)
    again.edge_up(able("w1", 2), able("w2", 4), attempts=(running("j.0.1"), running("other.0.1")))
    assert mask(again, "w2") == 0b1000
    again.status(checkpointed())
    assert placed(again, "j") == [("w2", (1, 2))]
