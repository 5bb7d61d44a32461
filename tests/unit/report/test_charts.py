"""Proves that charts put points where they belong, whatever the numbers, and escape every label."""

import math
import re
import xml.etree.ElementTree as ET

import pytest

from solon.report.charts import LARGE, Line, Point, choose_ticks, draw_lines, draw_points


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.2, 0.9), (-3, 7), (0, 0), (5, 5), (1e-6, 3e-6), (-1e9, 1e9)])
def test_ticks_are_round_ascending_and_cover(low, high):
    ticks = choose_ticks(low, high)
    assert ticks == sorted(set(ticks))
    assert 2 <= len(ticks) <= 9
    assert ticks[0] <= low + 1e-9 * abs(low)
    assert ticks[-1] >= high - 1e-9 * abs(high)


def test_points_lie_inside_and_in_order():
    points = [Point("a", 0, (0.2, 0.1, 0.3), (0.5, 0.4, 0.6)), Point("b", 1, (0.8, 0.7, 0.9), (0.9, 0.8, 1.0))]
    svg = draw_points("c", "t", points, x_label="x", y_label="y")
    root = ET.fromstring(svg)
    circle, square = root.find("circle"), root.find("rect")
    assert float(circle.get("cx")) < float(square.get("x"))
    assert float(circle.get("cy")) > float(square.get("y"))
    for bar in (e for e in root.iter("line") if e.get("class", "").startswith("bar")):
        assert 0 <= float(bar.get("x1")) <= float(bar.get("x2")) <= LARGE[0]
        assert 0 <= float(bar.get("y2")) <= LARGE[1]


def test_lines_leave_out_what_is_not_finite_and_draw_bands():
    line = Line("l", [0, 1, 2, 3], [1.0, math.nan, math.inf, 2.0], [0.5] * 4, [2.5] * 4)
    root = ET.fromstring(draw_lines("c", "t", [line], x_label="x", y_label="y"))
    assert len(root.find("polyline").get("points").split()) == 2
    assert len(root.find("polygon").get("points").split()) == 4
    assert draw_lines("c", "t", [Line("l", [0], [math.nan])], x_label="x", y_label="y") == ""
    assert draw_lines("c", "t", [], x_label="x", y_label="y") == ""


def test_a_single_point_and_a_constant_curve_can_be_drawn():
    for line in (Line("l", [1], [0.5]), Line("l", [1, 2, 3], [0.5, 0.5, 0.5])):
        assert "NaN" not in draw_lines("c", "t", [line], x_label="x", y_label="y")


def test_labels_are_escaped_everywhere():
    svg = draw_lines("c", "<b>", [Line("<i>", [0, 1], [0, 1]), Line("&", [0, 1], [1, 0])], x_label="<x>", y_label='"')
    texts = "".join(ET.fromstring(svg).itertext())
    assert "<b>" in texts
    assert "<i>" in texts
    assert "<x>" in texts
    assert not re.search(r"<(b|i|x)>", svg)
