"""A comparison as a picture: for each case a bar for each contestant, on one logarithmic axis.

A pure function of plain values, as `trainer.experiments.timeline` is.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from benchmarks.cases import Case
from benchmarks.compare_table import describe, milliseconds
from benchmarks.contestants import CONTESTANTS, Contestant
from benchmarks.verdict import Medians
from trainer.experiments.svg import BLUE, FAINT, GREY, INK, QUIET, head, text

WIDTH: Final = 800
_LEFT, _RIGHT, _TOP = 200, 700, 64
_BAR, _ROW, _HEADING, _GAP = 11, 17, 24, 12
_FOOT: Final = 40
_LIGHT_BLUE: Final = "#93b4f5"
_COLOURS: Final = {"peer": GREY, "floor": "#ffffff"}


class _Scale(NamedTuple):
    """Powers of ten of a millisecond, from the left edge to the right one."""

    first: int
    last: int

    def x(self, ms: float) -> float:
        share = (math.log10(ms) - self.first) / (self.last - self.first)
        return _LEFT + share * (_RIGHT - _LEFT)


def draw_comparison(title: str, cases: Sequence[Case], found: Medians) -> str:
    """An SVG document, 800 pixels wide, as high as it has bars."""
    panels = [(case, _present(case, found)) for case in cases]
    panels = [(case, present) for case, present in panels if present]
    scale = _scale([median.step_s * 1e3 for median in found.values()])
    bottom = _TOP + sum(_HEADING + _ROW * len(present) + _GAP for _, present in panels)
    lines = [head(title, WIDTH, bottom + _FOOT), *_axis(scale, bottom)]
    y = float(_TOP)
    for case, present in panels:
        lines.append(text(24, y + 14, describe(case), "start", INK, ' font-weight="600"'))
        y += _HEADING
        for contestant in present:
            lines += _bar(contestant, found[contestant.name, case.name].step_s, y, scale)
            y += _ROW
        y += _GAP
    return "\n".join([*lines, "</svg>\n"])


def _present(case: Case, found: Medians) -> list[Contestant]:
    """Who has a time in that case, the quickest first."""
    there = [each for each in CONTESTANTS if (each.name, case.name) in found]
    return sorted(there, key=lambda each: found[each.name, case.name].step_s)


def _scale(times_ms: Sequence[float]) -> _Scale:
    """So wide that every bar has a length."""
    least, most = (min(times_ms), max(times_ms)) if times_ms else (1.0, 1.0)
    first = math.ceil(math.log10(least)) - 1
    return _Scale(first, max(first + 1, math.ceil(math.log10(most))))


def _axis(scale: _Scale, bottom: float) -> Iterator[str]:
    for power in range(scale.first, scale.last + 1):
        x = scale.x(10.0**power)
        yield f'<path d="M{x:.1f} {_TOP}V{bottom:.1f}" stroke="{FAINT}"/>'
        yield text(x, bottom + 14, f"{10.0**power:,.10g}", "middle", QUIET)
    middle = (_LEFT + _RIGHT) / 2
    yield text(middle, bottom + 30, "milliseconds a step, logarithmic", "middle", QUIET)


def _bar(contestant: Contestant, step_s: float, y: float, scale: _Scale) -> Iterator[str]:
    end, middle = scale.x(step_s * 1e3), y + _BAR - 2
    colour = _COLOURS.get(contestant.kind) or (BLUE if "Ray" in contestant.label else _LIGHT_BLUE)
    stroke = f' stroke="{QUIET}" stroke-dasharray="3 2"' if contestant.kind == "floor" else ""
    yield text(_LEFT - 8, middle, contestant.label, "end", INK)
    yield (
        f'<rect x="{_LEFT}" y="{y:.1f}" width="{end - _LEFT:.1f}" height="{_BAR}"'
        f' fill="{colour}"{stroke}/>'
    )
    yield text(end + 5, middle, milliseconds(step_s), "start", INK)
