"""Which signal is due when: a plan's faults against a clock and the living actors.

No clock, no thread, no process here: time, step and who lives come in as arguments, and
signals come out. `faults/injection.py` runs it; `faults/holds.py` is what a pause does.
"""

import math
from collections.abc import Collection, Iterator, Mapping
from signal import SIGCONT, SIGKILL, SIGSTOP, Signals
from typing import NamedTuple

from actors.messages import DRIVER
from actors.names import slot_of
from trainer.faults.holds import Hold
from trainer.faults.plan import ANY_WORKER, NODE, Plan
from trainer.faults.planned import Planned, planned_faults, random_faults
from trainer.faults.targets import Living, targets


class Signal(NamedTuple):
    """Send `number` to the process of `name`, for a fault of the plan."""

    planned: Planned
    name: str
    number: Signals


class FaultSchedule:
    """Where a plan stands."""

    def __init__(
        self, plan: Plan, fired: Collection[tuple[str, str]] = (), from_s: float = 0.0
    ) -> None:
        """Nothing is due before the first call of `due`.

        Args:
            fired: number and text of the faults that an earlier process has fired already.
            from_s: what the clock shows now; random faults of before are left out.
        """
        self._waiting = [
            planned
            for planned in planned_faults(plan)
            if (planned.number, str(planned)) not in fired
        ]
        self._random = iter(()) if plan.random is None else random_faults(plan.random)
        self._next_random = next((fault for fault in self._random if _due_s(fault) >= from_s), None)
        self._holds: list[Hold] = []
        self._stopped: dict[str, Planned] = {}
        self._gone: set[str] = set()
        self._reasons: dict[str, str] = {}  # why one waits again, by its number
        self._dropped: list[tuple[Planned, str]] = []

    def due(self, now_s: float, step: int, living: Mapping[str, Living]) -> list[Signal]:
        """The signals to send now, in this order.

        A listed fault without a living target waits for one; a random one is dropped, which
        `take_dropped` tells.

        Args:
            now_s: seconds since training began; never less than in the call before.
            step: the last one heard of.
            living: the actors that are known to live; `worker-1.2` is worker-1's second life.
        """
        present = {name: at for name, at in living.items() if name not in self._gone}
        signals = []
        for planned in self._take_due(now_s, step):
            names = targets(planned, present)
            if not names:
                self.wait_again(planned)
            for name in names:
                signals.append(self._strike(planned, name, now_s))
                if planned.kind == "kill":
                    present.pop(name, None)
        return signals + self._changes(now_s)

    def next_s(self, now_s: float) -> float:
        """When to call `due` again if nothing is heard before; infinity: no need."""
        times = [_due_s(planned) for planned in self._waiting]
        times += [hold.next_s(now_s) for hold in self._holds]
        if self._next_random is not None:
            times.append(_due_s(self._next_random))
        return min((time_s for time_s in times if time_s > now_s), default=math.inf)

    def missed(self, name: str) -> None:
        """There was no such process: it is not hit again, a kill waits for the next life."""
        self._gone.add(name)
        self._stopped.pop(name, None)
        self._holds = [hold for hold in self._holds if hold.name != name]

    def wait_again(self, planned: Planned, why: str = "") -> None:
        """None of its signals was sent: there was no such process, or `why`."""
        if planned.listed:
            self._reasons[planned.number] = why
            self._waiting.append(planned)
        else:
            self._dropped.append((planned, why or f"no {planned.target} lived then"))

    def take_dropped(self) -> list[tuple[Planned, str]]:
        """The random faults that did not fire at their time, and why; each is told once."""
        dropped, self._dropped = self._dropped, []
        return dropped

    def release(self) -> list[Signal]:
        """Let everything go on that stands; nothing is due afterwards."""
        self._holds.clear()
        return self._changes(math.inf)

    def unfired(self, step: int, now_s: float, seen: Collection[str]) -> list[tuple[Planned, str]]:
        """The listed faults that never fired, and why, when training is over.

        Args:
            step, now_s: where it ended.
            seen: the names of all actors that ever lived.
        """
        return [
            (planned, self._reasons.get(planned.number) or _why(planned, step, now_s, seen))
            for planned in self._waiting
        ]

    def _take_due(self, now_s: float, step: int) -> Iterator[Planned]:
        due = [
            planned
            for planned in self._waiting
            if _due_s(planned) <= now_s or (planned.at_step is not None and planned.at_step <= step)
        ]
        self._waiting = [planned for planned in self._waiting if planned not in due]
        yield from due
        while self._next_random is not None and _due_s(self._next_random) <= now_s:
            yield self._next_random
            self._next_random = next(self._random, None)

    def _strike(self, planned: Planned, name: str, now_s: float) -> Signal:
        if planned.kind == "kill":
            self._gone.add(name)
            self._stopped.pop(name, None)
            self._holds = [hold for hold in self._holds if hold.name != name]
            return Signal(planned, name, SIGKILL)
        if name != DRIVER:  # who stands can not wake itself: `faults/driver_signals.py`
            self._holds.append(Hold(planned, name, now_s))
            self._stopped[name] = planned
        return Signal(planned, name, SIGSTOP)

    def _changes(self, now_s: float) -> list[Signal]:
        """From who stands to who should; a process stands as long as any fault wants it to."""
        self._holds = [hold for hold in self._holds if hold.until_s > now_s]
        wanted = {hold.name: hold.planned for hold in self._holds if hold.stands(now_s)}
        stop = [name for name in wanted if name not in self._stopped]
        go_on = [name for name in self._stopped if name not in wanted]
        signals = [Signal(self._stopped[name], name, SIGCONT) for name in go_on]
        signals += [Signal(wanted[name], name, SIGSTOP) for name in stop]
        self._stopped = wanted
        return signals


def _due_s(planned: Planned) -> float:
    return math.inf if planned.at_s is None else planned.at_s


def _why(planned: Planned, step: int, now_s: float, seen: Collection[str]) -> str:
    if _due_s(planned) <= now_s or (planned.at_step is not None and planned.at_step <= step):
        if any(planned.target in (slot_of(name), NODE, ANY_WORKER) for name in seen):
            return f"nobody lived any more whom it could hit: {planned.target}"
        there = ", ".join(sorted(seen)) or "none at all"
        return f"no such actor lived: {planned.target}; there were {there}"
    return f"training was over at step {step}, after {now_s:.1f} s"
