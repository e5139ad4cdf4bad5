"""Charts: axes that people can read, stacks, and both ways of drawing them."""

from __future__ import annotations

import importlib.util
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulated import gathered, run

from tango.cli.charts import (
    STROKES,
    Axis,
    Chart,
    Dot,
    Dots,
    Line,
    aside,
    from_zero,
    linear_axis,
    log_axis,
    same_words,
    stacked,
    stroke,
    x_axis,
)
from tango.cli.charts_figure import write_pictures
from tango.cli.charts_svg import TOP, colour_rules, picture
from tango.cli.simulate_charts import pictures

needs_matplotlib = pytest.mark.skipif(
    importlib.util.find_spec("matplotlib") is None, reason="matplotlib is not installed"
)
SIZES = st.floats(1e-3, 1e9)


@given(SIZES)
def test_an_axis_from_zero_holds_its_highest_value(highest: float) -> None:
    axis = from_zero(highest)
    assert axis.ticks[0] == 0
    assert axis.ticks[-1] == pytest.approx(axis.high)
    assert highest < axis.high <= 2.6 * highest
    assert 3 <= len(axis.ticks) <= 8


@given(SIZES, SIZES)
def test_a_log_axis_holds_its_values_and_few_ticks(one: float, other: float) -> None:
    low, high = sorted((one, other))
    axis = log_axis(low, high)
    assert axis.low <= low * (1 + 1e-9)
    assert axis.high >= high * (1 - 1e-9)
    assert 1 <= len(axis.ticks) <= 14
    assert axis.place(low) >= -1e-9
    assert axis.place(high) <= 1 + 1e-9


def test_axes_of_nothing_and_of_one_value() -> None:
    assert from_zero(0.0).high > 0
    assert linear_axis(5.0, 5.0).high > 5.0
    assert log_axis(0.0, 0.0).high > 0
    assert Axis(1, 100, True, ()).place(10) == pytest.approx(0.5)


def test_areas_stand_on_those_before_them_and_lines_do_not() -> None:
    xs = (1.0, 2.0)
    lines = (
        Line("a", xs, (1.0, 2.0), area=True),
        Line("b", xs, (3.0, None), area=True),
        Line("c", xs, (5.0, 5.0)),
    )
    found = {line.name: ys for line, ys in stacked(Chart("", "", "", lines))}
    assert found == {"a": (1.0, 2.0), "b": (4.0, 2.0), "c": (5.0, 5.0)}


def test_a_gap_is_a_gap() -> None:
    line = Line("p50", tuple(map(float, range(20))), (*[1.0] * 9, None, *[1.0] * 10))
    svg = picture(Chart("", "x", "y", (line,)))
    assert len(re.findall("class='curve", beyond_legend(svg))) == 2


def beyond_legend(svg: str) -> str:
    return svg.rpartition("</ul>")[2]


def test_an_empty_chart_says_so() -> None:
    assert "Nothing to show" in picture(Chart("t", "x", "y", (Line("a", (1.0,), (None,)),)))
    assert "Nothing to show" in picture(Dots("t", "x", ()))


def test_colours_are_there_for_light_and_dark() -> None:
    rules = colour_rules()
    assert rules.count("--c7:") == 2
    assert ".s7{" in rules


def test_everything_in_a_svg_is_inside_of_it() -> None:
    for each in pictures(gathered(run())):
        svg = beyond_legend(picture(each))
        box = re.search(r"viewBox='0 (-?[\d.]+) ([\d.]+) ([\d.]+)'", svg)
        assert box
        top, width, height = map(float, box.groups())
        for x, y in re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", svg):
            assert -1 <= float(x) <= width + 1
            assert top - 1 <= float(y) <= top + height + 1


@needs_matplotlib
@pytest.mark.parametrize("count", [1, 9])
def test_pictures_as_png(tmp_path: Path, count: int) -> None:
    path = tmp_path / "p.png"
    write_pictures("A title", pictures(gathered(*(run(f"p{at}:b") for at in range(count)))), path)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert list(tmp_path.iterdir()) == [path]


def test_ticks_are_round_numbers() -> None:
    for high in (0.7, 3.0, 17.0, 420.0, 99_999.0):
        step = from_zero(high).ticks[1]
        digits = step / 10 ** math.floor(math.log10(step) + 1e-9)
        assert round(digits, 6) in (1, 2, 5, 10)


def test_points_with_intervals_stand_apart_and_at_their_own_xs() -> None:
    xs = (0.5, 0.75, 1.5)
    bars = ((0.4,) * 3, (1.2,) * 3)
    lines = tuple(Line(name, xs, (0.9,) * 3, *bars) for name in "abc")
    chart = Chart("", "load", "share", lines, share=True, y_top=1.0)
    assert x_axis(chart).ticks == xs
    assert [aside(chart, line) for line in lines] == pytest.approx([-0.006, 0, 0.006])
    assert aside(Chart("", "", "", lines[:1]), lines[0]) == 0
    # What is beyond 100 % of a share is not drawn.
    tops = [float(y) for y in re.findall(r"class='bar s0' d='M[\d.]+ ([\d.]+)V", picture(chart))]
    assert tops == [TOP] * 9


def many(count: int, ys: tuple[float, ...] = (0.9, 0.9)) -> Chart:
    lines = tuple(Line(f"p{at}", (1.0, 2.0), ys, colour=at) for at in range(count))
    return Chart("", "x", "y", lines, share=True, y_top=1.0)


def test_lines_that_are_equal_show_through_one_another() -> None:
    """The widest is below and unbroken; each above it is narrower, and broken in its own way."""
    widths = [each.width for each in STROKES]
    assert widths == sorted(widths, reverse=True)
    assert len({each.dashes for each in STROKES}) == len({each.mark for each in STROKES})
    assert [bool(each.dashes) for each in STROKES] == [False, *[True] * (len(STROKES) - 1)]
    svg = picture(many(3))
    drawn = re.findall(r"class='curve s(\d) k(\d)' d='M64", svg)
    assert drawn == [("0", "0"), ("1", "1"), ("2", "2")]
    # The legend shows the same strokes, and points have outlines that do not hide others.
    assert "<path class='curve s1 k1' d='M0 4H36'/></svg>p1</li>" in svg
    assert svg.count("<circle") == 2
    assert svg.count("class='outline s1'") == 2
    assert ".k1{stroke-width:2.8;stroke-dasharray:14 5}" in colour_rules()
    # One line alone, and areas, are as they were.
    assert "k0" not in picture(many(1))
    areas = tuple(Line(name, (1.0,), (1.0,), area=True) for name in "ab")
    assert all(stroke(Chart("", "", "", areas), line) is None for line in areas)


def test_lines_that_are_equal_all_along_are_named() -> None:
    assert "Equal all along: p0, p1, p2." in picture(many(3))
    other = Line("other", (1.0, 2.0), (0.9, 0.8))
    chart = many(2)
    assert same_words(replace(chart, lines=(*chart.lines, other))) == " Equal all along: p0, p1."
    assert same_words(replace(chart, lines=(chart.lines[0], other))) == ""
    nothing = tuple(Line(name, (1.0,), (None,)) for name in "ab")
    assert same_words(Chart("", "", "", nothing)) == ""


def test_long_names_beside_dots_are_whole() -> None:
    short, long = "a:b", "a-very-long-policy-of-traffic:another-one-of-batch without reassurance"
    for name in (short, "least-loaded:most-free without reassurance", long, 60 * "x"):
        svg = picture(Dots("", "x", (Dot(name, 0.5, None, None),)))
        rows = re.findall(r"<text class='end' x='([\d.]+)' y='[\d.]+'>([^<]*)</text>", svg)
        assert "".join(words for _, words in rows).replace(" ", "") == name.replace(" ", "")
        # About 6.7 of the picture's units a character, from the right.
        assert all(6.7 * len(words) < float(x) for x, words in rows)


@needs_matplotlib
def test_pictures_of_several_kinds_of_lines(tmp_path: Path) -> None:
    for name in ("p.png", "p.svg"):
        write_pictures("", (many(6), many(2, (0.1, 0.2))), tmp_path / name)
    dashed = set(re.findall(r"stroke-dasharray: ([\d., ]+)", (tmp_path / "p.svg").read_text()))
    assert len(dashed) >= 5
