"""The pictures of a simulation: of one run over its time, of several side by side, of a sweep."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tango.cli.charts import COLOURS, GREY, Chart, Dot, Dots, Line, Picture, Rule
from tango.cli.simulate_results import Group, Results
from tango.sim.tally import Interval as Piece
from tango.workload.comparison import BY_NAME, Compared, Figure

MOST_LINES = 6
MOST_GROUPS = 4
SHOWN = ("qos", "requests_per_s", "utilisation", "jobs_per_min", "p95_ms")
_TIME = "time since the start of the load (s)"
_IN_TIME, _LATE, _REJECTED, _FAILED, _SENT = 2, 4, 3, 1, 7
_LC, _BE = 0, GREY
_RANKS = (
    *range(1, 90), *(90 + 0.5 * step for step in range(18)),
    *(99 + 0.1 * step for step in range(9)), 99.9, 99.95, 99.99, 100,
)  # fmt: skip


def pictures(results: Results) -> tuple[Picture, ...]:
    """All that there is to draw, in the order in which a reader wants it."""
    groups = results.groups
    if results.single is not None:
        return _of_one(results, groups[0])
    swept = _swept(results)
    if swept is not None:
        found: list[Picture] = list(swept)
        if len(groups) <= MOST_GROUPS:
            found += [_cdf(results, group) for group in groups]
        return tuple(found)
    found = []
    for group in groups[:MOST_GROUPS]:
        found += _side_by_side(results, group)
        found.append(_cdf(results, group))
        if len(results.variants(group)) > 1:
            found += _over_time(results, group)
        else:
            found += _run_over_time(results, group)
    return tuple(found)


def _of_one(results: Results, group: Group) -> tuple[Picture, ...]:
    return (_cdf(results, group), *_run_over_time(results, group))


def _cdf(results: Results, group: Group) -> Chart:
    """Latencies of a group's variants. What was not answered never gets there, so that a curve ends
    at the share of requests that were answered at all."""
    lines = []
    variants = results.variants(group)[:MOST_LINES]
    for colour, variant in enumerate(variants):
        latency = results.latency(group, variant)
        sent = results.sent(group, variant)
        if latency.count:
            answered = latency.count / sent
            xs = tuple(latency.percentiles(*_RANKS))
            ys = tuple(rank / 100 * answered for rank in _RANKS)
            lines.append(Line(variant, xs, ys, colour=colour))
    rules = tuple(
        Rule(deadline_ms, f"deadline of {name}")
        for name, deadline_ms in results.deadlines_ms.get(group[0], ())
    )
    return Chart(
        _titled("Latency of LC requests", results, group),
        "latency (ms, log scale)",
        "answered within (of all sent)",
        tuple(lines),
        share=True,
        log_x=True,
        y_top=1.0,
        rules=rules if len(rules) <= MOST_LINES else (),
        note="From when a request was due until its answer was back. A curve that ends below 100 % "
        "lacks the requests that were rejected or failed." + _left_out(results, group),
    )


def _run_over_time(results: Results, group: Group) -> list[Picture]:
    variant = results.reference(group)
    pieces = results.timeline(group, variant)
    rules = _warm_up(results)

    def per_second(name: str) -> Callable[[Piece], float]:
        return lambda piece: getattr(piece, name) / max(1e-9, piece.to_s - piece.from_s)

    def chart(title: str, y_label: str, lines: Sequence[Line], **fields: object) -> Chart:
        return Chart(
            _titled(title, results, group), _TIME, y_label, tuple(lines), rules=rules,
            **fields,  # type: ignore[arg-type]
        )  # fmt: skip

    return [
        chart(
            "CPU used",
            "share of all nodes' CPU",
            [
                _line(pieces, "services (LC)", lambda p: p.lc_share, _LC, area=True),
                _line(pieces, "batch jobs (BE)", lambda p: p.be_share, _BE, area=True),
            ],
            share=True,
            y_top=1.0,
        ),
        chart(
            "QoS: requests that ended in time",
            "of those that ended",
            [_line(pieces, "in time", lambda p: p.qos, _IN_TIME)],
            share=True,
            y_top=1.0,
        ),
        chart(
            "Requests by how they ended",
            "requests/s",
            [
                _line(pieces, "in time", per_second("completed"), _IN_TIME, area=True),
                _line(pieces, "late", per_second("late"), _LATE, area=True),
                _line(pieces, "rejected", per_second("rejected"), _REJECTED, area=True),
                _line(pieces, "failed", per_second("failed"), _FAILED, area=True),
                _line(pieces, "sent", per_second("sent"), _SENT),
            ],
        ),
        chart(
            "Latency of answered requests",
            "latency (ms, log scale)",
            [
                _line(pieces, "p99", lambda p: p.p99_ms, 1),
                _line(pieces, "p95", lambda p: p.p95_ms, 4),
                _line(pieces, "median", lambda p: p.p50_ms, 0),
            ],
            log_y=True,
        ),
        chart(
            "Batch jobs",
            "jobs",
            [
                _line(pieces, "running", lambda p: float(p.running), 0),
                _line(pieces, "waiting", lambda p: float(p.pending), 4),
            ],
        ),
    ]


def _over_time(results: Results, group: Group) -> list[Picture]:
    """Utilisation and QoS of each variant, of its first seed."""
    variants = results.variants(group)[:MOST_LINES]
    timelines = [results.timeline(group, variant) for variant in variants]

    def lines(take: Callable[[Piece], float | None]) -> tuple[Line, ...]:
        return tuple(
            _line(pieces, variant, take, colour)
            for colour, (variant, pieces) in enumerate(zip(variants, timelines, strict=True))
            if pieces
        )

    note = "One seed of each." + _left_out(results, group)
    return [
        Chart(
            _titled("CPU used, LC and BE", results, group), _TIME, "share of all nodes' CPU",
            lines(lambda piece: piece.lc_share + piece.be_share), share=True, y_top=1.0,
            rules=_warm_up(results), note=note,
        ),
        Chart(
            _titled("QoS: requests that ended in time", results, group), _TIME,
            "of those that ended", lines(lambda piece: piece.qos), share=True, y_top=1.0,
            rules=_warm_up(results), note=note,
        ),
    ]  # fmt: skip


def _line(
    pieces: Sequence[Piece],
    name: str,
    take: Callable[[Piece], float | None],
    colour: int,
    *,
    area: bool = False,
) -> Line:
    xs = tuple(piece.to_s for piece in pieces)
    ys = tuple(take(piece) for piece in pieces)
    return Line(name, xs, ys, colour=colour, area=area, steps=True)


def _warm_up(results: Results) -> tuple[Rule, ...]:
    return (Rule(results.warmup_s, "figures count from here"),) if results.warmup_s else ()


def _side_by_side(results: Results, group: Group) -> list[Picture]:
    compared = results.compared(group)
    return [
        Dots(
            _titled(BY_NAME[name].words, results, group),
            BY_NAME[name].axis,
            tuple(
                Dot(each.variant, found.mean, found.low, found.high, _colour(at))
                for at, each in enumerate(compared)
                if (found := each.figures.get(name)) is not None
            ),
            share=BY_NAME[name].share,
            note=_interval_words(compared),
        )
        for name in SHOWN
    ]


def _swept(results: Results) -> tuple[Chart, ...] | None:
    """Charts over the one number that was swept; None where it was anything else."""
    points = [point for _, point in results.groups]
    if len(points) < 2 or any(len(point) != 1 for point in points):
        return None
    if len({point[0].path for point in points}) != 1:
        return None
    values = [point[0].plain for point in points]
    if not all(isinstance(value, int | float) and value is not True for value in values):
        return None
    charts = []
    for scenario in dict.fromkeys(name for name, _ in results.groups):
        groups = [group for group in results.groups if group[0] == scenario]
        charts += [_sweep_chart(results, groups, BY_NAME[name]) for name in SHOWN]
    return tuple(charts)


def _sweep_chart(results: Results, groups: Sequence[Group], figure: Figure) -> Chart:
    by_group = {group: {each.variant: each for each in results.compared(group)} for group in groups}
    path = groups[0][1][0].path
    xs = tuple(float(str(group[1][0].plain)) for group in groups)
    # A sweep over a policy itself has other variants at each point; here they are the same.
    variants = list(dict.fromkeys(v for group in groups for v in results.variants(group)))
    lines = []
    for at, variant in enumerate(variants[:MOST_LINES]):
        found = [
            by_group[group][variant].figures.get(figure.name)
            if variant in by_group[group]
            else None
            for group in groups
        ]
        lines.append(
            Line(
                variant,
                xs,
                tuple(None if each is None else each.mean for each in found),
                tuple(None if each is None else each.low for each in found),
                tuple(None if each is None else each.high for each in found),
                _colour(at),
            )
        )
    title = f"{groups[0][0]}: {figure.words}" if _many_scenarios(results) else figure.words
    compared = [each for group in groups for each in by_group[group].values()]
    share = figure.share
    return Chart(
        title,
        path,
        figure.axis,
        tuple(lines),
        share=share,
        y_top=1.0 if share else None,
        note=_interval_words(compared) + _left_out(results, groups[0]),
    )


def _interval_words(compared: Sequence[Compared]) -> str:
    counts = sorted({len(each.seeds) for each in compared})
    if not counts or counts[-1] < 2:
        return "One seed: how far chance goes is not known."
    return f"Bars: 95 % interval of the mean over {counts[-1]} seeds (Student's t)."


def _left_out(results: Results, group: Group) -> str:
    count = len(results.variants(group))
    return f" The first {MOST_LINES} of {count} variants." if count > MOST_LINES else ""


def _colour(at: int) -> int:
    return at % (COLOURS - 1) if at < COLOURS - 1 else GREY


def _many_scenarios(results: Results) -> bool:
    return len({name for name, _ in results.groups}) > 1


def _titled(title: str, results: Results, group: Group) -> str:
    """With the group's name in front where there are several."""
    if len(results.groups) == 1:
        return title
    return f"{group_words(group)}: {title}"


def group_words(group: Group) -> str:
    """ "city, load = 0.5"."""
    name, point = group
    return ", ".join((name, *(str(change) for change in point)))
