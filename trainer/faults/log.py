"""What a plan did to a run, on disk: faults.jsonl and timeline.jsonl of the run directory.

A fault that kills the driver is written and synced before it happens, so that a resumed run
knows of it. Times are seconds since training first began, by the wall clock over restarts.
"""

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Final, NamedTuple, TextIO

from trainer.errors import RunWriteError
from trainer.faults.plan import Kind, Plan
from trainer.faults.planned import planned_faults
from trainer.storage.place import Place
from trainer.storage.stored_lines import StoredLines
from trainer.storage.stored_path import StoredPath

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

    @property
    def is_listed(self) -> bool:
        """Not a random one."""
        return self.number.isdecimal()


class Kill(NamedTuple):
    """A planned death: when, after which step, and by which fault."""

    unix_s: float
    step: int
    fault: str


@dataclass(frozen=True, slots=True)
class Moment:
    """How far a run was at a time."""

    attempt: int
    at_s: float
    step: int


class FaultLog:
    """Appends to both files; knows what earlier attempts wrote."""

    def __init__(self, folder: Place, unix_s: float) -> None:
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
        if isinstance(self._faults, StoredLines):
            self._faults.flush()

    def fired(self) -> set[tuple[str, str]]:
        """Number and text of the faults that fired in this attempt or an earlier one."""
        return {(r.number, r.fault) for r in read_faults(self._folder) if r.fired}

    def record(self, record: FaultRecord) -> None:
        """Write a fault's fate; it is on the disk, or in the store, when this returns."""
        self._write(self._faults, asdict(record))
        if isinstance(self._faults, StoredLines):
            self._flush()
        else:
            os.fsync(self._faults.fileno())

    def moment(self, at_s: float, step: int) -> None:
        """Write how far the run is."""
        self._write(self._timeline, asdict(Moment(self.attempt, round(at_s, 4), step)))

    def close(self) -> None:
        """Close both files."""
        self._flush()
        for file in (self._faults, self._timeline):
            if not isinstance(file, StoredLines):
                file.close()

    def _flush(self) -> None:
        """What a store has not got yet; a local line is written at once."""
        for file in (self._timeline, self._faults):
            if isinstance(file, StoredLines):
                file.flush()

    def _open(self, name: str) -> TextIO | StoredLines:
        path = self._folder / name
        if isinstance(path, StoredPath):
            return StoredLines(path)
        try:
            content = path.read_bytes() if path.exists() else b""
            file = path.open("a", encoding="utf-8", buffering=1)
            if content and not content.endswith(b"\n"):  # a line that a crash cut
                file.write("\n")
        except OSError as error:
            raise RunWriteError(f"{path}: {error.strerror}") from None
        return file

    def _write(self, file: TextIO | StoredLines, line: dict[str, Any]) -> None:
        if isinstance(file, StoredLines):
            file.append(line)
            return
        try:
            file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise RunWriteError(f"{file.name}: {error.strerror}") from None


def read_faults(folder: Place) -> list[FaultRecord]:
    """The last word on each fault of a run directory; empty without the file."""
    records: dict[str, FaultRecord] = {}
    for line in read_lines(folder / FAULTS):
        if "fault" in line:
            hits = tuple(Hit(**hit) for hit in line.pop("hits"))
            records[line["number"]] = FaultRecord(**line, hits=hits)
    return list(records.values())


def last_kill_of(name: str, folder: Place) -> Kill | None:
    """The last planned fault that killed `name`; None: none did."""
    began = [line["unix_s"] for line in read_lines(folder / FAULTS) if "unix_s" in line]
    kills = [
        Kill(began[0] + record.at_s, record.step, f"fault {record.number} ({record.fault})")
        for record in read_faults(folder)
        if began and record.fired and record.kind == "kill" and record.hits[0].name == name
    ]
    return max(kills, default=None)


def with_the_rest(records: Iterable[FaultRecord], plan: Plan) -> tuple[FaultRecord, ...]:
    """The last word on each fault, in the plan's order, and on those of which there is none."""
    known = {record.number: record for record in records}
    why = "faults were no longer fired" if known else "training did not begin"
    listed = {
        p.number: FaultRecord(p.number, str(p), p.kind, p.label, False, 1, 0.0, 0, (), why)
        for p in planned_faults(plan)
    }
    return tuple({**listed, **known}.values())


def read_timeline(folder: Place) -> list[Moment]:
    """How far a run was at which time; empty without the file."""
    return [Moment(**line) for line in read_lines(folder / TIMELINE)]


def read_lines(path: Place) -> list[dict[str, Any]]:
    """The objects of a JSON-lines file; a line that a crash cut is left out."""
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            continue
    return lines
