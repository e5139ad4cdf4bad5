"""The demo's plan for machines of any size, its verdict, and the pages that users read."""

from __future__ import annotations

import io
import random
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

from tango.cli.demo_machine import MachineCpu, machine_cpu
from tango.cli.demo_plan import default_policies, demo_job, demo_loads, demo_plan, demo_trace
from tango.cli.demo_view import demo_view, shortcomings
from tango.cli.panels import Panels
from tango.cli.progress import Progress
from tango.cli.report_view import load_view, write_report
from tango.cli.whole_file import check_place
from tango.model.cluster import Enforcement, NodeCapacity, NodeReport, NodeView, SideUsage
from tango.model.errors import InvalidField
from tango.model.request import Outcome
from tango.model.service import ServiceSpec
from tango.model.views import JobCounts, RequestCounts, ServiceView
from tango.sdk.embedded_plan import EmbeddedPlan, plan_nodes
from tango.sdk.load_record import RunRecord
from tango.sdk.observe import ClusterSnapshot, ServiceRate
from tango.workload.latency import LatencySummary
from tango.workload.report import Report
from tango.workload.timeline import NodeSecond


def machine(cores: int, reserve_millis: int = 700) -> EmbeddedPlan:
    return plan_nodes(
        sites=2,
        workers_per_site=1,
        cores=range(cores),
        memory_bytes=2**33,
        reserve_millis=reserve_millis,
    )


def text_of(view: RenderableType, width: int = 120) -> str:
    console = Console(width=width, highlight=False)
    with console.capture() as capture:
        console.print(view)
    return capture.get()


@pytest.mark.parametrize("cores", [1, 2, 4, 16, 64])
def test_the_plan_fits_machines_of_any_size(cores: int) -> None:
    cluster = machine(cores)
    plan = demo_plan(cluster)
    smallest = min(node.cpu_millis for node in cluster.nodes)
    held = 0
    for spec in plan.services:
        spec.validate()
        held += spec.replicas * spec.concurrency * spec.cpu_per_request_millis
    assert held <= smallest  # all replicas may serve at the same time
    slots = smallest // plan.task_cpu_millis
    assert slots >= 5
    assert plan.jobs_open > 2 * slots - 1
    assert 0 < plan.rates_per_s[1] < plan.rates_per_s[0] <= 150
    job = demo_job(1, plan.task_cpu_millis, random.Random(1))
    job.validate()
    assert Path(job.tasks[0].argv[0]).is_absolute()


def test_the_same_seed_gives_the_same_load_and_jobs() -> None:
    plan = demo_plan(machine(2))

    def times(seed: int) -> list[list[float]]:
        loads = demo_loads(plan, ("site-a", "site-b"), 20.0, seed, None)
        return [[arrival.at_s for arrival in load.arrivals] for load in loads]

    assert times(1) == times(1) != times(2)
    assert demo_job(3, 100, random.Random(5)) == demo_job(3, 100, random.Random(5))
    assert default_policies() == {"traffic": "least-loaded", "batch": "most-free"}


def test_a_trace_is_brought_to_the_rate_or_to_the_duration(tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    rows = [f"2023-11-16 18:{i // 60:02}:{i % 60:02}.0,374,44" for i in range(600)]
    trace.write_text("\n".join(["TIMESTAMP,ContextTokens,GeneratedTokens", *rows]))
    assert demo_trace(trace, 10.0, 30.0).speed_up == pytest.approx(10.0, rel=0.01)
    assert demo_trace(trace, 100.0, 30.0).speed_up == pytest.approx(20.0, rel=0.01)
    plan = demo_plan(machine(2))
    replay = demo_trace(trace, 10.0, 30.0)
    heavy = list(demo_loads(plan, ("site-a",), 30.0, 1, replay)[1].arrivals)
    assert len(heavy) == pytest.approx(300, abs=3)
    trace.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\nnever,1,2\n")
    with pytest.raises(InvalidField, match=r"trace\.csv:2: TIMESTAMP"):
        demo_trace(trace, 10.0, 30.0)


def a_record(*, be_cpu_s: float = 30.0, succeeded: int = 12) -> RunRecord:
    record = RunRecord({"light": 50.0, "heavy": 150.0})
    for number, at_s in enumerate((0.0, 60.0)):
        usage = SideUsage(cpu_s=12.0 * number), SideUsage(cpu_s=be_cpu_s * number)
        node = NodeView(
            "a1", "site-a", True, NodeCapacity(650, 2**30), Enforcement.CGROUP,
            report=NodeReport("a1", at_s, *usage),
        )  # fmt: skip
        jobs = JobCounts(running=1, succeeded=succeeded * number, cpu_s=20.0 * number)
        record.see(ClusterSnapshot(at_s, (node,), (), jobs))
    for name, outcome in (
        ("light", Outcome.COMPLETED),
        ("heavy", Outcome.COMPLETED),
        ("heavy", Outcome.LATE),
    ):
        record.services[name].send()
        record.services[name].end(outcome, 12.0)
    record.services["heavy"].send()
    record.services["heavy"].end(Outcome.REJECTED, reason="resource_exhausted: it would be late")
    return record


def a_report(record: RunRecord) -> Report:
    return record.report(seed=1, duration_s=60.0, policies=default_policies())


def test_the_verdict_names_what_the_demo_did_not_show() -> None:
    assert shortcomings(a_report(a_record()), "") == []
    poor = a_report(a_record(be_cpu_s=0.0, succeeded=0))
    assert shortcomings(poor, "no room") == [
        "no batch job succeeded (no room)",
        "batch jobs used no CPU on node a1",
    ]


def test_the_last_page_says_what_was_seen() -> None:
    record = a_record()
    now = machine_cpu(7.0)
    page = text_of(demo_view(a_report(record), record, now.since(now)))
    assert "quiet" not in page
    busy = text_of(demo_view(a_report(record), record, MachineCpu(100.0, 5.0, 3.0, 5.0)))
    assert "Other programs took 47.6 % of this machine" in " ".join(busy.split())
    assert "heavy" in page
    assert "150 ms" in page
    assert "50.0 % of 4 requests" in " ".join(page.split())
    assert "12 succeeded" in page
    assert "108 %" not in page  # (12 + 30) s of 39 s is 107.7 %
    assert "107.7 %" in page
    assert "by weight" in page
    assert "1 x resource_exhausted: it would be late" in page
    loaded = text_of(load_view(a_report(record), record, "site-a"))
    assert "answered within the deadline" in loaded
    assert "refused at once" in loaded


def test_pictures_fit_and_name_what_is_away() -> None:
    spec = ServiceSpec("light", ("light",), replicas=2)
    view = ServiceView(spec, 1, "site-a", (), 1, 3, 2, RequestCounts(10, 9, 1), 2.25)
    nodes = (
        NodeView("a1", "site-a", True, NodeCapacity(650, 2**30)),
        NodeView("b1", "site-b", False, NodeCapacity(650, 2**30)),
    )
    away = {"site-c": "nothing answers at 127.0.0.1:7: connection refused"}
    snapshot = ClusterSnapshot(1.0, nodes, (view,), JobCounts(pending=4), away)
    rates = {("site-a", "light"): ServiceRate(12.0, 0.5)}
    cpu = {"a1": NodeSecond(325.0, 650.0, 650)}
    for encoding, width in (("utf-8", 120), ("ascii", 120), ("utf-8", 80)):
        console = Console(
            file=io.TextIOWrapper(io.BytesIO(), encoding), width=width, highlight=False
        )
        with console.capture() as capture:
            latencies = {"light": LatencySummary(123.4, 1000.0, 1234.0, 1300.0)}
            for measured in (None, latencies):
                console.print(Panels(console).draw("now", snapshot, cpu, rates, measured))
        page = capture.get()
        assert ("#" * 8 + "=" * 16 in page) == page.isascii() == (encoding == "ascii")
        for words in (
            "150 %",
            "1,234 ms",
            "12.0/s",
            "50.0 %",
            "1/2",
            "4 waiting",
            "AWAY  site-c",
            "not conn",
        ):
            assert words in page
        assert ("DEADLINE" in page) == (width == 120)
        assert "\u2026" not in page  # nothing is cut
        assert max(map(len, page.splitlines())) <= width


def test_progress_is_a_plain_line_now_and_then_where_no_terminal_is() -> None:
    console = Console(width=40, force_terminal=False, record=True, file=io.StringIO())
    with Progress(console) as progress:
        for second in range(1, 13):
            progress.show(float(second), "view", f"line at {second}")
    assert console.export_text() == "line at 5\nline at 10\n"


def test_reports_are_written_whole_or_refused_before(tmp_path: Path) -> None:
    report = a_report(a_record())
    write_report(report, tmp_path / "run.json")
    assert '"sent": 4' in (tmp_path / "run.json").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]
    for bad in (tmp_path, tmp_path / "none" / "run.json"):
        with pytest.raises(InvalidField, match="report"):
            check_place(bad, "report")
