"""What was heard of deaths and suspicions, put together: how soon was each one got over?

A pure ledger: it takes what the driver hears, with the time, and decides nothing.
"""

from collections.abc import Collection
from dataclasses import asdict, replace
from typing import Any, Final, NamedTuple

from actors.messages import DRIVER, SERVER, Progress, Refused, Repeated, Snapshot, Stall
from actors.names import slot_of
from actors.orders import Died, DriverMessage, Joined, Restarting, Silent, Suspected
from trainer.past import Before, Past
from trainer.recovery import Recovery

# The server may tell of the stall before the driver hears of the death behind it.
_EARLY_S: Final = 1.0
_NOBODY: Final = "nobody died or was late, as far as is known"


class _Fault(NamedTuple):
    """What was done to an actor on purpose, and not yet heard of."""

    name: str
    at_s: float
    cause: str | None  # None: it kills


class Recoveries:
    """Keeps a `Recovery` for each death and suspicion, and counts."""

    def __init__(self, step: int = 0, past: Past | None = None) -> None:
        """Begin at `step`; `past`: the processes that trained before."""
        self.all: list[Recovery] = []  # of this process
        self._untold: list[Recovery] = []
        self._past = past or Past()
        self.stalls_s = [*self._past.stalls_s]
        self.restarts = self._past.restarts
        self.refused_connections = self._past.refused_connections
        self.repeated_steps = self._past.repeated_steps
        self._step = step
        self._replaced: dict[str, list[Recovery]] = {}  # by the name that starts instead
        self._unclaimed_stall: tuple[float, Stall] | None = None  # nobody is known to be behind it
        self._faults: dict[str, _Fault] = {}  # by slot
        self._silent: dict[str, float] = {}  # who did not answer, and for how long
        self.stall_cause: str | None = None  # of the last stall; None: somebody died or was late
        self._resumption: tuple[Recovery, float] | None = None  # until the first new step

    @property
    def deaths(self) -> int:
        """How many died: actors, and drivers that were resumed."""
        return self._past.deaths + self._own("died")

    @property
    def suspicions(self) -> int:
        """How often a worker was late, and its shards were computed by others too."""
        return self._past.suspicions + self._own("suspected")

    def _own(self, event: str) -> int:
        return sum(recovery.event == event for recovery in self.all)

    def since_the_beginning(self, began_s: float, offset_s: float) -> list[dict[str, Any]]:
        """Each one's fields, over all processes; its time counted from when the first began.

        Args:
            began_s: when this one began, by the clock that `hear` is told.
            offset_s: Unix time less that clock.
        """
        first_s = self._past.began_unix_s or began_s + offset_s
        own = [replace(each, at_s=each.at_s + offset_s) for each in self.all]
        return [
            asdict(replace(each, at_s=round(each.at_s - first_s, 6)))
            for each in (*self._past.recoveries, *own)
        ]

    def take(self, at_the_end: bool = False) -> list[Recovery]:
        """Those that are over since the last call; at the end of training all that were got over.

        A death after which no step was finished ended the training: nobody recovered from it.
        """
        is_told = Recovery.is_got_over if at_the_end else Recovery.is_over
        over = [recovery for recovery in self._untold if is_told(recovery, self._step)]
        self._untold = [recovery for recovery in self._untold if recovery not in over]
        return over

    def fault(self, name: str, at_s: float, cause: str | None = None) -> None:
        """A fault was done to `name` on purpose: what is heard of it next detects it.

        Args:
            cause: what a stall is put down to that it causes while nobody dies or is late.
        """
        self._faults[slot_of(name)] = _Fault(name, at_s, cause)

    def resume(self, before: Before, seen_s: float, began_s: float) -> None:
        """This process goes on where another one left off.

        Args:
            seen_s: when the other gave its last sign of life; began_s: when this one was called.
        """
        again = max(0, before.step - self._step)
        self.repeated_steps += again
        if before.cause is None:
            return
        self.restarts += 1
        died = Recovery(DRIVER, "died", before.cause, before.step, seen_s, repeated_steps=again)
        self._keep(died)
        self._resumption = died, began_s

    def hear(self, at_s: float, message: DriverMessage) -> None:
        """Take in what the driver heard at that time."""
        match message:
            case Snapshot(step=step) | Progress(step=step):
                self._moved(at_s, step)
            case Died(name, reason):
                self._add(Recovery(name, "died", reason, self._step, at_s))
            case Suspected(name, step):
                self._add(Recovery(name, "suspected", f"late with step {step}", step, at_s))
            case Silent(name, seconds):
                self._silent[name] = seconds
            case Stall():
                self._stall(at_s, message)
            case Restarting(name, replaces):
                self._restarting(name, replaces)
            case Joined(name):
                for recovery in self._replaced.pop(name, []):
                    recovery.restart_s = at_s - recovery.at_s
            case Repeated(step_count):
                self._repeated(step_count)
            case Refused(count):
                self.refused_connections += count
            case _:
                pass

    def _add(self, recovery: Recovery) -> None:
        if (fault := self._faults.pop(slot_of(recovery.name), None)) is not None:
            recovery.detected_s = recovery.at_s - fault.at_s
        # Of a server's death nobody tells before it is heard of.
        stall = self._unclaimed_stall if slot_of(recovery.name) != SERVER else None
        if stall and recovery.at_s - stall[0] <= _EARLY_S:
            recovery.stalled_s = stall[1].seconds
            recovery.takeover_s = 0.0  # the step was done before the news came
        self._keep(recovery)

    def _keep(self, recovery: Recovery) -> None:
        self.all.append(recovery)
        self._untold.append(recovery)

    def _moved(self, at_s: float, step: int) -> None:
        """The first new step after a driver's death ends the time without one."""
        if self._resumption is not None and step > self._step:
            died, began_s = self._resumption
            died.restart_s = died.stalled_s = at_s - died.at_s
            died.takeover_s = at_s - began_s
            self.stalls_s.append(died.stalled_s)
            self._resumption = None
        self._step = step

    def _stall(self, at_s: float, stall: Stall) -> None:
        self.stalls_s.append(stall.seconds)
        self._unclaimed_stall, before = (at_s, stall), self._step
        self._moved(at_s, stall.step)
        for recovery in self.all:
            # One that was thought to be over before the news came, and was not.
            within = recovery.takeover_s == 0.0 and recovery.at_s >= at_s - stall.seconds
            if recovery.takeover_s is None or within:
                recovery.stalled_s = stall.seconds
                recovery.takeover_s = at_s - recovery.at_s
                self._unclaimed_stall = None
        self._put_down(at_s, stall, before)

    def _put_down(self, at_s: float, stall: Stall, step: int) -> None:
        """A stall to those who stood still on purpose; else to those who did not answer."""
        from_s = at_s - stall.seconds
        held = self._held(from_s, at_s)
        if self._unclaimed_stall is not None:
            planned = dict.fromkeys(str(fault.cause) for fault in held)  # of a node: once
            silent = self._unanswered(from_s, {fault.name for fault in held})
            told = [*planned, *(f"{name} {cause}" for name, _, cause in silent)]
            self.stall_cause = ", ".join(told) or _NOBODY
            held += silent
        else:
            self.stall_cause = None
        self._silent.clear()
        for name, held_s, cause in held:
            stood = Recovery(name, "stalled", str(cause), step, held_s, stalled_s=stall.seconds)
            stood.takeover_s = at_s - held_s
            self._keep(stood)
            self._unclaimed_stall = None

    def _held(self, from_s: float, until_s: float) -> list[_Fault]:
        """The planned faults that made somebody stand in that time, and of which nobody died."""
        held = []
        for slot, fault in [*self._faults.items()]:  # another thread may add one
            if fault.cause and from_s - _EARLY_S <= fault.at_s <= until_s:
                held.append(self._faults.pop(slot))
        return held

    def _unanswered(self, from_s: float, known: Collection[str]) -> list[_Fault]:
        """Who did not answer in that time, and is not known to be held."""
        return [
            _Fault(name, from_s, f"did not answer for {seconds:.1f} s")
            for name, seconds in self._silent.items()
            if name not in known
        ]

    def _restarting(self, name: str, replaces: str) -> None:
        """A replacement that dies too hands on whom it was to replace."""
        self.restarts += 1
        died = [r for r in self.all if r.name == replaces and r.event == "died"]
        self._replaced[name] = [*self._replaced.pop(replaces, []), *died]

    def _repeated(self, step_count: int) -> None:
        self.repeated_steps += step_count
        for recovery in reversed(self.all):
            if slot_of(recovery.name) == SERVER and recovery.event == "died":
                recovery.repeated_steps += step_count
                return
