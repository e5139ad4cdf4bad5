"""What `explain` says of who called the replica for a request: the edge, a worker, or nobody."""

from __future__ import annotations

from edge_world import EdgeWorld, FakeWorker, service

from tango.daemons.edge.carriers import ITSELF, Carriers
from tango.model.explanation import Subject
from tango.model.messages import Dispatches
from tango.model.request import Code, RequestDone
from tango.model.settings import DecisionSettings

HERE = "boot/net:[1]"
WORKER = "The worker of n1 called the replica."


class Told:
    """A site on the edge's own machine, its shell's memory of who carried, and what is told."""

    def __init__(self) -> None:
        self.world = EdgeWorld(loopback=HERE)
        self.worker = FakeWorker(self.world, "n1", 4000, 2**32)
        self.worker.loopback = HERE
        self.worker.up()
        self.world.apply(service(concurrency=2, deadline_s=9.0, timeout_s=60.0, max_queue=1))
        self.worker.told(Dispatches)
        self.carriers = Carriers(DecisionSettings().ring)

    def call(self, *, stream: bool = False) -> str:
        request_id = self.world.call(stream=stream)
        self.world.advance(0.01)
        return request_id

    def answer(self, request_id: str, code: Code = Code.OK, *, ran: bool = True) -> None:
        """The replica that the edge called answers, or cannot be reached."""
        self.world.answer(request_id, code=code, ran=ran)
        self.carriers.ended(RequestDone(request_id, code, ran=ran))

    def __call__(self, name: str, subject: Subject = Subject.REQUEST, limit: int = 20) -> str:
        world = self.world
        (found,) = world.controller.explain(name, [subject], limit, world.now)
        told = self.carriers.told(found, world.controller.books).summary
        assert told.startswith(found.summary)
        return told.removeprefix(found.summary).strip()


def test_the_edge_or_the_worker_while_it_is_served_and_after_its_end() -> None:
    told = Told()
    direct, streamed = told.call(), told.call(stream=True)
    assert (told(direct), told(streamed)) == (ITSELF, WORKER)
    told.answer(direct)
    told.worker.done(streamed)
    assert (told(direct), told(streamed)) == (ITSELF, WORKER)
    assert told(direct, limit=1) == ITSELF, "also where few decisions are asked for"


def test_nobody_for_what_waits_is_rejected_or_is_no_request() -> None:
    told = Told()
    told.call(), told.call()
    waiting, refused = told.call(), told.call()
    assert told.world.replies[refused].error
    assert (told(waiting), told(refused)) == ("", "")
    assert told("hello", Subject.SERVICE) == ""


def test_the_worker_where_the_edge_did_not_reach_the_replica() -> None:
    told = Told()
    call = told.call()
    told.answer(call, Code.UNAVAILABLE, ran=False)
    assert call in told.worker.serving
    told.worker.done(call)
    assert told(call) == WORKER


def test_the_edge_where_a_timeout_came_before_its_connection_was_closed() -> None:
    told = Told()
    call = told.call()
    told.world.auto_abort = False
    told.world.advance(60.1)
    assert told.world.replies[call].code is Code.DEADLINE_EXCEEDED
    assert told(call) == ITSELF
