"""The picture of runs: well-formed, complete, and readable."""

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.experiments.label_places import Box, Point, place_labels
from trainer.experiments.timeline import Curve, Mark, draw_timeline, ticks

SVG = "{http://www.w3.org/2000/svg}"
UNDISTURBED = Curve([(0, 0), (10, 1000)], undisturbed=True)
FAULTED = Curve(
    [(0, 0), (4, 400), (6, 350), (13, 1000)],
    [Mark(4.0, "kill", "kill server"), Mark(8.0, "pause", "pause worker-0 for 2 s")],
)


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def test_it_is_well_formed_and_has_its_size_and_a_white_ground() -> None:
    root = ElementTree.fromstring(draw_timeline("a < b & c", [UNDISTURBED, FAULTED]))
    assert (root.get("width"), root.get("height")) == ("800", "420")
    ground = root.find(f"{SVG}rect")
    assert ground is not None
    assert ground.get("fill") == "#ffffff"
    assert root.findtext(f"{SVG}title") == "a < b & c"


def test_it_holds_runs_marks_labels_legend_and_units() -> None:
    svg = draw_timeline("chaos", [UNDISTURBED, FAULTED, FAULTED])
    root = ElementTree.fromstring(svg)
    assert len(list(root.iter(f"{SVG}polyline"))) == 3
    signs = [group.findtext(f"{SVG}title") for group in root.iter(f"{SVG}g")]
    assert signs.count("kill server") == 2  # a sign in each run
    assert signs.count("pause worker-0 for 2 s") == 2
    shown = texts(svg)
    assert shown.count("kill server") == 1  # one label
    assert {"undisturbed", "with faults, 2 runs", "killed", "paused"} <= {*shown}
    assert {"steps", "seconds since training began", "1,000", "10"} <= {*shown}
    assert "slowed" not in shown


def test_lost_steps_are_a_fall_and_not_a_slope() -> None:
    root = ElementTree.fromstring(draw_timeline("", [FAULTED]))
    line = root.find(f"{SVG}polyline")
    assert line is not None
    places = [tuple(map(float, place.split(","))) for place in line.get("points", "").split()]
    (_, _), (_, before), (x, still), (x_after, after), _ = places
    assert x == x_after
    assert before == still < after  # y grows downwards


def test_nothing_at_all_is_a_picture_too() -> None:
    ElementTree.fromstring(draw_timeline("", []))
    ElementTree.fromstring(draw_timeline("", [Curve([]), Curve([(0, 0)], [Mark(0, "slow", "x")])]))


@pytest.mark.parametrize(
    ("until", "expected"),
    [
        (0, [0]),
        (1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (7, [0, 1, 2, 3, 4, 5, 6, 7]),
        (8800, [0, 2000, 4000, 6000, 8000]),
        (34.9, [0, 5, 10, 15, 20, 25, 30]),
    ],
)
def test_ticks_are_round(until: float, expected: list[float]) -> None:
    assert ticks(until) == expected


@given(st.lists(st.tuples(st.floats(60, 780), st.text("abc -1", min_size=1, max_size=30))))
def test_labels_overlap_nothing(drawn: list[tuple[float, str]]) -> None:
    plot = Box(60, 80, 780, 370)
    curve = [Point(60, 370), Point(780, 80)]
    marks = [(Point(x, 370 - (x - 60) / 720 * 290), text) for x, text in sorted(drawn)]
    boxes = [box for box in place_labels(marks, [curve], plot) if box]
    for i, box in enumerate(boxes):
        assert plot.holds(box)
        assert not any(box.meets(other) for other in boxes[i + 1 :])
        assert not any(box.meets(Box(x - 5, y - 5, x + 5, y + 5)) for (x, y), _ in marks)
        crossed_at = 60 + (370 - box.bottom) / 290 * 720, 60 + (370 - box.top) / 290 * 720
        assert crossed_at[1] <= box.left or crossed_at[0] >= box.right
