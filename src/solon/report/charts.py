"""Charts as SVG text: no library, no script, no style attribute, so that the strictest content policy holds.

Colours are classes that the page's style sheet fills in for light, dark and paper. Every chart says in words
what it shows (`<title>` and `<desc>`), and every series has its own marker, so that colour is never alone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

LARGE, SMALL = (640, 320), (460, 250)
"""Width and height of a chart in its own units; text has the same size in both."""

_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 28, 44


@dataclass(frozen=True)
class Point:
    """One point with 95 % intervals.

    Attributes:
        label: what it is; also picks marker and colour by `series`.
        series: index of its marker and colour.
        x: `(value, low, high)`.
        y: `(value, low, high)`.
    """

    label: str
    series: int
    x: tuple[float, float, float]
    y: tuple[float, float, float]


@dataclass(frozen=True)
class Line:
    """One curve.

    Attributes:
        label: its name in the legend.
        xs: positions, ascending.
        ys: values; those that are not finite are left out.
        lows: lower ends of an interval, or empty.
        highs: upper ends, or empty.
    """

    label: str
    xs: Sequence[float]
    ys: Sequence[float]
    lows: Sequence[float] = ()
    highs: Sequence[float] = ()


def choose_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return round numbers that cover [low, high], about `count` of them."""
    if not low < high:
        low, high = low - 0.5, high + 0.5
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def format_tick(value: float) -> str:
    """Write a tick's number briefly."""
    return f"{value:.4g}"


class _Axes:
    """Maps data to the drawing area and draws the frame."""

    def __init__(self, xs: Sequence[float], ys: Sequence[float], size: tuple[int, int]) -> None:
        self.width, self.height = size
        self.x_ticks, self.y_ticks = choose_ticks(min(xs), max(xs), 6), choose_ticks(min(ys), max(ys))

    def x(self, value: float) -> str:
        low, high = self.x_ticks[0], self.x_ticks[-1]
        return f"{_LEFT + (value - low) / (high - low) * (self.width - _LEFT - _RIGHT):.1f}"

    def y(self, value: float) -> str:
        low, high = self.y_ticks[0], self.y_ticks[-1]
        return f"{self.height - _BOTTOM - (value - low) / (high - low) * (self.height - _TOP - _BOTTOM):.1f}"

    def draw(self, x_label: str, y_label: str) -> str:
        parts: list[str] = []
        bottom, right = self.height - _BOTTOM, self.width - _RIGHT
        for tick in self.x_ticks:
            at = self.x(tick)
            parts.append(f'<line class="grid" x1="{at}" y1="{_TOP}" x2="{at}" y2="{bottom}"/>')
            parts.append(
                f'<text class="tick" x="{at}" y="{bottom + 16}" text-anchor="middle">{format_tick(tick)}</text>'
            )
        for tick in self.y_ticks:
            at = self.y(tick)
            parts.append(f'<line class="grid" x1="{_LEFT}" y1="{at}" x2="{right}" y2="{at}"/>')
            parts.append(
                f'<text class="tick" x="{_LEFT - 6}" y="{at}" dy="4" text-anchor="end">{format_tick(tick)}</text>'
            )
        middle_x, middle_y = (_LEFT + right) // 2, (_TOP + bottom) // 2
        parts.append(
            f'<text class="axis" x="{middle_x}" y="{self.height - 8}" text-anchor="middle">{escape(x_label)}</text>'
        )
        parts.append(
            f'<text class="axis" x="14" y="{middle_y}" text-anchor="middle" '
            f'transform="rotate(-90 14 {middle_y})">{escape(y_label)}</text>'
        )
        return "".join(parts)


def _marker(series: int, x: str, y: str, size: float = 5.0) -> str:
    """Draw the marker of a series: circle, square, triangle, diamond, in turn."""
    px, py = float(x), float(y)
    name = f'class="mark s{series % 4}"'
    match series % 4:
        case 0:
            return f'<circle {name} cx="{x}" cy="{y}" r="{size}"/>'
        case 1:
            return f'<rect {name} x="{px - size:.1f}" y="{py - size:.1f}" width="{2 * size}" height="{2 * size}"/>'
        case 2:
            corners = f"{px:.1f},{py - 1.2 * size:.1f} {px - size:.1f},{py + size:.1f} {px + size:.1f},{py + size:.1f}"
        case _:
            corners = (
                f"{px:.1f},{py - 1.3 * size:.1f} {px + size:.1f},{py:.1f} "
                f"{px:.1f},{py + 1.3 * size:.1f} {px - size:.1f},{py:.1f}"
            )
    return f'<polygon {name} points="{corners}"/>'


def _figure(identity: str, title: str, description: str, body: str, size: tuple[int, int]) -> Markup:
    return Markup(
        f'<svg viewBox="0 0 {size[0]} {size[1]}" role="img" aria-labelledby="{identity}-t {identity}-d">'
        f'<title id="{identity}-t">{escape(title)}</title><desc id="{identity}-d">{escape(description)}</desc>'
        f"{body}</svg>"
    )


def draw_points(identity: str, title: str, points: Sequence[Point], *, x_label: str, y_label: str) -> Markup:
    """Draw points with crosses for their intervals, each labelled where it stands."""
    xs = [value for p in points for value in p.x[1:]] or [0.0, 1.0]
    ys = [value for p in points for value in p.y[1:]] or [0.0, 1.0]
    axes = _Axes(xs, ys, LARGE)
    parts = [axes.draw(x_label, y_label)]
    for p in points:
        x, y = axes.x(p.x[0]), axes.y(p.y[0])
        across = f'x1="{axes.x(p.x[1])}" y1="{y}" x2="{axes.x(p.x[2])}" y2="{y}"'
        along = f'x1="{x}" y1="{axes.y(p.y[1])}" x2="{x}" y2="{axes.y(p.y[2])}"'
        parts += [f'<line class="bar s{p.series % 4}" {ends}/>' for ends in (across, along)]
        parts.append(_marker(p.series, x, y))
        left = float(x) > LARGE[0] * 0.75
        parts.append(
            f'<text class="label" x="{float(x) + (-9 if left else 9):.1f}" y="{float(y) - 8:.1f}" '
            f'text-anchor="{"end" if left else "start"}">{escape(p.label)}</text>'
        )
    said = "; ".join(
        f"{p.label}: {x_label} {p.x[0]:.3f} (95 % {p.x[1]:.3f} to {p.x[2]:.3f}), "
        f"{y_label} {p.y[0]:.3f} (95 % {p.y[1]:.3f} to {p.y[2]:.3f})"
        for p in points
    )
    return _figure(identity, title, said, "".join(parts), LARGE)


def draw_lines(
    identity: str,
    title: str,
    lines: Sequence[Line],
    *,
    x_label: str,
    y_label: str,
    size: tuple[int, int] = LARGE,
) -> Markup:
    """Draw curves, with bands where they have intervals, and a legend above where there is more than one."""
    kept = [(index, _finite(line)) for index, line in enumerate(lines)]
    kept = [(index, line) for index, line in kept if line.xs]
    if not kept:
        return Markup("")
    values = [v for _, line in kept for v in (*line.ys, *line.lows, *line.highs)]
    axes = _Axes([x for _, line in kept for x in line.xs], values, size)
    parts = [axes.draw(x_label, y_label)]
    for index, line in kept:
        if line.lows:
            upper = [f"{axes.x(x)},{axes.y(v)}" for x, v in zip(line.xs, line.highs, strict=True)]
            lower = [f"{axes.x(x)},{axes.y(v)}" for x, v in zip(line.xs, line.lows, strict=True)]
            parts.append(f'<polygon class="band s{index % 4}" points="{" ".join([*upper, *reversed(lower)])}"/>')
        path = " ".join(f"{axes.x(x)},{axes.y(y)}" for x, y in zip(line.xs, line.ys, strict=True))
        parts.append(f'<polyline class="line s{index % 4}" points="{path}"/>')
        if len(line.xs) <= 12:
            parts += [_marker(index, axes.x(x), axes.y(y), 3.5) for x, y in zip(line.xs, line.ys, strict=True)]
    if len(kept) > 1:
        at = float(_LEFT)
        for index, line in kept:
            parts.append(_marker(index, f"{at + 4}", "13.0", 4.0))
            parts.append(f'<text class="label" x="{at + 14}" y="17">{escape(line.label)}</text>')
            at += 34 + 7 * len(line.label)
    said = "; ".join(
        f"{line.label}: from {line.ys[0]:.4g} at {format_tick(line.xs[0])} to {line.ys[-1]:.4g} "
        f"at {format_tick(line.xs[-1])}, least {min(line.ys):.4g}, most {max(line.ys):.4g}"
        for _, line in kept
    )
    return _figure(identity, title, said, "".join(parts), size)


def _finite(line: Line) -> Line:
    keep = [i for i, y in enumerate(line.ys) if math.isfinite(y) and math.isfinite(line.xs[i])]

    def pick(values: Sequence[float]) -> list[float]:
        return [values[i] for i in keep] if values else []

    return Line(line.label, pick(line.xs), pick(line.ys), pick(line.lows), pick(line.highs))
