"""Where labels stand beside their marks in a picture: never on each other, nor on a curve."""

import math
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Final, NamedTuple

CHARACTER: Final = 6.1  # the mean width of one, at 11 pixels
_HEIGHT: Final = 13.0
_CELL: Final = 4.0
_GAP: Final = 11.0
_FARTHEST: Final = 180


class Point(NamedTuple):
    """A place in pixels; y grows downwards."""

    x: float
    y: float


class Box(NamedTuple):
    """A rectangle in pixels."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: "Box") -> bool:
        """Whether they overlap."""
        return (
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )

    def holds(self, other: "Box") -> bool:
        """Whether `other` is within."""
        return (
            self.left <= other.left
            and other.right <= self.right
            and self.top <= other.top
            and other.bottom <= self.bottom
        )

    def nearest(self, to: Point) -> Point:
        """The point of the box that is nearest to one outside."""
        return Point(min(max(to.x, self.left), self.right), min(max(to.y, self.top), self.bottom))


def place_labels(
    marks: list[tuple[Point, str]], curves: Iterable[list[Point]], plot: Box
) -> list[Box | None]:
    """A box for each mark's text, near it and free; None: there is no room for it.

    Args:
        marks: where each mark is, and what its label says.
        curves: what must stay visible, as polygonal lines.
        plot: where labels may be.
    """
    covered = {cell for curve in curves for cell in _cells(curve)}
    taken = [Box(x - 7, y - 7, x + 7, y + 7) for (x, y), _ in marks]
    boxes: list[Box | None] = []
    for mark, text in marks:
        free = (
            box
            for box in _candidates(mark, len(text) * CHARACTER)
            if plot.holds(box) and not any(map(box.meets, taken)) and not _covers(box, covered)
        )
        box = next(free, None)
        boxes.append(box)
        if box is not None:
            taken.append(Box(box.left - 4, box.top, box.right + 4, box.bottom))
    return boxes


def _candidates(mark: Point, width: float) -> list[Box]:
    """All around, the nearest first; right below and left above win, for curves go right and up."""
    lefts = [mark.x + _GAP + shift for shift in range(0, 60, 12)]
    lefts += [mark.x - _GAP - width - shift for shift in range(0, 60, 12)]
    lefts += [mark.x - width * share for share in (0.25, 0.5, 0.75)]
    tops = [mark.y + 2 + away for away in range(0, _FARTHEST, 6)]
    tops += [mark.y - 2 - _HEIGHT - away for away in range(0, _FARTHEST, 6)]
    boxes = [Box(left, top, left + width, top + _HEIGHT) for left in lefts for top in tops]
    return sorted(boxes, key=lambda box: _cost(mark, box))


def _cost(mark: Point, box: Box) -> float:
    near = box.nearest(mark)
    with_the_curve = (near.x > mark.x) == (near.y < mark.y)
    return math.hypot(near.x - mark.x, near.y - mark.y) + 12.0 * with_the_curve


def _covers(box: Box, covered: set[tuple[int, int]]) -> bool:
    columns = range(int(box.left // _CELL) - 1, int(box.right // _CELL) + 2)
    rows = range(int(box.top // _CELL), int(box.bottom // _CELL) + 1)
    return any((column, row) in covered for column in columns for row in rows)


def _cells(curve: list[Point]) -> Iterator[tuple[int, int]]:
    """The cells that a line goes through."""
    for start, stop in pairwise(curve):
        longest = max(abs(stop.x - start.x), abs(stop.y - start.y))
        count = int(longest / _CELL * 2) + 1
        for i in range(count + 1):
            x = start.x + (stop.x - start.x) * i / count
            y = start.y + (stop.y - start.y) * i / count
            yield int(x // _CELL), int(y // _CELL)
