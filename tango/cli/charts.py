"""Charts as data: what is drawn, not how; drawn as SVG (charts_svg) and by matplotlib
(charts_figure)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

# Okabe & Ito, "Color Universal Design" (2008): told apart with any common colour blindness. On a
# dark page the darker ones are lightened.
LIGHT = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#666666", "#000000",
)  # fmt: skip
DARK = (
    "#4DA3D9", "#F0803C", "#2FBF93", "#E09CC0", "#F0B93A", "#8CCBF0", "#A8A8A8", "#FFFFFF",
)  # fmt: skip
COLOURS = len(LIGHT)
GREY = 6
MOST_POINTS = 12


@dataclass(frozen=True, slots=True)
class Stroke:
    """How a line is drawn. dashes: lengths drawn and left out in turn, () for none. mark: at points
    of a few: "o", "s" or "^" and so on, as matplotlib names them."""

    width: float
    dashes: tuple[float, ...] = ()
    mark: str = "o"


PLAIN = Stroke(1.8)
# Of several lines, the first below: lines that are equal show at one another's edges and gaps.
STROKES = (
    Stroke(3.4),
    Stroke(2.8, (14, 5), "s"),
    Stroke(2.4, (8, 5), "^"),
    Stroke(2.1, (4, 4), "D"),
    Stroke(1.9, (10, 4, 2, 4), "v"),
    Stroke(1.7, (1.5, 4), "x"),
)


@dataclass(frozen=True, slots=True)
class Line:
    """A curve. ys: None for a gap. low, high: of the interval around each y, () for none.

    area: filled, and stacked on the areas before it. steps: each value holds since the x before.
    """

    name: str
    xs: tuple[float, ...]
    ys: tuple[float | None, ...]
    low: tuple[float | None, ...] = ()
    high: tuple[float | None, ...] = ()
    colour: int = 0
    area: bool = False
    steps: bool = False


@dataclass(frozen=True, slots=True, order=True)
class Rule:
    """A thin line across the chart at an x, with a word on what it is."""

    at: float
    words: str
    colour: int = GREY


@dataclass(frozen=True, slots=True)
class Chart:
    """Lines over x. share: ys are 0..1 and shown in percent. y_top: the y axis's end, None for
    what the lines need. note: a sentence below."""

    title: str
    x_label: str
    y_label: str
    lines: tuple[Line, ...]
    share: bool = False
    log_x: bool = False
    log_y: bool = False
    y_top: float | None = None
    rules: tuple[Rule, ...] = ()
    note: str = ""

    @property
    def empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not any(y is not None for line in self.lines for y in line.ys)


@dataclass(frozen=True, slots=True)
class Dot:
    """One row of Dots: a mean and its interval, None where it has none."""

    name: str
    mean: float
    low: float | None
    high: float | None
    colour: int = 0


@dataclass(frozen=True, slots=True)
class Dots:
    """A figure of several variants, a row each, on one axis from 0."""

    title: str
    x_label: str
    dots: tuple[Dot, ...]
    share: bool = False
    note: str = ""

    @property
    def empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not self.dots


Picture = Chart | Dots


@dataclass(frozen=True, slots=True)
class Axis:
    """Numbers to places in 0..1, and the numbers that are written at it."""

    low: float
    high: float
    log: bool
    ticks: tuple[float, ...]

    def place(self, value: float) -> float:
        """Where a number is; outside of 0..1 for one beyond the ends."""
        if self.log:
            value = max(value, self.low)
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


def linear_axis(low: float, high: float, most: int = 6) -> Axis:
    """Whole multiples of 1, 2 or 5 times a power of ten, `most` steps at most."""
    if high <= low:
        high = low + 1.0
    step = _nice_step((high - low) / most)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return Axis(low, high, False, tuple(round(n * step, 12) for n in range(first, last + 1)))


def from_zero(highest: float, most: int = 6) -> Axis:
    """From 0 to a tick that leaves a little room above the highest value."""
    top = 1.03 * highest or 1.0
    step = _nice_step(top / most)
    return linear_axis(0.0, math.ceil(top / step - 1e-9) * step, most)


def log_axis(low: float, high: float) -> Axis:
    """From one to another of 1, 2 and 5 times powers of ten; of a wide one only the powers are
    written."""
    low, high = max(low, 1e-6), max(high, 1e-6)
    decades = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
    steps = [round(f * 10.0**d, 9) for d in decades for f in (1, 2, 5)]
    low = max(step for step in steps if step <= low)
    high = min(step for step in steps if step >= high and step > low)
    written = [step for step in steps if low <= step <= high]
    if len(written) > 10:
        written = [round(10.0**d, 9) for d in decades if low <= 10.0**d <= high]
    return Axis(low, high, True, tuple(written))


def _nice_step(least: float) -> float:
    power = 10.0 ** math.floor(math.log10(least))
    return next(f * power for f in (1, 2, 5, 10) if f * power >= least * (1 - 1e-9))


def x_axis(chart: Chart) -> Axis:
    """What the chart's lines and rules need."""
    xs = [x for line in chart.lines for x, y in zip(line.xs, line.ys, strict=True) if y is not None]
    if chart.log_x:
        ends = [*xs, *(rule.at for rule in chart.rules)]
        return log_axis(min(ends), max(ends))
    first, last = min(xs), max(xs)
    if any(line.steps for line in chart.lines):
        return linear_axis(min(0.0, first), last, 8)
    if not any(line.low for line in chart.lines):
        return linear_axis(first, last, 8)
    # Points with intervals: room for them at both ends, and their own xs are written.
    room = 0.03 * (last - first) or 1.0
    points = tuple(sorted(set(xs)))
    axis = linear_axis(first - room, last + room, 8)
    return replace(axis, ticks=points) if len(points) <= MOST_POINTS else axis


def y_axis(chart: Chart) -> Axis:
    """From 0, or from the lowest on a log axis."""
    tops = [y for line, ys in stacked(chart) for y in (*ys, *line.high) if y is not None]
    if chart.log_y:
        lows = [y for line in chart.lines for y in line.ys if y is not None and y > 0]
        return log_axis(min(lows), max(tops))
    if chart.y_top is not None:
        return linear_axis(0.0, chart.y_top)
    return from_zero(max(tops))


def stacked(chart: Chart) -> Iterator[tuple[Line, tuple[float | None, ...]]]:
    """Each line with its ys, areas on top of those before them."""
    below: Sequence[float] = ()
    for line in chart.lines:
        if not line.area:
            yield line, line.ys
            continue
        below = below or (0.0,) * len(line.ys)
        below = tuple(b + (y or 0.0) for b, y in zip(below, line.ys, strict=True))
        yield line, tuple(below)


def stroke(chart: Chart, line: Line) -> int | None:
    """Which of STROKES a line has; None where it is the only one that is no area."""
    lines = [each for each in chart.lines if not each.area]
    return lines.index(line) % len(STROKES) if len(lines) > 1 else None


def same_words(chart: Chart) -> str:
    """Which lines are equal all along, "" where none are: a picture cannot say so."""
    alike: dict[tuple[object, ...], list[str]] = {}
    for line in chart.lines:
        if not line.area and any(y is not None for y in line.ys):
            ys = tuple(None if y is None else round(y, 9) for y in line.ys)
            alike.setdefault((line.xs, ys), []).append(line.name)
    groups = [names for names in alike.values() if len(names) > 1]
    return "".join(f" Equal all along: {', '.join(names)}." for names in groups)


def aside(chart: Chart, line: Line) -> float:
    """How far a line with intervals is moved, as a part of the axis: so that none hides another."""
    with_bars = [each for each in chart.lines if each.low]
    if line not in with_bars or len(with_bars) < 2:
        return 0.0
    return 0.006 * (with_bars.index(line) - (len(with_bars) - 1) / 2)


def number(value: float) -> str:
    """As short as it can be: 1200 is 1,200 and 0.5 is 0.5."""
    if value == int(value) and abs(value) < 1e12:
        return f"{value:,.0f}"
    return f"{value:,.4g}"


def tick_words(value: float, *, share: bool) -> str:
    """A number at an axis."""
    return f"{number(100 * value)} %" if share else number(value)
