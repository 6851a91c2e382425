"""A picture of runs: steps over time, and what was done to them, as SVG of our own.

A pure function of plain values; `experiment_files.py` reads them from run directories.
"""

import math
from collections.abc import Sequence
from html import escape
from typing import Final, NamedTuple

from trainer.experiments.label_places import Box, Point, place_labels
from trainer.experiments.svg import BLUE, FAINT, GREY, INK, QUIET, head, text
from trainer.faults.plan import Kind

WIDTH: Final = 800
HEIGHT: Final = 420
_PLOT: Final = Box(62, 84, 776, 370)
_COLOURS: Final[dict[Kind, str]] = {"kill": "#d62828", "pause": "#b45309", "slow": "#7c3aed"}
_DONE: Final[dict[Kind, str]] = {"kill": "killed", "pause": "paused", "slow": "slowed"}
_OTHERS_OPACITY: Final = 0.4


class Mark(NamedTuple):
    """A fault that fired."""

    at_s: float
    kind: Kind
    label: str


class Curve(NamedTuple):
    """One run: (seconds, steps done) in the order of time, and its faults."""

    points: Sequence[tuple[float, float]]
    marks: Sequence[Mark] = ()
    undisturbed: bool = False


class _Scale(NamedTuple):
    seconds: float
    steps: float

    def place(self, at_s: float, step: float) -> Point:
        return Point(
            _PLOT.left + at_s / self.seconds * (_PLOT.right - _PLOT.left),
            _PLOT.bottom - step / self.steps * (_PLOT.bottom - _PLOT.top),
        )


def draw_timeline(title: str, curves: Sequence[Curve]) -> str:
    """An SVG document of 800x420 pixels on white.

    The first run with faults has its faults labelled, as far as there is room; the others'
    are marked.
    """
    points = [point for curve in curves for point in curve.points]
    scale = _Scale(
        _limit(max((at_s for at_s, _ in points), default=0.0)),
        _limit(max((step for _, step in points), default=0.0)),
    )
    faulted = [curve for curve in curves if not curve.undisturbed]
    # The undisturbed run below, the labelled one on top.
    ordered = [*(curve for curve in curves if curve.undisturbed), *reversed(faulted)]
    labelled = next((curve for curve in faulted if curve.marks), None)
    lines = [head(title, WIDTH, HEIGHT), *_axes(scale), *_legend(curves)]
    for curve in ordered:
        first = curve.undisturbed or curve is (labelled or ordered[-1])
        lines.append(_line(_thinned(curve, scale), curve.undisturbed, first))
    if labelled is not None:
        lines += _labels(labelled, [_thinned(curve, scale) for curve in curves], scale)
    for curve in ordered:
        opacity = 1 if curve is labelled else _OTHERS_OPACITY
        for mark in curve.marks:
            lines.append(_sign(_on(curve, mark.at_s, scale), mark.kind, opacity, mark.label))
    return "\n".join([*lines, "</svg>\n"])


def ticks(until: float) -> list[float]:
    """From 0 on, at most 8 of them, in steps of 1, 2 or 5 times a power of ten."""
    if until <= 0:
        return [0.0]
    power = 10.0 ** math.floor(math.log10(until / 7))
    width = next(power * factor for factor in (1, 2, 5, 10) if until / (power * factor) <= 7)  # noqa: PLR2004
    return [round(i * width, 10) for i in range(int(until / width + 1e-9) + 1)]


def _limit(most: float) -> float:
    return most * 1.03 or 1.0


def _axes(scale: _Scale) -> list[str]:
    lines = []
    for step in ticks(scale.steps):
        y = scale.place(0, step).y
        colour = FAINT if step else QUIET
        lines.append(f'<path d="M{_PLOT.left} {y:.1f}H{_PLOT.right}" stroke="{colour}"/>')
        lines.append(text(_PLOT.left - 8, y + 4, f"{step:,.10g}", "end", QUIET))
    for at_s in ticks(scale.seconds):
        x = scale.place(at_s, 0).x
        lines.append(f'<path d="M{x:.1f} {_PLOT.bottom}v4" stroke="{QUIET}"/>')
        lines.append(text(x, _PLOT.bottom + 18, f"{at_s:,.10g}", "middle", QUIET))
    middle = (_PLOT.left + _PLOT.right) / 2
    lines.append(text(middle, HEIGHT - 14, "seconds since training began", "middle", QUIET))
    lines.append(text(_PLOT.left - 8, _PLOT.top - 10, "steps", "end", QUIET))
    return lines


def _legend(curves: Sequence[Curve]) -> list[str]:
    """One line below the title: what is there, and nothing else."""
    faulted = [curve for curve in curves if not curve.undisturbed]
    entries: list[tuple[str, Kind | None, str]] = []
    if len(faulted) < len(curves):
        entries.append((GREY, None, "undisturbed"))
    if faulted:
        count = f", {len(faulted)} runs" if len(faulted) > 1 else ""
        entries.append((BLUE, None, f"with faults{count}"))
    marked = {mark.kind for curve in curves for mark in curve.marks}
    entries += [(_COLOURS[kind], kind, _DONE[kind]) for kind in _COLOURS if kind in marked]
    lines, x, y = [], 24.0, 53.0
    for colour, kind, words in entries:
        if kind is None:
            lines.append(f'<path d="M{x:.0f} {y}h22" stroke="{colour}" stroke-width="2.5"/>')
        else:
            lines.append(_sign(Point(x + 11, y), kind, 1, words))
        lines.append(text(x + 28, y + 4, words, "start", INK))
        x += 46 + len(words) * 6.1
    return lines


def _line(points: list[Point], undisturbed: bool, first: bool) -> str:
    places = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    colour = GREY if undisturbed else BLUE
    opacity = 1 if first else _OTHERS_OPACITY
    return (
        f'<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="2"'
        f' stroke-linejoin="round" stroke-opacity="{opacity}"/>'
    )


def _sign(at: Point, kind: Kind, opacity: float, label: str) -> str:
    """A cross: killed; two bars: paused; a downward triangle: slowed."""
    shape = {
        "kill": "m-4.5-4.5 9 9m0-9-9 9",
        "pause": "m-2.5-5v10m5-10v10",
        "slow": "m-5-4h10l-5 9z",
    }[kind]
    path = f"M{at.x:.1f} {at.y:.1f}{shape}"
    return (
        f'<g opacity="{opacity}" fill="none" stroke-linecap="round" stroke-linejoin="round">'
        f"<title>{escape(label)}</title>"
        f'<path d="{path}" stroke="#ffffff" stroke-width="6"/>'
        f'<path d="{path}" stroke="{_COLOURS[kind]}" stroke-width="2.4"/></g>'
    )


def _labels(curve: Curve, curves: list[list[Point]], scale: _Scale) -> list[str]:
    marks = [(_on(curve, mark.at_s, scale), mark.label) for mark in curve.marks]
    lines, texts = [], []
    boxes = place_labels(marks, curves, _PLOT)
    for (at, label), mark, box in zip(marks, curve.marks, boxes, strict=True):
        if box is None:
            continue
        near = box.nearest(at)
        lines.append(
            f'<path d="M{at.x:.1f} {at.y:.1f}L{near.x:.1f} {near.y:.1f}"'
            f' stroke="{_COLOURS[mark.kind]}" stroke-opacity="0.5" stroke-width="0.8"/>'
        )
        anchor, x = ("end", box.right) if box.right < at.x else ("start", box.left)
        texts.append(text(x, box.bottom - 3, label, anchor, INK))
    # The white around a letter keeps another label's line off it.
    halo = '<g paint-order="stroke" stroke="#ffffff" stroke-width="3" stroke-linejoin="round">'
    return [*lines, halo, *texts, "</g>"]


def _thinned(curve: Curve, scale: _Scale) -> list[Point]:
    """In pixels, without the points that nobody could see; steps are lost all at once."""
    points: list[Point] = []
    for at_s, step in curve.points:
        point = scale.place(at_s, step)
        if points and point.y > points[-1].y:
            points.append(Point(point.x, points[-1].y))
        if not points or abs(point.x - points[-1].x) + abs(point.y - points[-1].y) >= 0.5:  # noqa: PLR2004
            points.append(point)
    return points


def _on(curve: Curve, at_s: float, scale: _Scale) -> Point:
    """Where the curve is at a time."""
    before = max((p for p in curve.points if p[0] <= at_s), default=None, key=lambda p: p[0])
    after = min((p for p in curve.points if p[0] > at_s), default=None, key=lambda p: p[0])
    if before is None or after is None or after[1] < before[1]:
        return scale.place(at_s, (before or after or (0.0, 0.0))[1])
    share = (at_s - before[0]) / (after[0] - before[0])
    return scale.place(at_s, before[1] + share * (after[1] - before[1]))
