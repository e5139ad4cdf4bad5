"""The open-loop load: sends on time whatever happens, and accounts for every request."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from tango.model.cluster import NodeCapacity, NodeReport, NodeView, SideUsage
from tango.model.errors import Unavailable
from tango.model.job import JobRecord, JobState
from tango.model.request import CallReply, CallRequest, Code, Outcome
from tango.model.views import JobCounts, ServiceView
from tango.sdk.load import LoadRunner, ServiceLoad
from tango.workload.arrival import Arrival
from tango.workload.azure_llm import RowError

Answer = Callable[[CallRequest], CallReply]


def ok(request: CallRequest) -> CallReply:
    return CallReply(request.request_id, Outcome.COMPLETED, Code.OK, 200)


class Cluster:
    """Answers each request after delay_s; stands in for the edges' timing alone."""

    sites = ("site-a", "site-b")

    def __init__(self, delay_s: float = 0.0, answer: Answer = ok, breaks_after: int = 0) -> None:
        self.delay_s = delay_s
        self.answer = answer
        self.breaks_after = breaks_after
        self.got: list[tuple[str, CallRequest]] = []
        self.opened = 0
        self.cpu_s = 0.0

    def edge(self, name: str = "") -> Edge:
        return Edge(self, name)

    async def jobs(
        self, *states: JobState, limit: int = 0
    ) -> tuple[tuple[JobRecord, ...], JobCounts]:
        return (), JobCounts(pending=1, running=2, succeeded=len(self.got), cpu_s=0.5)

    @contextlib.asynccontextmanager
    async def calls(self, site: str = "") -> AsyncIterator[Stream]:
        self.opened += 1
        stream = Stream(self, site)
        try:
            yield stream
        finally:
            stream.end()


class Edge:
    def __init__(self, cluster: Cluster, site: str) -> None:
        self.cluster = cluster
        self.site = site

    async def nodes(self) -> tuple[NodeView, ...]:
        self.cluster.cpu_s += 0.25
        usage = SideUsage(cpu_s=self.cluster.cpu_s)
        report = NodeReport(f"{self.site}-1", time.time(), usage, SideUsage(cpu_s=7.0))
        capacity = NodeCapacity(500, 2**30)
        return (NodeView(f"{self.site}-1", self.site, True, capacity, report=report),)

    async def services(self) -> tuple[ServiceView, ...]:
        return ()


class Stream:
    def __init__(self, cluster: Cluster, site: str) -> None:
        self.cluster = cluster
        self.site = site
        self.waiting: dict[str, asyncio.Future[CallReply]] = {}
        self.broken = False

    def start(self, request: CallRequest) -> asyncio.Future[CallReply]:
        if self.broken:
            raise Unavailable("the edge closed the stream")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[CallReply] = loop.create_future()
        self.waiting[request.request_id] = future
        self.cluster.got.append((self.site, request))
        if self.cluster.delay_s < 60:
            loop.call_later(self.cluster.delay_s, self._reply, request)
        if len(self.cluster.got) == self.cluster.breaks_after:
            self.end()
        return future

    def _reply(self, request: CallRequest) -> None:
        future = self.waiting.pop(request.request_id, None)
        if future is not None:
            future.set_result(self.cluster.answer(request))

    def end(self) -> None:
        self.broken = True
        waiting, self.waiting = self.waiting, {}
        for request_id, future in waiting.items():
            future.set_result(
                CallReply(request_id, Outcome.FAILED, Code.UNAVAILABLE, error="it broke")
            )


def every(gap_s: float, count: int) -> Iterator[Arrival]:
    return (Arrival(number * gap_s) for number in range(count))


def load(
    arrivals: Iterator[Arrival], deadline_s: float = 5.0, timeout_s: float = 0.3, **options: object
) -> ServiceLoad:
    given = {"sites": ("site-a",), **options}
    return ServiceLoad("hello", arrivals, deadline_s, timeout_s=timeout_s, **given)  # type: ignore[arg-type]


async def test_never_waits_for_answers() -> None:
    cluster = Cluster(delay_s=0.25)
    runner = LoadRunner(cluster, [load(every(0.001, 100))])
    begun = time.monotonic()
    record = await runner.run()
    assert time.monotonic() - begun < 5.0  # one after the other would take 25 s
    assert runner.duration_s < 2.0
    counts = record.report(seed=1, duration_s=runner.duration_s).requests
    assert (counts.sent, counts.completed) == (100, 100)
    assert record.services["hello"].tally.latency.min_ms > 240


async def test_latency_counts_from_when_a_request_was_due() -> None:
    cluster = Cluster()
    stalled = []

    def stalling(request: CallRequest) -> CallReply:
        if not stalled:
            stalled.append(True)
            time.sleep(0.15)  # the client stands still, and 15 requests fall due meanwhile
        return ok(request)

    cluster.answer = stalling
    record = await LoadRunner(cluster, [load(every(0.01, 30), deadline_s=0.05)]).run()
    counts = record.services["hello"].tally.counts()
    assert counts.sent == 30
    assert counts.late >= 8
    assert record.services["hello"].tally.latency.max_ms > 140


async def test_the_client_judges_and_the_edge_says_why_not() -> None:
    numbers = itertools.count()
    replies = [
        (Outcome.LATE, Code.OK, 200, ""),  # the edge's word is not asked: it was in time here
        (Outcome.COMPLETED, Code.OK, 404, ""),
        (Outcome.FAILED, Code.OK, 503, ""),
        (Outcome.REJECTED, Code.RESOURCE_EXHAUSTED, 0, "predicted wait 12.5 ms is too long"),
        (Outcome.REJECTED, Code.RESOURCE_EXHAUSTED, 0, "predicted wait 99 ms is too long"),
        (Outcome.FAILED, Code.DEADLINE_EXCEEDED, 0, ""),
    ]

    def answer(request: CallRequest) -> CallReply:
        outcome, code, status, error = replies[next(numbers)]
        return CallReply(request.request_id, outcome, code, status, error=error)

    record = await LoadRunner(Cluster(answer=answer), [load(every(0.001, 6))]).run()
    service = record.services["hello"]
    counts = service.tally.counts()
    assert (counts.completed, counts.late, counts.rejected, counts.failed) == (1, 0, 2, 3)
    assert service.reasons == {
        "HTTP 404": 1,
        "HTTP 503": 1,
        "resource_exhausted: predicted wait ... ms is too long": 2,
        "deadline_exceeded": 1,
    }
    late = await LoadRunner(Cluster(0.03), [load(every(0.001, 5), deadline_s=0.01)]).run()
    assert late.services["hello"].tally.counts().late == 5


async def test_turns_over_sites_with_work_and_path_and_deadline() -> None:
    cluster = Cluster()
    arrivals = iter([Arrival(0.0), Arrival(0.0, 2.5), Arrival(0.001)])
    options: dict[str, object] = {"sites": cluster.sites, "path": "/burn", "own_deadline": True}
    await LoadRunner(cluster, [load(arrivals, 0.2, **options)]).run()
    assert [site for site, _ in cluster.got] == ["site-a", "site-b", "site-a"]
    requests = [request for _, request in cluster.got]
    assert [request.headers for request in requests] == [(), (("x-work", "2.5"),), ()]
    assert {(request.path, request.deadline_s) for request in requests} == {("/burn", 0.2)}
    assert len({request.request_id for request in requests}) == 3


async def test_beyond_the_bound_requests_fail_without_being_sent() -> None:
    cluster = Cluster(delay_s=0.1)
    runner = LoadRunner(cluster, [load(every(0.0, 50))], max_outstanding=20)
    counts = (await runner.run()).services["hello"].tally.counts()
    assert (counts.sent, counts.completed, counts.failed) == (50, 20, 30)
    assert len(cluster.got) == 20


async def test_a_broken_stream_is_made_again_and_its_requests_have_failed() -> None:
    cluster = Cluster(delay_s=0.02, breaks_after=10)
    record = await LoadRunner(cluster, [load(every(0.01, 50))]).run()
    counts = record.services["hello"].tally.counts()
    assert cluster.opened == 2
    assert counts.sent == counts.completed + counts.failed == 50
    assert counts.completed >= 10
    assert counts.failed >= 5
    assert "unavailable: it broke" in record.services["hello"].reasons


async def test_stopping_ends_all_that_was_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tango.sdk.load.STOPPED_DRAIN_S", 0.1)
    cluster = Cluster(delay_s=3600.0)
    runner = LoadRunner(cluster, [load(every(0.01, 10_000), timeout_s=30.0)], duration_s=100.0)
    asyncio.get_running_loop().call_later(0.3, runner.stop)
    begun = time.monotonic()
    record = await runner.run()
    assert time.monotonic() - begun < 10.0
    assert runner.stopped
    counts = record.report(seed=1, duration_s=runner.duration_s).requests
    assert counts.sent == counts.failed == len(cluster.got) > 5


async def test_arrivals_that_break_off_end_the_load_with_its_report() -> None:
    def broken() -> Iterator[Arrival]:
        yield from every(0.001, 5)
        raise RowError(7, "TIMESTAMP", "is no time", path="trace.csv")

    runner = LoadRunner(Cluster(), [load(broken())], duration_s=60.0)
    with pytest.raises(RowError, match=r"trace\.csv:7"):
        await runner.run()
    assert runner.record.report(seed=1, duration_s=1.0).requests.completed == 5


async def test_the_quiet_end_belongs_to_the_load_and_rows_are_seconds() -> None:
    cluster = Cluster(delay_s=0.01)
    seen: list[float] = []
    runner = LoadRunner(
        cluster,
        [load(every(0.05, 10))],
        duration_s=1.2,
        on_second=lambda record, at_s: seen.append(at_s),
    )
    record = await runner.run()
    assert runner.duration_s >= 1.2
    timeline = record.timeline("A run")
    assert seen[0] == 1.0
    assert timeline.rows[0].services["hello"].completed == 10
    assert timeline.rows[0].jobs.running == 2
    assert timeline.deadlines_ms == {"hello": 5000.0}
    report = record.report(seed=1, duration_s=runner.duration_s)
    assert set(report.nodes) == {"site-a-1", "site-b-1"}
    assert report.nodes["site-a-1"].lc_cpu_seconds > 0
    assert report.nodes["site-a-1"].be_cpu_seconds == 0
    assert (report.jobs.submitted, report.jobs.succeeded) == (13, 10)
