"""What a monitoring system is to know of a training, made of what the driver hears. Pure.

It counts what this process sees done: a step counts once, however often a restored server runs
it again, and what an earlier process did is counted there. Nothing here happens once a step: the
server tells a few times a second how far it is. Next: `ray_metrics.py`, which passes it on.
"""

import math
from typing import Protocol

from actors.cluster import Heard
from actors.messages import SERVER, Progress, Snapshot, Stall
from actors.names import slot_of
from actors.orders import Died, Joined, Ready, Restarting


class Instruments(Protocol):
    """Where the numbers go; the names are those of `ray_metrics.py`."""

    def add(self, counter: str, amount: float) -> None:
        """Something happened so often, or lasted so long; more than 0."""

    def set(self, gauge: str, value: float) -> None:
        """So much there is now."""

    def observe(self, histogram: str, value: float) -> None:
        """One more of a distribution."""


class Meter:
    """Hears what the driver hears, and tells the instruments what is new in it."""

    def __init__(self, state: Snapshot, instruments: Instruments) -> None:
        """`state`: from where this process goes on."""
        self._instruments = instruments
        self._epoch, self._step = state.epoch, state.step
        self._sample_count = state.sample_count  # of that epoch
        self._moved_s = math.inf  # when the last new step was heard of
        self._hosts: dict[str, str] = {}  # of the living

    def hear(self, heard: Heard) -> None:
        """Take in what the driver hears."""
        at_s, message = heard
        match message:
            case Ready():  # the first step begins; what lay before was none
                self._moved_s = at_s
            case Snapshot() | Progress():
                self._moved(at_s, message)
            case Stall(_, seconds) if seconds > 0:
                self._instruments.add("everstep_stall_seconds", seconds)
            case Joined(name, host):
                self._hosts[name] = host
                self._count_living()
            case Died(name):
                self._hosts.pop(name, None)
                self._instruments.add("everstep_deaths", 1)
                self._count_living()
            case Restarting():
                self._instruments.add("everstep_restarts", 1)
            case _:
                pass

    def end(self) -> None:
        """The actors have left."""
        self._hosts.clear()
        self._count_living()

    def _moved(self, at_s: float, now: Snapshot | Progress) -> None:
        if now.step <= self._step:
            return  # said twice, or done again
        steps, self._step = now.step - self._step, now.step
        self._instruments.add("everstep_steps", steps)
        self._instruments.set("everstep_step", now.step)
        if at_s > self._moved_s:
            self._instruments.observe("everstep_step_seconds", (at_s - self._moved_s) / steps)
        self._moved_s = at_s
        before = self._sample_count if now.epoch == self._epoch else 0
        self._epoch, self._sample_count = now.epoch, now.sample_count
        if now.sample_count > before:
            self._instruments.add("everstep_samples", now.sample_count - before)
            self._instruments.set("everstep_loss", now.loss_sum / now.sample_count)

    def _count_living(self) -> None:
        workers = [name for name in self._hosts if slot_of(name) != SERVER]
        self._instruments.set("everstep_workers", len(workers))
        self._instruments.set("everstep_nodes", len({*self._hosts.values()}))
