"""A thread that does to a running training what a plan says: real signals, real processes.

It hears what the driver hears, asks `fault_schedule.FaultSchedule` what is due, sends it and
writes it down. Whatever it stopped goes on when it ends. `faults/faulty_cluster.py` puts it between
a cluster and its driver.
"""

import math
import os
import platform
import threading
import time
from collections.abc import Callable, Sequence
from itertools import groupby
from queue import Empty, SimpleQueue
from signal import SIGKILL
from types import TracebackType
from typing import Self, TypeAlias

from actors.cluster import Heard
from actors.messages import DRIVER, Progress, Snapshot, Stall
from actors.orders import Died, Joined
from trainer.errors import LockLostError, RunWriteError
from trainer.faults.driver_signals import DriverHolds
from trainer.faults.log import FaultLog, FaultRecord, Hit, read_faults
from trainer.faults.plan import Plan
from trainer.faults.planned import Planned
from trainer.faults.schedule import FaultSchedule, Signal
from trainer.faults.targets import Living
from trainer.storage.place import Place
from trainer.write_troubles import WriteTroubles

Told: TypeAlias = Callable[[float, FaultRecord], None]


class FaultInjector:
    """Fires a plan's faults for as long as the `with` block lasts: training begins with it."""

    def __init__(
        self,
        plan: Plan,
        signal: Callable[[str, int], bool],
        folder: Place,
        step: int = 0,
        told: Told | None = None,
        troubles: WriteTroubles | None = None,
    ) -> None:
        """Nothing happens before the `with` block.

        Args:
            signal: `Cluster.signal`; called in a thread of its own.
            folder: the run directory; faults that fired according to it do not fire again.
            step: where training begins.
            told: called with each record and its time, by `time.monotonic`, in that thread.
            troubles: takes in what the disk does not take.
        """
        self._plan, self._signal, self._folder, self._step = plan, signal, folder, step
        self._told, self._troubles = told, troubles
        self._heard: SimpleQueue[Heard | None] = SimpleQueue()
        self._living: dict[str, Living] = {}
        self._seen: set[str] = set()
        self._struck: set[str] = set()  # the numbers of what this process fired
        self._records: dict[str, FaultRecord] = {}  # the last word on each, also an earlier one
        self._error: Exception | None = None
        self.unwritten = ""  # why the last lines are lost, once the `with` block has ended
        self._thread = threading.Thread(target=self._run, name="faults", daemon=True)

    def __enter__(self) -> Self:
        self._began_s = time.monotonic()
        self._records = {record.number: record for record in read_faults(self._folder)}
        self._log = FaultLog(self._folder, time.time(), self._troubles)
        self._schedule = FaultSchedule(self._plan, self._log.fired(), self._log.from_s)
        self._log.moment(self._log.from_s, self._step)
        while not self._heard.empty():  # else who lives would not be known to the first fault
            if (heard := self._heard.get()) is not None:
                self._take(heard)
        self._thread.start()
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._heard.put(None)
        self._thread.join()
        if self._error is not None and error is None:
            raise self._error
        if self._error is not None and error is not None:
            error.add_note(f"no fault was fired any more: {self._error}")

    @property
    def records(self) -> tuple[FaultRecord, ...]:
        """What became of each fault; complete once the `with` block has ended."""
        return tuple(self._records.values())

    def hear(self, heard: Heard) -> None:
        """Tell what the driver heard; returns at once."""
        self._heard.put(heard)

    def _run(self) -> None:
        for part in (self._inject, self._release, self._write_off, self._close):
            try:
                part()
            except Exception as error:  # the first is raised where the `with` block ends
                self._error = self._error or error

    def _inject(self) -> None:
        with DriverHolds() as self._holds:
            self._work()

    def _release(self) -> None:
        for signal in self._schedule.release():
            self._signal(signal.name, signal.number)

    def _write_off(self) -> None:
        """What never fired, and why: known here, whether or not the disk takes it."""
        unfired = self._schedule.unfired(self._step, self._now_s(), self._seen)
        broken = f"no fault was fired any more: {self._error}" if self._error else ""
        self._unfired([(planned, broken or why) for planned, why in unfired])

    def _unfired(self, faults: Sequence[tuple[Planned, str]]) -> None:
        at_s = time.monotonic()
        records = [self._fate(planned, at_s, [], why) for planned, why in faults]
        self._records |= {record.number: record for record in records}
        for record in records:
            self._log.record(record)

    def _close(self) -> None:
        try:
            self._log.close()
        except LockLostError:
            raise
        except RunWriteError as error:  # the training is whole without them
            self.unwritten = f"{error}; its last lines are lost"

    def _work(self) -> None:
        """Until the `with` block ends."""
        while True:
            now_s = self._now_s()
            self._send(self._schedule.due(now_s, self._step, self._living))
            self._unfired(self._schedule.take_dropped())
            next_s = self._schedule.next_s(now_s)
            wait_s = None if math.isinf(next_s) else max(0.0, next_s - self._now_s())
            try:
                heard = self._heard.get(timeout=wait_s)
            except Empty:
                continue
            if heard is None:
                return
            self._take(heard)

    def _take(self, heard: Heard) -> None:
        match heard.message:
            case Progress() | Snapshot() | Stall() as message:
                self._step = message.step
                self._log.moment(self._in_run_s(heard.at_s), message.step)
            case Joined(name, host, process_id):
                self._living[name] = Living(host, process_id)
                self._seen.add(name)
            case Died(name):
                self._living.pop(name, None)
            case _:
                pass

    def _send(self, signals: list[Signal]) -> None:
        for planned, group in groupby(signals, key=lambda signal: signal.planned):
            if planned.target == DRIVER:
                self._hit_driver(planned)
                continue
            at_s = time.monotonic()
            hits = [self._hit(signal.name) for signal in group if self._deliver(signal)]
            if planned.number in self._struck:
                continue  # a slowed process stands or goes on: no news
            if hits:
                self._record(planned, at_s, hits)
            else:
                self._schedule.wait_again(planned)

    def _deliver(self, signal: Signal) -> bool:
        found = self._signal(signal.name, signal.number)
        if not found:
            self._schedule.missed(signal.name)
        return found

    def _hit_driver(self, planned: Planned) -> None:
        """A kill is on the disk first: afterwards there is nobody to write it."""
        hits, at_s = [Hit(DRIVER, platform.node(), os.getpid())], time.monotonic()
        if planned.kind != "kill":
            self._record(planned, at_s, hits)
            self._holds.hold(planned)
            return
        try:
            self._log.record_first(self._fate(planned, at_s, hits))
        except LockLostError:
            raise
        except RunWriteError as error:  # or whoever resumes would be killed again
            self._schedule.wait_again(planned, f"it could not be written down before: {error}")
            return
        self._release()  # nobody else would
        os.kill(os.getpid(), SIGKILL)

    def _hit(self, name: str) -> Hit:
        living = self._living.get(name, Living("", 0))
        return Hit(name, living.host, living.process_id)

    def _record(self, planned: Planned, at_s: float, hits: list[Hit]) -> None:
        """It fired."""
        self._struck.add(planned.number)
        record = self._records[planned.number] = self._fate(planned, at_s, hits)
        # First, for the driver may hear of the death while the disk is busy.
        if self._told is not None:
            self._told(at_s, record)
        self._log.record(record)

    def _fate(self, planned: Planned, at_s: float, hits: list[Hit], why: str = "") -> FaultRecord:
        return FaultRecord(
            planned.number,
            str(planned),
            planned.kind,
            planned.label,
            bool(hits),
            self._log.attempt,
            round(self._in_run_s(at_s), 4),
            self._step,
            tuple(hits),
            why,
        )

    def _now_s(self) -> float:
        return self._in_run_s(time.monotonic())

    def _in_run_s(self, monotonic_s: float) -> float:
        """Seconds since training first began, over restarts of the driver."""
        return monotonic_s - self._began_s + self._log.from_s
