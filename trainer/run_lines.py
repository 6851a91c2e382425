"""The lines of a run's events.jsonl and metrics.jsonl, checked: what is read of them is there.

A field that this version can do without may be missing; a line of another format, or one that a
person has edited, is refused by its file's name. Next: `past.py` and `roster.py`, which trust them.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import BaseModel, Field, TypeAdapter

from trainer.line_check import checked
from trainer.run_place import EVENTS, METRICS
from trainer.storage.place import Place
from trainer.storage.stored_lines import lines_at

Line = Mapping[str, Any]


class _Event(BaseModel, strict=True):
    """What each may have."""

    event: str = ""
    worker: str = ""
    unix_s: float = 0.0
    at_s: float = 0.0
    step: int = 0
    reason: str = ""


class _Joined(_Event):
    worker: str
    host: str
    process_id: int


class _Assigned(_Event):
    worker: str
    shards: list[int]


class _Awaited(_Event):
    workers: list[str]


class _Died(_Event):
    worker: str
    reason: str
    reached_step: int = 0


class _Suspected(_Event):
    worker: str
    late_step: int


class _Recovered(_Event):
    worker: str
    from_: str = Field(alias="from")
    cause: str
    at_step: int
    detected_s: float | None
    takeover_s: float | None
    restart_s: float | None
    stalled_s: float | None
    repeated_steps: int


class _Refused(_Event):
    count: int


class _Repeated(_Event):
    step_count: int


class _Stalled(_Event):
    seconds: float


class _Epoch(BaseModel, strict=True):
    epoch: int = Field(ge=1)
    step: int
    loss: float | None = None
    test_loss: float | None = None
    accuracy: float | None = None
    samples_per_second: float | None = None


_OTHER: Final = TypeAdapter(_Event)
_EPOCH: Final = TypeAdapter(_Epoch)
_EVENTS: Final[Mapping[str, TypeAdapter[Any]]] = {
    "joined": TypeAdapter(_Joined),
    "assigned": TypeAdapter(_Assigned),
    "missing": TypeAdapter(_Awaited),
    "unplaced": TypeAdapter(_Awaited),
    "died": TypeAdapter(_Died),
    "suspected": TypeAdapter(_Suspected),
    "recovered": TypeAdapter(_Recovered),
    "refused": TypeAdapter(_Refused),
    "repeated": TypeAdapter(_Repeated),
    "stalled": TypeAdapter(_Stalled),
}


def events_in(directory: Place) -> Sequence[Line]:
    """The events of a run, in their order; none without the file.

    Raises:
        RunDirectoryError: one lacks a field, or has another kind of value there; names the file.
        OSError: the file can not be read.
    """
    path = directory / EVENTS
    lines = lines_at(path).lines()
    for line in lines:
        checked(line, _EVENTS.get(str(line.get("event")), _OTHER), path)
    return lines


def epochs_in(directory: Place) -> Sequence[Line]:
    """A line for each epoch that is done; raises as `events_in`."""
    path = directory / METRICS
    lines = lines_at(path).lines()
    for line in lines:
        checked(line, _EPOCH, path)
    return lines
