"""What a plan did to a run, on disk: faults.jsonl and timeline.jsonl of the run directory.

A fault that kills the driver is written and synced before it happens, so that a resumed run
knows of it. Times are seconds since training first began, by the wall clock over restarts.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, TextIO

from trainer.errors import RunWriteError
from trainer.faults.plan import Kind

FAULTS: Final = "faults.jsonl"
TIMELINE: Final = "timeline.jsonl"


@dataclass(frozen=True, slots=True)
class Hit:
    """A process that a fault hit."""

    name: str
    host: str
    process_id: int


@dataclass(frozen=True, slots=True)
class FaultRecord:
    """What became of one fault of the plan."""

    number: str
    fault: str  # in words, with its time
    kind: Kind
    label: str  # in words, without its time
    fired: bool
    attempt: int  # 1: `train`; from 2 on: `resume`
    at_s: float
    step: int  # the last one heard of
    hits: tuple[Hit, ...] = ()
    why: str = ""  # not fired


@dataclass(frozen=True, slots=True)
class Moment:
    """How far a run was at a time."""

    attempt: int
    at_s: float
    step: int


class FaultLog:
    """Appends to both files; knows what earlier attempts wrote."""

    def __init__(self, folder: Path, unix_s: float) -> None:
        """Begin an attempt.

        Args:
            folder: the run directory.
            unix_s: the wall clock's time now.

        Raises:
            RunWriteError: the files can not be written.
        """
        self._folder = folder
        began = [line["unix_s"] for line in read_lines(folder / FAULTS) if "unix_s" in line]
        self.attempt = len(began) + 1
        self.from_s = max(0.0, unix_s - began[0]) if began else 0.0
        self._faults = self._open(FAULTS)
        self._timeline = self._open(TIMELINE)
        self._write(self._faults, {"attempt": self.attempt, "unix_s": unix_s})

    def fired(self) -> set[tuple[str, str]]:
        """Number and text of the faults that fired in this attempt or an earlier one."""
        return {(r.number, r.fault) for r in read_faults(self._folder) if r.fired}

    def record(self, record: FaultRecord) -> None:
        """Write a fault's fate; it is on the disk when this returns."""
        self._write(self._faults, asdict(record))
        os.fsync(self._faults.fileno())

    def moment(self, at_s: float, step: int) -> None:
        """Write how far the run is."""
        self._write(self._timeline, asdict(Moment(self.attempt, round(at_s, 4), step)))

    def close(self) -> None:
        """Close both files."""
        self._faults.close()
        self._timeline.close()

    def _open(self, name: str) -> TextIO:
        path = self._folder / name
        try:
            content = path.read_bytes() if path.exists() else b""
            file = path.open("a", encoding="utf-8", buffering=1)
            if content and not content.endswith(b"\n"):  # a line that a crash cut
                file.write("\n")
        except OSError as error:
            raise RunWriteError(f"{path}: {error.strerror}") from None
        return file

    def _write(self, file: TextIO, line: dict[str, Any]) -> None:
        try:
            file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise RunWriteError(f"{file.name}: {error.strerror}") from None


def read_faults(folder: Path) -> list[FaultRecord]:
    """The last word on each fault of a run directory; empty without the file."""
    records: dict[str, FaultRecord] = {}
    for line in read_lines(folder / FAULTS):
        if "fault" in line:
            hits = tuple(Hit(**hit) for hit in line.pop("hits"))
            records[line["number"]] = FaultRecord(**line, hits=hits)
    return list(records.values())


def read_timeline(folder: Path) -> list[Moment]:
    """How far a run was at which time; empty without the file."""
    return [Moment(**line) for line in read_lines(folder / TIMELINE)]


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON-lines file; a line that a crash cut is left out."""
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            continue
    return lines
