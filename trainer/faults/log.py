"""What a plan did to a run, on disk: faults.jsonl and timeline.jsonl of the run directory.

A fault that kills the driver is written and synced before it happens, so that a resumed run
knows of it. Times are seconds since training first began, by the wall clock over restarts.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Final, NamedTuple

from pydantic import TypeAdapter

from trainer.faults.plan import Kind, Plan
from trainer.faults.planned import planned_faults
from trainer.line_check import checked
from trainer.storage.place import Place
from trainer.storage.stored_lines import lines_at
from trainer.write_troubles import WriteTroubles

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


_RECORD: Final = TypeAdapter(FaultRecord)
_MOMENT: Final = TypeAdapter(Moment)
_TIME: Final = TypeAdapter(float)


class FaultLog:
    """Appends to both files; knows what earlier attempts wrote.

    What the disk does not take waits, and is told with the run directory's own troubles. A run
    that this process does not hold any more is a `LockLostError`, from each method.
    """

    def __init__(self, folder: Place, unix_s: float, troubles: WriteTroubles | None = None) -> None:
        """Begin an attempt.

        Args:
            folder: the run directory.
            unix_s: the wall clock's time now.
        """
        self._folder, self._patient = folder, (troubles or WriteTroubles()).patient
        self._faults, self._timeline = lines_at(folder / FAULTS), lines_at(folder / TIMELINE)
        began_s = _began(self._faults.lines(), folder / FAULTS)
        self.attempt = len(began_s) + 1
        self.from_s = max(0.0, unix_s - began_s[0]) if began_s else 0.0
        with self._patient(self._faults):
            self._faults.append({"attempt": self.attempt, "unix_s": unix_s})
            self._faults.flush()

    def fired(self) -> set[tuple[str, str]]:
        """Number and text of the faults that fired in this attempt or an earlier one."""
        return {(r.number, r.fault) for r in read_faults(self._folder) if r.fired}

    def record(self, record: FaultRecord) -> None:
        """Write a fault's fate; if it can be, it is on the disk or in the store afterwards."""
        with self._patient(self._faults):
            self._faults.append(asdict(record))
        with self._patient(self._timeline):
            self._timeline.flush()
        with self._patient(self._faults):
            self._faults.sync()

    def record_first(self, record: FaultRecord) -> None:
        """Write what becomes of a fault that leaves nobody to write it.

        Raises:
            RunWriteError: it could not be written, and will not be: the fault must not happen.
        """
        with self._patient(self._timeline):
            self._timeline.flush()
        self._faults.append_or_forget(asdict(record))

    def moment(self, at_s: float, step: int) -> None:
        """Write how far the run is."""
        with self._patient(self._timeline):
            self._timeline.append(asdict(Moment(self.attempt, round(at_s, 4), step)))

    def close(self) -> None:
        """Write what waits, or is not in the store yet.

        Raises:
            RunWriteError: it could not be written, and is lost.
        """
        self._timeline.flush()
        self._faults.flush()


def read_faults(folder: Place) -> list[FaultRecord]:
    """The last word on each fault of a run directory; empty without the file.

    Raises:
        RunDirectoryError: it holds a line that is none of its own.
    """
    return _records(folder / FAULTS)[1]


def last_kill_of(name: str, folder: Place) -> Kill | None:
    """The last planned fault that killed `name`; None: none did. Raises as `read_faults`."""
    began_s, records = _records(folder / FAULTS)
    kills = [
        Kill(began_s + record.at_s, record.step, f"fault {record.number} ({record.fault})")
        for record in records
        if record.fired and record.kind == "kill" and name in (hit.name for hit in record.hits)
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
    """How far a run was at which time; empty without the file. Raises as `read_faults`."""
    path = folder / TIMELINE
    return [checked(line, _MOMENT, path) for line in lines_at(path).lines()]


def _records(path: Place) -> tuple[float, list[FaultRecord]]:
    """When training first began, in Unix time, and the last word on each fault."""
    lines = lines_at(path).lines()
    began_s = _began(lines, path)
    records = [checked(line, _RECORD, path) for line in lines if "fault" in line]
    return began_s[0] if began_s else 0.0, [*{r.number: r for r in records}.values()]


def _began(lines: Iterable[dict[str, Any]], path: Place) -> list[float]:
    """The Unix time at which each attempt began."""
    return [checked(line["unix_s"], _TIME, path) for line in lines if "unix_s" in line]
