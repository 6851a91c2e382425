"""What a run under faults came to, read from its run directory.

result.json counts over all lives of a run, its driver killed and resumed; what has none yet is
counted from its events, as the next life would. timeline.jsonl is for the picture.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from trainer.experiments.timeline import Curve, Mark
from trainer.faults.log import FaultRecord, read_faults, read_timeline
from trainer.line_log import LineLog
from trainer.past import read_past


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


def read_run(folder: Path, failure: str | None = None) -> RunRecord:
    """The numbers of a run directory, as far as its files go.

    Args:
        failure: why the run did not end well, if the caller knows.
    """
    result, moments = _result(folder), read_timeline(folder)
    told = result or asdict(read_past(_events(folder)))
    return RunRecord(
        name=folder.name,
        failure=failure or (None if result else "no result.json"),
        digest=result.get("digest"),
        deaths=told["deaths"],
        restarts=told["restarts"],
        repeated_steps=told["repeated_steps"],
        stalls_s=told["stalls_s"],
        training_s=moments[-1].at_s if moments else float(result.get("train_s", 0.0)),
        faults=read_faults(folder),
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
    if fault.is_listed:
        return fault.label
    return f"{fault.kind} {fault.hits[0].name}"


def _result(folder: Path) -> dict[str, Any]:
    path = folder / "result.json"
    loaded: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.exists() else {}
    return loaded


def _events(folder: Path) -> list[dict[str, Any]]:
    return [event for event in LineLog(folder / "events.jsonl").lines() if "event" in event]
