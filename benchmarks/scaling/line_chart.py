"""A line chart with logarithmic axes, as SVG of our own. Pure."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Final, NamedTuple

_WIDTH: Final = 800
_HEIGHT: Final = 420
_LEFT, _TOP, _RIGHT, _BOTTOM = 70.0, 84.0, 750.0, 366.0
_COLOURS: Final = ("#2563eb", "#d62828", "#b45309", "#7c3aed")
_INK, _QUIET, _FAINT = "#1f2937", "#6b7280", "#e5e7eb"
_FONT: Final = "system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif"
_CHARACTER: Final = 6.1  # the mean width of one, at 11 pixels

Point = tuple[float, float]


class Axis(NamedTuple):
    """What it shows, and where its lines are: powers of a base."""

    label: str
    base: int
    ticks: tuple[float, ...]

    @classmethod
    def over(cls, label: str, base: int, values: Sequence[float]) -> "Axis":
        """From the power at or below the least value to the one at or above the largest."""
        first = math.floor(math.log(min(values), base) + 1e-9)
        last = math.ceil(math.log(max(values), base) - 1e-9)
        powers = range(first, max(last, first + 1) + 1)
        return cls(label, base, tuple(float(base) ** power for power in powers))

    def place(self, value: float) -> float:
        """0 at the first line, 1 at the last."""
        first, last = math.log(self.ticks[0]), math.log(self.ticks[-1])
        return (math.log(value) - first) / (last - first)


def draw_lines(title: str, x: Axis, y: Axis, lines: Mapping[str, Sequence[Point]]) -> str:
    """An SVG document of 800x420 pixels on white: at most four named lines of positive values."""
    parts = [_head(title), *_grid(x, y)]
    at = 24.0
    for (name, points), colour in zip(lines.items(), _COLOURS, strict=False):
        places = [_place(point, x, y) for point in points]
        joined = " ".join(f"{left:.1f},{top:.1f}" for left, top in places)
        parts.append(
            f'<polyline points="{joined}" fill="none" stroke="{colour}" stroke-width="2"/>'
        )
        parts += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3" fill="{colour}"/>' for a, b in places]
        parts.append(f'<path d="M{at:.0f} 53h22" stroke="{colour}" stroke-width="2.5"/>')
        parts.append(_text(at + 28, 57, name, "start", _INK))
        at += 46 + len(name) * _CHARACTER
    return "\n".join([*parts, "</svg>\n"])


def _place(point: Point, x: Axis, y: Axis) -> Point:
    return (
        _LEFT + x.place(point[0]) * (_RIGHT - _LEFT),
        _BOTTOM - y.place(point[1]) * (_BOTTOM - _TOP),
    )


def _head(title: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}"'
        f' viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}"'
        f' font-family="{_FONT}" font-size="11">\n<title>{escape(title)}</title>\n'
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" rx="6" fill="#ffffff"/>\n'
        f'<text x="24" y="32" font-size="16" font-weight="600" fill="{_INK}">'
        f"{escape(title)}</text>"
    )


def _grid(x: Axis, y: Axis) -> list[str]:
    parts = []
    for tick in y.ticks:
        _, top = _place((x.ticks[0], tick), x, y)
        parts.append(f'<path d="M{_LEFT} {top:.1f}H{_RIGHT}" stroke="{_FAINT}"/>')
        parts.append(_text(_LEFT - 8, top + 4, f"{tick:,.10g}", "end", _QUIET))
    for tick in x.ticks:
        left, _ = _place((tick, y.ticks[0]), x, y)
        parts.append(f'<path d="M{left:.1f} {_BOTTOM}v4" stroke="{_QUIET}"/>')
        parts.append(_text(left, _BOTTOM + 18, f"{tick:,.10g}", "middle", _QUIET))
    parts.append(_text((_LEFT + _RIGHT) / 2, _HEIGHT - 14, x.label, "middle", _QUIET))
    parts.append(_text(24, _TOP - 10, y.label, "start", _QUIET))
    return parts


def _text(x: float, y: float, text: str, anchor: str, colour: str) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">'
        f"{escape(text)}</text>"
    )
