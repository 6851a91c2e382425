"""What a run under faults came to, read from its run directory.

The run may have had several lives, its driver killed and resumed: then result.json knows the
last one only, and events.jsonl, faults.jsonl and timeline.jsonl know the rest.
"""

import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from trainer.experiments.timeline import Curve, Mark
from trainer.faults.log import FaultRecord, Moment, read_faults, read_lines, read_timeline


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run of an experiment; a row of its table."""

    name: str
    failure: str | None  # why it has no result
    digest: str | None
    deaths: int  # of actors and of the driver
    restarts: int  # of actors, and resumes
    repeated_steps: int
    stalls_s: list[float]  # times without progress, each around a fault
    training_s: float  # from the first step's start to the last step's end, resumes included
    faults: list[FaultRecord]

    @property
    def median_stall_s(self) -> float | None:
        """None: it never stood."""
        return median(self.stalls_s) if self.stalls_s else None

    @property
    def longest_stall_s(self) -> float | None:
        """None: it never stood."""
        return max(self.stalls_s, default=None)

    def times(self, undisturbed: "RunRecord") -> float:
        """How many times as long as the undisturbed run it trained."""
        return self.training_s / undisturbed.training_s if undisturbed.training_s else 1.0

    @property
    def unfired(self) -> list[FaultRecord]:
        """The faults of the plan that did not happen."""
        return [fault for fault in self.faults if not fault.fired]


def read_run(folder: Path, failure: str | None = None) -> RunRecord:
    """The numbers of a run directory, as far as its files go.

    Args:
        failure: why the run did not end well, if the caller knows.
    """
    result = _result(folder)
    events = _events(folder)
    moments, faults = read_timeline(folder), read_faults(folder)
    gaps = _gaps(moments)
    driver_deaths = sum(
        fault.fired and fault.kind == "kill" and hit.name == "driver"
        for fault in faults
        for hit in fault.hits
    )
    stalls_s = [float(event["seconds"]) for event in events if event["event"] == "stalled"]
    repeated = sum(int(event.get("step_count", 0)) for event in events)
    return RunRecord(
        name=folder.name,
        failure=failure or (None if result else "no result.json"),
        digest=result.get("digest"),
        deaths=_most(result, "deaths", _count(events, "died")) + driver_deaths,
        restarts=_most(result, "restarts", _count(events, "restarting")) + len(gaps),
        repeated_steps=_most(result, "repeated_steps", max(repeated, _fallen(moments)))
        + sum(repeated_steps for repeated_steps, _ in gaps),
        stalls_s=max(stalls_s, list(result.get("stalls_s", [])), key=len)
        + [seconds for _, seconds in gaps],
        training_s=moments[-1].at_s if moments else float(result.get("train_s", 0.0)),
        faults=faults,
    )


def read_curve(folder: Path, undisturbed: bool = False) -> Curve:
    """A run's steps over time, and its fired faults."""
    return Curve(
        [(moment.at_s, moment.step) for moment in read_timeline(folder)],
        [
            Mark(fault.at_s, fault.kind, _shown(fault))
            for fault in read_faults(folder)
            if fault.fired
        ],
        undisturbed,
    )


def _shown(fault: FaultRecord) -> str:
    """A random fault is named by whom it hit."""
    if fault.number.isdecimal():
        return fault.label
    return f"{fault.kind} {fault.hits[0].name}"


def _fallen(moments: list[Moment]) -> int:
    """Steps that a restored server ran again, as far as a few looks a second tell.

    When all actors die at once, only the driver remembers how far they were.
    """
    return sum(
        max(0, last.step - first.step)
        for last, first in pairwise(moments)
        if first.attempt == last.attempt
    )


def _gaps(moments: list[Moment]) -> list[tuple[int, float]]:
    """For each resume: steps to run again, and seconds from the last step to the next new one."""
    gaps = []
    for i, (last, first) in enumerate(pairwise(moments)):
        if first.attempt != last.attempt:
            later = (moment for moment in moments[i + 1 :] if moment.step > first.step)
            go_on_s = next((moment.at_s for moment in later), first.at_s)
            gaps.append((max(0, last.step - first.step), round(go_on_s - last.at_s, 4)))
    return gaps


def _most(result: dict[str, Any], key: str, counted: int) -> int:
    """The result may count the last life only, the events may be of an older format."""
    return max(int(result.get(key, 0)), counted)


def _count(events: list[dict[str, Any]], name: str) -> int:
    return sum(event["event"] == name for event in events)


def _result(folder: Path) -> dict[str, Any]:
    path = folder / "result.json"
    loaded: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.exists() else {}
    return loaded


def _events(folder: Path) -> list[dict[str, Any]]:
    return [event for event in read_lines(folder / "events.jsonl") if "event" in event]
