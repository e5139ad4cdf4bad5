"""What is written of simulations: the common report of one run, the comparison of several."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from simulated import NAME, gathered, outcome, result, run

from tango.cli import simulate_results
from tango.cli.charts import Chart, Dots
from tango.cli.simulate_charts import MOST_LINES, pictures
from tango.cli.simulate_html import page, write_html
from tango.cli.simulate_results import Results
from tango.cli.simulate_view import results_view
from tango.model.errors import InvalidField
from tango.sim.scenario_file import parse_change

COMMON = {
    "requests", "latency_ms", "services", "jobs", "nodes", "policies", "seed", "duration_s",
}  # fmt: skip
LOADS = tuple((parse_change(f"load={value}"),) for value in (0.5, 1.0, 1.5))


def shown(results: Results, width: int = 200) -> str:
    console = Console(file=StringIO(), width=width, highlight=False)
    console.print(results_view(results))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_one_run_is_the_common_report_exactly() -> None:
    results = gathered(run())
    assert results.to_dict() == outcome(ms=10, late=10).report.to_dict()
    assert set(results.to_dict()) == COMMON


def test_several_runs_are_reports_and_their_comparison() -> None:
    seeds = [run(variant, seed) for variant in ("a:b", "c:d") for seed in (1, 2, 3)]
    found = json.loads(json.dumps(gathered(*seeds).to_dict()))
    assert set(found) == {"runs", "comparison"}
    assert [(one["variant"], one["seed"]) for one in found["runs"]] == [
        (one.variant, one.seed) for one in seeds
    ]
    for one in found["runs"]:
        assert set(one) == COMMON | {"scenario", "point", "variant", "stopped"}
    (group,) = found["comparison"]["groups"]
    assert (group["scenario"], group["point"], group["reference"]) == (NAME, {}, "a:b")
    ours, theirs = group["variants"]
    assert ours["ratios"] == {}
    assert ours["figures"]["qos"] == {"mean": 0.9, "low": 0.9, "high": 0.9, "count": 3}
    assert theirs["ratios"]["qos"]["mean"] == pytest.approx(0.9 / 0.8)
    assert found["comparison"]["missing_runs"] == 0


def test_the_order_in_which_runs_end_does_not_matter() -> None:
    runs = [run(variant, seed) for variant in ("a:b", "c:d") for seed in (1, 2)]
    texts = []
    for order in ((0, 1, 2, 3), (3, 1, 0, 2)):
        results = Results(runs)
        for number in order:
            results.add(number, result(runs[number].seed))
        texts.append(json.dumps(results.to_dict()) + page(results, {}))
    assert texts[0] == texts[1]


def test_a_run_that_was_stopped_is_reported_and_compared_with_nothing() -> None:
    runs = [run("a:b"), run("c:d"), run("e:f")]
    results = Results(runs)
    results.add(0, result())
    results.add(1, result(stopped=True))
    found = results.to_dict()
    assert [one["stopped"] for one in found["runs"]] == [False, True]  # type: ignore[attr-defined]
    (compared,) = results.compared(results.groups[0])
    assert compared.variant == "a:b"
    assert results.missing == 2
    assert "2 of 3 runs were not made" in page(results, {})
    so_far = "made-up, c:d, seed 1, stopped: 100 requests, 90.0 % in time, 5 of 9 jobs succeeded"
    assert so_far in page(results, {})
    assert f"{so_far}, in the first 10 s that count" in shown(results)


def test_very_many_nodes_are_told_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulate_results, "MOST_NODES", 6)
    few = gathered(*(run(seed=seed) for seed in (1, 2, 3)), nodes=2).ended
    assert all(len(one.report.nodes) == 2 for one in few)
    many = gathered(*(run(seed=seed) for seed in (1, 2, 3)), nodes=3).ended
    assert all(set(one.report.nodes) == {"all"} for one in many)
    assert many[0].report.nodes["all"].lc_cpu_seconds == 9.0


def test_the_view_of_one_run() -> None:
    text = shown(gathered(run()))
    assert "made-up, nearest:most-free, seed 1: 10 s counted" in text
    assert re.search(r"web +25 ms +100 +90 \(90.0 %\) +10 ", text)
    assert re.search(r"n0 +71.0 % +30.0 % +41.0 %", text)
    assert "9.0 requests/s in time" in text


def test_the_view_of_many_nodes_shows_both_ends() -> None:
    text = shown(gathered(run(), nodes=40))
    assert text.count("71.0 %") == 16
    assert "the 8 busiest and the 8 idlest of 40 nodes" in text


@pytest.mark.parametrize("width", [200, 80])
def test_the_view_of_a_comparison_cuts_nothing(width: int) -> None:
    seeds = [run(variant, seed) for variant in ("a:b", "c:d") for seed in (1, 2)]
    text = shown(gathered(*seeds), width)
    assert "…" not in text
    assert "a:b over each, seed by seed:" in text
    if width == 200:
        assert re.search(r"a:b +2 +90.0 ±0.00 % ", text)
        assert re.search(r"/ c:d +1.125 \(1.125 to 1.125\) ", text)
    alone = shown(gathered(run("a:b"), run("c:d")))
    assert "±" not in alone
    assert "One seed" in alone


def test_nothing_that_ended_is_said() -> None:
    assert "nothing to compare" in shown(Results([run("a:b"), run("c:d")]))
    first = Results([run("a:b"), run("c:d")])
    first.add(0, result(stopped=True))
    assert "made-up, a:b, seed 1, stopped: 100 requests" in shown(first)
    assert "No run came to its end" in page(first, {})


# ---- pictures and the page


def test_one_run_is_drawn_over_time_with_its_gaps() -> None:
    drawn = pictures(gathered(run()))
    titles = [each.title for each in drawn]
    assert titles[0] == "Latency of LC requests"
    assert "CPU used" in titles
    cdf = drawn[0]
    assert isinstance(cdf, Chart)
    assert cdf.lines[0].ys[-1] == 1.0
    assert [rule.at for rule in cdf.rules] == [25.0]
    latency = next(each for each in drawn if each.title.startswith("Latency of answered"))
    assert isinstance(latency, Chart)
    assert latency.lines[2].ys[5] is None


def test_a_sweep_is_drawn_over_what_is_swept() -> None:
    runs = [run(v, seed, point) for point in LOADS for v in ("a:b", "c:d") for seed in (1, 2)]
    qos = pictures(gathered(*runs))[0]
    assert isinstance(qos, Chart)
    assert (qos.x_label, qos.title) == ("load", "QoS: LC requests answered in time")
    assert [line.name for line in qos.lines] == ["a:b", "c:d"]
    assert qos.lines[0].xs == (0.5, 1.0, 1.5)
    assert qos.lines[0].ys == (0.9, 0.9, 0.9)
    assert len(qos.lines[0].low) == 3


def test_many_variants_are_dots_and_the_first_few_lines() -> None:
    drawn = pictures(gathered(*(run(f"p{at}:b") for at in range(9))))
    dots = [each for each in drawn if isinstance(each, Dots)]
    assert all(len(each.dots) == 9 for each in dots)
    lines = [each for each in drawn if isinstance(each, Chart)]
    assert all(len(each.lines) == MOST_LINES for each in lines)
    assert all("The first 6 of 9 variants" in each.note for each in lines)


class Page(HTMLParser):
    """Fails where tags do not match; collects what a browser would fetch or run."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.fetched += [f"{name}={value}" for name, value in attrs if name in ("src", "href")]
        self.fetched += [name for name, _ in attrs if name.startswith("on")]
        if tag not in ("meta", "br", "wbr") and not (self.get_starttag_text() or "").endswith("/>"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    handle_startendtag = handle_starttag  # type: ignore[assignment]


@pytest.mark.parametrize(
    "runs",
    [
        [run()],
        [run(v, seed) for v in ("a:b", "<script>") for seed in (1, 2)],
        [run(v, seed, point) for point in LOADS for v in ("a:b", "c:d") for seed in (1, 2)],
    ],
    ids=["one", "several", "sweep"],
)
def test_the_page_needs_nothing_else_and_is_well_formed(runs: list, tmp_path: Path) -> None:
    results = gathered(*runs)
    path = tmp_path / "page.html"
    write_html(results, {"Scenario": "<b>&"}, path)
    assert list(tmp_path.iterdir()) == [path]
    text = path.read_text()
    found = Page()
    found.feed(text)
    assert not found.open
    assert not found.fetched
    assert not {"script", "link", "img", "iframe", "object"} & set(found.tags)
    assert "http" not in text
    assert "url(" not in text
    assert "@import" not in text
    assert "prefers-color-scheme:dark" in text
    svgs = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    assert sum("role='img'" in svg for svg in svgs) == len(pictures(results))
    for svg in svgs:
        ET.fromstring(svg)
        assert "nan" not in svg
        assert "inf" not in svg


def test_the_tables_need_no_more_columns_and_width_than_they_have_to() -> None:
    seeds = [run(variant, seed) for variant in ("a-long:name", "c:d") for seed in (1, 2)]
    text = page(gathered(*seeds), {})
    assert "<th>seeds</th>" not in text
    assert "2 seeds each." in text
    assert "a-long:<wbr>name" in text
    # Where they differ they are told row by row.
    results = Results(seeds)
    for number in (0, 1, 2):
        results.add(number, result(seeds[number].seed))
    assert "<th>seeds</th>" in page(results, {})


def test_a_page_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(InvalidField, match="cannot be written"):
        write_html(gathered(run()), {}, tmp_path / "nowhere" / "page.html")
