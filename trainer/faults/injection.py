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
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from queue import Empty, SimpleQueue
from signal import SIGKILL
from types import TracebackType
from typing import Self, TypeAlias

from actors.cluster import Heard
from actors.messages import DRIVER, Progress, Snapshot, Stall
from actors.orders import Died, Joined
from trainer.faults.driver_signals import DriverHolds
from trainer.faults.log import FaultLog, FaultRecord, Hit
from trainer.faults.plan import Plan
from trainer.faults.planned import Planned
from trainer.faults.schedule import FaultSchedule, Signal
from trainer.faults.targets import Living

Told: TypeAlias = Callable[[float, FaultRecord], None]


class FaultInjector:
    """Fires a plan's faults for as long as the `with` block lasts: training begins with it."""

    def __init__(
        self,
        plan: Plan,
        signal: Callable[[str, int], bool],
        folder: Path,
        step: int = 0,
        told: Told | None = None,
    ) -> None:
        """Nothing happens before the `with` block.

        Args:
            signal: `Cluster.signal`; called in a thread of its own.
            folder: the run directory; faults that fired according to it do not fire again.
            step: where training begins.
            told: called with each record and its time, by `time.monotonic`, in that thread.
        """
        self._plan, self._signal, self._folder, self._step = plan, signal, folder, step
        self._told = told
        self._heard: SimpleQueue[Heard | None] = SimpleQueue()
        self._living: dict[str, Living] = {}
        self._seen: set[str] = set()
        self._fired: set[str] = set()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="faults", daemon=True)

    def __enter__(self) -> Self:
        self._began_s = time.monotonic()
        self._log = FaultLog(self._folder, time.time())
        self._schedule = FaultSchedule(self._plan, self._log.fired(), self._log.from_s)
        self._log.moment(self._log.from_s, self._step)
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

    def hear(self, heard: Heard) -> None:
        """Tell what the driver heard; returns at once."""
        self._heard.put(heard)

    def _run(self) -> None:
        try:
            with DriverHolds() as self._holds:
                self._work()
            for planned, why in self._schedule.unfired(self._step, self._now_s(), self._seen):
                self._record(planned, time.monotonic(), [], why)
        except Exception as error:  # raised where the `with` block ends
            self._error = error
        finally:
            self._release()
            self._log.close()

    def _release(self) -> None:
        for signal in self._schedule.release():
            self._signal(signal.name, signal.number)

    def _work(self) -> None:
        """Until the `with` block ends."""
        while True:
            now_s = self._now_s()
            self._send(self._schedule.due(now_s, self._step, self._living))
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
            if planned.number in self._fired:
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
        """It is on the disk first: afterwards there may be nobody to write it."""
        hit = Hit(DRIVER, platform.node(), os.getpid())
        self._record(planned, time.monotonic(), [hit])
        if planned.kind == "kill":
            self._release()  # nobody else would
            os.kill(os.getpid(), SIGKILL)
        else:
            self._holds.hold(planned)

    def _hit(self, name: str) -> Hit:
        living = self._living.get(name, Living("", 0))
        return Hit(name, living.host, living.process_id)

    def _record(self, planned: Planned, at_s: float, hits: list[Hit], why: str = "") -> None:
        if hits:
            self._fired.add(planned.number)
        record = FaultRecord(
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
        # First, for the driver may hear of the death while the disk is busy.
        if self._told is not None:
            self._told(at_s, record)
        self._log.record(record)

    def _now_s(self) -> float:
        return self._in_run_s(time.monotonic())

    def _in_run_s(self, monotonic_s: float) -> float:
        """Seconds since training first began, over restarts of the driver."""
        return monotonic_s - self._began_s + self._log.from_s
