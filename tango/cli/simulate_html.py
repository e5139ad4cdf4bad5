"""A simulation's report as one HTML page that needs nothing else: no script, font or network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

from tango import __version__
from tango.cli.charts_svg import colour_rules, picture
from tango.cli.report_view import milliseconds, share
from tango.cli.simulate_charts import group_words, pictures
from tango.cli.simulate_results import Ended, Group, Results
from tango.cli.simulate_view import COLUMNS, RATIOS, figure_words, ratio_words
from tango.cli.whole_file import whole_file
from tango.model.units import format_count
from tango.workload.comparison import BY_NAME
from tango.workload.latency import LatencySummary
from tango.workload.report import RequestCounts

SHOWN_NODES = 64
_STYLE = """
:root{--page:#fff;--ink:#1b1f24;--soft:#57606a;--line:#d8dee4;--tile:#f6f8fa}
@media(prefers-color-scheme:dark){:root{--page:#14171b;--ink:#e6e9ed;--soft:#9aa4af;
--line:#343b44;--tile:#1d2228}}
*{box-sizing:border-box}
body{margin:0 auto;padding:2rem 1.25rem 4rem;max-width:60rem;background:var(--page);
color:var(--ink);font:15px/1.5 system-ui,sans-serif}
h1{font-size:1.6rem;margin:0}h2{font-size:1.2rem;margin:2.2rem 0 .6rem}
p{margin:.4rem 0}.soft,.note{color:var(--soft)}.note{font-size:.85rem;margin:.2rem 0 0}
.warn{border-left:4px solid var(--c1);padding:.3rem .8rem;background:var(--tile)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(9.5rem,1fr));gap:.7rem;
margin:1.2rem 0}
.tile{background:var(--tile);border-radius:6px;padding:.7rem .9rem}
.tile b{display:block;font-size:1.5rem;line-height:1.25}.tile span{color:var(--soft);
font-size:.85rem}
.wide{overflow-x:auto}
table{border-collapse:collapse;font-size:.88rem;font-variant-numeric:tabular-nums;width:100%}
th,td{padding:.3rem .45rem;border-bottom:1px solid var(--line);text-align:right;
white-space:nowrap}
th{color:var(--soft);font-weight:600;white-space:normal;vertical-align:bottom}
th:first-child,td:first-child{text-align:left;white-space:normal;min-width:8.5em;
position:sticky;left:0;background:var(--page);padding-left:0}
tr.reference td{font-weight:600}
td small{display:block;color:var(--soft);font-weight:400;font-size:.8rem;line-height:1.2}
figure{margin:1.6rem 0}figcaption{font-weight:600;margin-bottom:.25rem}
svg{display:block;width:100%;height:auto;font:12px system-ui,sans-serif}
svg text{fill:var(--ink)}svg .small{font-size:11px}svg .label{fill:var(--soft)}
svg .end{text-anchor:end}svg .mid{text-anchor:middle}
.grid{stroke:var(--line);stroke-width:1}.curve,.bar,.rule,.outline{fill:none;stroke-width:1.8}
.bar{stroke-width:1.3}.rule{stroke-width:1.3;stroke-dasharray:4 3}
.area{opacity:.75}.outline{stroke-width:1.5}
.legend{list-style:none;display:flex;flex-wrap:wrap;gap:.1rem 1.1rem;margin:0;padding:0;
font-size:.85rem}
.legend .mark{display:inline-block;width:36px;height:8px;margin-right:.4em;vertical-align:middle}
.legend .mark.area{width:1.1em;height:.8em}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.15rem 1.2rem;margin:0}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
@media print{body{max-width:none}figure{break-inside:avoid}}
"""


def write_html(results: Results, facts: Mapping[str, str], path: Path) -> None:
    """The page; the file is there whole or not at all. facts: what was run, for the last section.

    Raises InvalidField where it cannot be written.
    """
    with whole_file(path, "html") as part:
        part.write_text(page(results, facts), encoding="utf-8")


def page(results: Results, facts: Mapping[str, str]) -> str:
    """The whole page as text."""
    title = f"Tango simulation: {', '.join(dict.fromkeys(name for name, _ in results.groups))}"
    single = results.single
    parts = [f"<h1>{escape(title)}</h1>", _lead(results), _warnings(results)]
    if single is not None:
        parts += [_tiles(single), "<h2>Services</h2>", _services(results, single)]
    else:
        for group in results.groups:
            parts.append(_comparison(results, group))
    drawn = [picture(each) for each in pictures(results)]
    parts += ["<h2>Pictures</h2>", *drawn]
    if single is not None:
        parts += ["<h2>Nodes</h2>", _nodes(single)]
    parts += ["<h2>What was run</h2>", _facts(facts), _reading()]
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width,initial-scale=1'>"
        "<meta name='color-scheme' content='light dark'>"
        f"<title>{escape(title)}</title><style>{_STYLE}{colour_rules()}</style></head>"
        f"<body>{''.join(parts)}</body></html>\n"
    )


def _lead(results: Results) -> str:
    if results.single is not None:
        run, report = results.single.run, results.single.report
        words = (
            f"{run}; {report.duration_s:g} s of load counted, {report.requests.sent:,} requests, "
            f"{format_count(len(report.nodes), 'node')}."
        )
    else:
        most = max(len(results.variants(group)) for group in results.groups)
        seeds = len({run.seed for run in results.runs})
        counts = ((most, "variant"), (len(results.groups), "point"), (seeds, "seed"))
        parts = [f"{count:,} {what}{'s' if count > 1 else ''}" for count, what in counts]
        words = f"{len(results.runs):,} runs: {', '.join(parts)}."
    return f"<p class='soft'>{escape(words)}</p>"


def _warnings(results: Results) -> str:
    found = [*results.warnings, *results.notes]
    if results.single is not None and results.single.stopped:
        found.append("The run was ended before its time: these are its figures so far.")
    elif results.single is None and results.missing:
        found.append(
            f"{results.missing} of {len(results.runs)} runs were not made, or not to their end: "
            "they are in no figure here."
        )
        found += results.stopped
    found += [f"{each.run}: {problem}" for each in results.ended for problem in each.problems[:3]]
    return "".join(f"<p class='warn'>{escape(line)}</p>" for line in found)


def _tiles(ended: Ended) -> str:
    report, figures = ended.report, ended.figures
    latency = report.latency_ms
    tiles = [
        (share(report.requests.completed, report.requests.sent), "of LC requests in time"),
        (f"{figures.get('requests_per_s', 0.0):,.1f} /s", "LC requests in time"),
        (milliseconds(latency.p50), "median latency"),
        (milliseconds(latency.p95), "95 % answered within"),
        (milliseconds(latency.p99), "99 % answered within"),
        (f"{100 * figures.get('utilisation', 0.0):.1f} %", "of all CPU used"),
        (f"{100 * figures.get('be_utilisation', 0.0):.1f} %", "of all CPU used by BE"),
        (f"{report.jobs.succeeded:,} of {report.jobs.submitted:,}", "BE jobs succeeded"),
    ]
    made = (f"<div class='tile'><b>{escape(b)}</b><span>{escape(s)}</span></div>" for b, s in tiles)
    return f"<div class='tiles'>{''.join(made)}</div>"


def _services(results: Results, ended: Ended) -> str:
    rows = [
        (name, f"{deadline_ms:g} ms", *_fates(each.requests), *_latencies(each.latency_ms))
        for name, deadline_ms in results.deadlines_ms[ended.run.scenario]
        for each in (ended.report.services[name],)
    ]
    head = (
        "service", "deadline", "sent", "in time", "late", "rejected", "failed", "p50", "p95", "p99",
        "slowest",
    )  # fmt: skip
    jobs = ended.report.jobs
    words = (
        f"Batch jobs: {jobs.submitted:,} in all, {jobs.succeeded:,} succeeded, {jobs.failed:,} "
        f"failed; {jobs.evictions:,} evictions; {jobs.cpu_seconds:,.0f} CPU seconds used."
    )
    return _table(head, rows) + f"<p>{escape(words)}</p>"


def _fates(counts: RequestCounts) -> tuple[str, ...]:
    completed = f"{counts.completed:,} ({share(counts.completed, counts.sent)})"
    return (
        f"{counts.sent:,}", completed, f"{counts.late:,}", f"{counts.rejected:,}",
        f"{counts.failed:,}",
    )  # fmt: skip


def _latencies(latency: LatencySummary) -> tuple[str, ...]:
    return tuple(milliseconds(v) for v in (latency.p50, latency.p95, latency.p99, latency.max))


def _comparison(results: Results, group: Group) -> str:
    compared = results.compared(group)
    title = f"<h2>{escape(group_words(group))}</h2>"
    if not compared:
        return f"{title}<p>No run came to its end.</p>"
    # The same number in all rows is no column.
    counts = {len(each.seeds) for each in compared}
    seeds = ("seeds",) if len(counts) > 1 else ()
    head = ("policies (LC:BE)", *seeds, *(_heading(name) for name, _ in COLUMNS))
    rows = [
        (
            each.variant,
            *(str(len(each.seeds)) for _ in seeds),
            *(
                figure_words(name, each.figures[name]) if name in each.figures else "-"
                for name, _ in COLUMNS
            ),
        )
        for each in compared
    ]
    found = title + _table(head, rows, reference=True)
    if not seeds:
        many = f"{max(counts)} seeds each" if max(counts) > 1 else "One seed each"
        found += f"<p class='note'>{many}. The first row is the reference.</p>"
    others = [each for each in compared if each.ratios]
    if others:
        words = f"{results.reference(group)} over each of the others, seed by seed:"
        ratios = [
            (f"/ {each.variant}", *(ratio_words(each.ratios.get(name)) for name, _ in RATIOS))
            for each in others
        ]
        ratio_head = ("", *(_heading(name) for name, _ in RATIOS))
        found += f"<p>{escape(words)}</p>{_table(ratio_head, ratios)}"
    return found


def _heading(name: str) -> str:
    short = {
        "qos": "in time", "requests_per_s": "in time /s", "utilisation": "CPU",
        "lc_utilisation": "LC CPU", "be_utilisation": "BE CPU", "jobs_per_min": "jobs /min",
        "p95_ms": "p95 ms", "p99_ms": "p99 ms",
    }  # fmt: skip
    return short.get(name, BY_NAME[name].words)


def _nodes(ended: Ended) -> str:
    ranked = sorted(
        ended.report.nodes.items(), key=lambda each: (-each[1].cpu_utilisation, each[0])
    )
    rows = [
        (name, f"{100 * node.cpu_utilisation:.1f} %", f"{node.lc_cpu_seconds:,.1f} s",
         f"{node.be_cpu_seconds:,.1f} s")
        for name, node in ranked[:SHOWN_NODES]
    ]  # fmt: skip
    left = len(ranked) - len(rows)
    more = f"<p class='note'>The busiest {len(rows)} of {len(ranked):,}.</p>" if left else ""
    return _table(("node", "CPU used", "by services", "by batch jobs"), rows) + more


def _facts(facts: Mapping[str, str]) -> str:
    found = {**facts, "Tango": __version__}
    rows = (f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in found.items())
    return f"<dl>{''.join(rows)}</dl>"


def _reading() -> str:
    return (
        "<h2>How to read this</h2>"
        "<p>Simulated: the controllers and policies are those of Tango's daemons; what requests "
        "cost, delays of the network and times of the control plane are the scenario's, not "
        "measured here. LC: latency-critical services; BE: best-effort batch jobs.</p>"
        "<p>A request is in time if its answer is back within its deadline after it was due, at "
        "its user. Late, rejected and failed ones all miss their QoS.</p>"
        "<p>± is half of the 95 % interval of the mean over seeds (Student's t). Ratios are "
        "geometric means over pairs of runs with the same seed; one whose interval holds 1 is no "
        "difference.</p>"
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], *, reference: bool = False) -> str:
    """reference: the first row is what the others are compared with."""
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = []
    for at, row in enumerate(rows):
        cells = "".join(f"<td>{_cell(cell)}</td>" for cell in row)
        body.append(f"<tr class='reference'>{cells}</tr>" if reference and not at else
                    f"<tr>{cells}</tr>")  # fmt: skip
    return f"<div class='wide'><table><tr>{top}</tr>{''.join(body)}</table></div>"


def _cell(text: str) -> str:
    """An interval stands below its mean, so that many columns fit."""
    mean, mark, interval = text.partition(" ±")
    if mark:
        number, _, unit = interval.partition(" ")
        return f"{escape(f'{mean} {unit}'.strip())}<small>±{escape(number)}</small>"
    mean, mark, interval = text.partition(" (")
    if mark and " to " in interval:
        return f"{escape(mean)}<small>{escape(interval.rstrip(')'))}</small>"
    # A pairing may go on in the next line.
    return escape(text).replace(":", ":<wbr>")
