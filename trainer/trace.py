"""The spans of all actors as a Chrome trace: trace.json, which Perfetto shows.

Source: "Trace Event Format" (Google, 2016): complete events, "ph": "X", in microseconds,
and metadata events, "ph": "M", that name the processes. Each actor is a process.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

from actors.messages import Vector
from actors.stopwatch import ACTIVITIES, FIELDS

_US: Final = 1e6
_EVENT: Final = (
    '{{"name":"{}","cat":"step","ph":"X","ts":{:.3f},"dur":{:.3f},"pid":{},"tid":{},'
    '"args":{{"step":{:.0f}}}}}'
)


class Lane(NamedTuple):
    """One actor's row."""

    name: str
    spans: list[Vector]  # as in `Times`
    shift_s: float  # what its clock has to be put forward by to show the driver's


def trace_pieces(lanes: Iterable[Lane], began_s: float, left_out: int) -> Iterator[bytes]:
    """The file, piece by piece.

    Args:
        began_s: the trace's zero, by the driver's clock.
        left_out: how many spans were not kept; the file says so.
    """
    yield b'{"displayTimeUnit":"ms",'
    yield f'"otherData":{json.dumps({"spans_left_out": left_out})},\n"traceEvents":['.encode()
    comma = "\n"
    for number, lane in enumerate(lanes, start=1):
        for event in _names(number, lane.name):
            yield (comma + json.dumps(event)).encode()
            comma = ",\n"
        for spans in lane.spans:
            yield "".join(comma + line for line in _lines(spans, number, lane, began_s)).encode()
    yield b"\n]}\n"


def _names(number: int, name: str) -> list[dict[str, Any]]:
    place = {"ph": "M", "pid": number, "tid": number}
    return [
        {"name": "process_name", **place, "args": {"name": name}},
        {"name": "process_sort_index", **place, "args": {"sort_index": number}},
        {"name": "thread_name", **place, "args": {"name": name}},
    ]


def _lines(spans: Vector, number: int, lane: Lane, began_s: float) -> Iterator[str]:
    for step, activity, start_s, end_s in spans.reshape(-1, FIELDS).tolist():
        at_us = (start_s + lane.shift_s - began_s) * _US
        name = ACTIVITIES[int(activity)]
        yield _EVENT.format(name, at_us, (end_s - start_s) * _US, number, number, step)
