"""Charts as SVG inside an HTML page: colours come from its style sheet, so that they fit light and
dark pages; no script, no font and no picture from elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from html import escape

from tango.cli.charts import (
    COLOURS,
    DARK,
    LIGHT,
    PLAIN,
    STROKES,
    Axis,
    Chart,
    Dots,
    Line,
    Picture,
    Rule,
    Stroke,
    aside,
    from_zero,
    linear_axis,
    same_words,
    stacked,
    stroke,
    tick_words,
    x_axis,
    y_axis,
)

WIDTH, HEIGHT = 760.0, 300.0
LEFT, RIGHT, TOP, BOTTOM = 64.0, 16.0, 12.0, 44.0
RULE_ROW = 15.0
ROW = 26.0
# Of the names beside dots: what the longest needs, within bounds.
CHARACTER, LEAST_NAMES, MOST_NAMES = 6.7, 120.0, 330.0

_Place = Callable[[float], float]


def colour_rules() -> str:
    """The style sheet's part: a class for the stroke and the fill of each colour."""

    def variables(colours: Sequence[str]) -> str:
        return "".join(f"--c{index}:{colour};" for index, colour in enumerate(colours))

    rules = [
        f":root{{{variables(LIGHT)}}}",
        f"@media(prefers-color-scheme:dark){{:root{{{variables(DARK)}}}}}",
    ]
    for index in range(COLOURS):
        rules.append(f".s{index}{{stroke:var(--c{index})}}.f{index}{{fill:var(--c{index})}}")
        rules.append(f".b{index}{{background:var(--c{index})}}")
    for index, each in enumerate(STROKES):
        dashes = f";stroke-dasharray:{' '.join(map(str, each.dashes))}" if each.dashes else ""
        rules.append(f".k{index}{{stroke-width:{each.width}{dashes}}}")
    return "\n".join(rules)


def picture(what: Picture) -> str:
    """A figure with its title, legend and note."""
    if what.empty:
        body = "<p class='none'>Nothing to show.</p>"
    elif isinstance(what, Dots):
        body = _dots(what)
    else:
        body = _legend(what) + _chart(what)
    words = what.note + (same_words(what) if isinstance(what, Chart) else "")
    note = f"<p class='note'>{escape(words.strip())}</p>" if words else ""
    return f"<figure><figcaption>{escape(what.title)}</figcaption>{body}{note}</figure>"


def _legend(chart: Chart) -> str:
    items = []
    for line in chart.lines:
        if line.area:
            mark = f"<span class='mark area b{line.colour}'></span>"
        else:
            path = f"<path class='{_line_classes(chart, line)}' d='M0 4H36'/>"
            mark = f"<svg class='mark' viewBox='0 0 36 8' aria-hidden='true'>{path}</svg>"
        items.append(f"<li>{mark}{escape(line.name)}</li>")
    return f"<ul class='legend'>{''.join(items)}</ul>"


def _line_classes(chart: Chart, line: Line) -> str:
    kind = stroke(chart, line)
    return f"curve s{line.colour}" + (f" k{kind}" if kind is not None else "")


def _chart(chart: Chart) -> str:
    across, up = x_axis(chart), y_axis(chart)

    def x(value: float) -> float:
        return LEFT + across.place(value) * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - up.place(value) * (HEIGHT - TOP - BOTTOM)

    parts = [_grid_up(up, y, share=chart.share), _grid_across(across, x)]
    below: tuple[float | None, ...] = ()
    for line, ys in stacked(chart):
        if line.area:
            floor = below or (0.0,) * len(ys)
            parts.append(_area(line, ys, floor, x, y))
            below = ys
    for line, ys in stacked(chart):
        if not line.area:
            moved = _moved(x, aside(chart, line) * (WIDTH - LEFT - RIGHT))
            parts.append(_bars(line, moved, y, up.high))
            parts += _curves(chart, line, ys, moved, y)
    rules = sorted(rule for rule in chart.rules if across.low <= rule.at <= across.high)
    for at, rule in enumerate(rules):
        parts.append(_rule(x(rule.at), rule, len(rules) - at))
    parts.append(_labels(chart))
    return _svg(HEIGHT, chart.title, parts, above=RULE_ROW * len(rules))


def _svg(height: float, title: str, parts: Sequence[str], above: float = 0.0) -> str:
    """above: room over the plot, where the words of rules are."""
    return (
        f"<svg viewBox='0 {-above:g} {WIDTH:g} {height + above:g}' role='img' "
        f"aria-label='{escape(title)}'>{''.join(parts)}</svg>"
    )


def _grid_up(axis: Axis, y: _Place, *, share: bool) -> str:
    parts = []
    for tick in axis.ticks:
        at = y(tick)
        parts.append(f"<path class='grid' d='M{LEFT:g} {at:.1f}H{WIDTH - RIGHT:g}'/>")
        words = tick_words(tick, share=share)
        parts.append(f"<text class='end' x='{LEFT - 8:g}' y='{at + 4:.1f}'>{words}</text>")
    return "".join(parts)


def _grid_across(axis: Axis, x: _Place, *, share: bool = False, bottom: float = HEIGHT) -> str:
    parts = []
    for tick in axis.ticks:
        at, floor = x(tick), bottom - BOTTOM
        parts.append(f"<path class='grid' d='M{at:.1f} {TOP:g}V{floor + 5:g}'/>")
        words = tick_words(tick, share=share)
        parts.append(f"<text class='mid' x='{at:.1f}' y='{floor + 19:g}'>{words}</text>")
    return "".join(parts)


def _labels(chart: Chart) -> str:
    middle = (LEFT + WIDTH - RIGHT) / 2
    side = TOP + (HEIGHT - TOP - BOTTOM) / 2
    return (
        f"<text class='mid label' x='{middle:g}' y='{HEIGHT - 6:g}'>{escape(chart.x_label)}</text>"
        f"<text class='mid label' transform='translate(14 {side:g}) rotate(-90)'>"
        f"{escape(chart.y_label)}</text>"
    )


def _runs(
    line: Line, ys: Sequence[float | None], x: _Place, y: _Place
) -> Iterator[list[tuple[float, float]]]:
    """The points between gaps, as places; a value of steps begins where the one before ends."""
    run: list[tuple[float, float]] = []
    for at, (across, up) in enumerate(zip(line.xs, ys, strict=True)):
        if up is None:
            if run:
                yield run
            run = []
            continue
        if line.steps:
            before = line.xs[at - 1] if at else min(0.0, across)
            run.append((x(before), y(up)))
        run.append((x(across), y(up)))
    if run:
        yield run


def _curves(
    chart: Chart, line: Line, ys: Sequence[float | None], x: _Place, y: _Place
) -> Iterator[str]:
    classes, kind = _line_classes(chart, line), stroke(chart, line)
    dots = len(line.xs) <= 12 and not line.steps
    for run in _runs(line, ys, x, y):
        if len(run) > 1:
            yield f"<path class='{classes}' d='{_path(run)}'/>"
        if dots or len(run) == 1:
            for across, up in run:
                yield _mark(line, PLAIN if kind is None else STROKES[kind], across, up)


# Marks around their middle: only outlines, so that equal ones show through one another.
_MARKS = {
    "s": "m-4.5-4.5h9v9h-9z",
    "^": "m0-6l5.5 9h-11z",
    "D": "m0-6l6 6l-6 6l-6-6z",
    "v": "m0 6l5.5-9h-11z",
    "x": "m-4.5-4.5l9 9m0-9l-9 9",
}


def _mark(line: Line, kind: Stroke, across: float, up: float) -> str:
    if kind.mark not in _MARKS:
        return f"<circle class='f{line.colour}' cx='{across:.1f}' cy='{up:.1f}' r='3.5'/>"
    d = f"M{across:.1f} {up:.1f}{_MARKS[kind.mark]}"
    return f"<path class='outline s{line.colour}' d='{d}'/>"


def _area(
    line: Line, ys: Sequence[float | None], floor: Sequence[float | None], x: _Place, y: _Place
) -> str:
    top = [point for run in _runs(line, ys, x, y) for point in run]
    bottom = [point for run in _runs(line, floor, x, y) for point in run]
    return f"<path class='area f{line.colour}' d='{_path([*top, *bottom[::-1]])}Z'/>"


def _moved(x: _Place, by: float) -> _Place:
    return lambda value: x(value) + by


def _bars(line: Line, x: _Place, y: _Place, most: float) -> str:
    parts = []
    for across, low, high in zip(line.xs, line.low, line.high, strict=False):
        if low is None or high is None:
            continue
        at, top, foot = x(across), y(min(high, most)), y(max(low, 0.0))
        d = f"M{at:.1f} {top:.1f}V{foot:.1f}M{at - 4:.1f} {top:.1f}h8M{at - 4:.1f} {foot:.1f}h8"
        parts.append(f"<path class='bar s{line.colour}' d='{d}'/>")
    return "".join(parts)


def _rule(at: float, rule: Rule, row: int) -> str:
    """row: of its words above the plot, each rule its own, so that none hides another."""
    anchor, aside = ("end", -5) if at > WIDTH - 150 else ("start", 5)
    top = TOP - RULE_ROW * row
    return (
        f"<path class='rule s{rule.colour}' d='M{at:.1f} {top:g}V{HEIGHT - BOTTOM:g}'/>"
        f"<text class='{anchor} small' x='{at + aside:.1f}' y='{top + 10:g}'>"
        f"{escape(rule.words)}</text>"
    )


def _dots(dots: Dots) -> str:
    height = TOP + ROW * len(dots.dots) + BOTTOM
    highest = max(dot.high if dot.high is not None else dot.mean for dot in dots.dots)
    axis = linear_axis(0.0, 1.0) if dots.share and highest > 0.5 else from_zero(highest)

    longest = max(len(row) for dot in dots.dots for row in _rows(dot.name))
    names = min(MOST_NAMES, max(LEAST_NAMES, CHARACTER * longest + 14))

    def x(value: float) -> float:
        return names + axis.place(value) * (WIDTH - names - 90)

    parts = [_grid_across(axis, x, share=dots.share, bottom=height)]
    for at, dot in enumerate(dots.dots):
        middle = TOP + ROW * (at + 0.5)
        rows = _rows(dot.name)
        for number, row in enumerate(rows):
            base = middle + 4 + 12 * (number - (len(rows) - 1) / 2)
            parts.append(
                f"<text class='end' x='{names - 10:g}' y='{base:.1f}'>{escape(row)}</text>"
            )
        end = x(dot.mean)
        if dot.low is not None and dot.high is not None:
            low, high = x(max(dot.low, 0.0)), x(min(dot.high, axis.high))
            end = max(end, high)
            ends = f"M{low:.1f} {middle - 5:.1f}v10M{high:.1f} {middle - 5:.1f}v10"
            path = f"M{low:.1f} {middle:.1f}H{high:.1f}{ends}"
            parts.append(f"<path class='bar s{dot.colour}' d='{path}'/>")
        parts.append(
            f"<circle class='f{dot.colour}' cx='{x(dot.mean):.1f}' cy='{middle:.1f}' r='5'/>"
        )
        words = tick_words(dot.mean, share=dots.share)
        if dots.share:
            words = f"{100 * dot.mean:.1f} %"
        parts.append(f"<text class='small' x='{end + 9:.1f}' y='{middle + 4:.1f}'>{words}</text>")
    middle = (names + WIDTH - 90) / 2
    parts.append(
        f"<text class='mid label' x='{middle:g}' y='{height - 6:g}'>{escape(dots.x_label)}</text>"
    )
    return _svg(height, dots.title, parts)


def _rows(name: str) -> tuple[str, ...]:
    """A long name in two rows, where they get shortest: "dss-lc:", "most-free without dvpa"."""
    if len(name) * CHARACTER + 14 <= MOST_NAMES:
        return (name,)
    places = [at + 1 for at, letter in enumerate(name) if letter in ": "] or [len(name) // 2]
    at = min(places, key=lambda place: max(place, len(name) - place))
    return name[:at].strip(), name[at:]


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{across:.1f} {up:.1f}" for across, up in points)
