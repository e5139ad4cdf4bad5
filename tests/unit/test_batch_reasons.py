"""Why a gang waits: a node that it names and that takes nothing is not said to be full."""

from __future__ import annotations

from tango.algorithms.batch.first_fit import FirstFit
from tango.model.plan import BatchOffer, BatchSnapshot, BatchTask, Gang

MIB = 2**20


def reason(node: str, cpu_millis: int) -> str:
    task = BatchTask("j", 0, cpu_millis, 64 * MIB, node=node)
    offer = BatchOffer("e", "n1", 1000, 512 * MIB)
    (unplaced,) = FirstFit().place(BatchSnapshot((Gang("j", 0, (task,)),), (offer,))).unplaced
    return unplaced.reason


def test_a_named_node_that_is_full_is_told_from_one_that_takes_nothing() -> None:
    assert reason("n1", 2000) == "node n1 has not 2 CPU and 64.0 MiB free"
    away = "node n2 takes nothing now: it is away, dead, cordoned or draining"
    assert reason("n2", 100) == away
    assert reason("", 2000) == "no node has 2 CPU and 64.0 MiB free"
