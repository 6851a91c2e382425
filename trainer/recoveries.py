"""What was heard of deaths and suspicions, put together: how soon was each one got over?

A pure ledger: it takes what the driver hears, with the time, and decides nothing.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Literal

from actors.messages import SERVER, Progress, Refused, Repeated, Snapshot, Stall
from actors.names import slot_of
from actors.orders import Died, DriverMessage, Joined, Restarting, Suspected

# The server may tell of the stall before the driver hears of the death behind it.
_EARLY_S: Final = 1.0


@dataclass(slots=True)
class Recovery:
    """A death or a suspicion, and what is known of the way out of it; None: not yet, or not."""

    name: str
    event: Literal["died", "suspected"]
    cause: str
    at_step: int  # the last one that the driver had heard of
    at_s: float  # when the driver heard of it
    detected_s: float | None = None  # from the fault, where it was planned, to the news of it
    takeover_s: float | None = None  # from the news to the next finished step
    restart_s: float | None = None  # from the death to the replacement's Hello
    repeated_steps: int = 0
    stalled_s: float | None = None  # without a finished step


class Recoveries:
    """Keeps a `Recovery` for each death and suspicion, and counts."""

    def __init__(self, step: int = 0, earlier: Sequence[Mapping[str, Any]] = ()) -> None:
        """Begin at `step`; `earlier` are the events of the processes that trained before."""
        self.all: list[Recovery] = []
        self._earlier = Counter(str(event.get("event")) for event in earlier)
        self.stalls_s = [float(e["seconds"]) for e in earlier if e.get("event") == "stalled"]
        self.restarts = self._earlier["restarting"]
        self.refused_connections = sum(
            int(e["count"]) for e in earlier if e.get("event") == "refused"
        )
        self.repeated_steps = sum(
            int(e["step_count"]) for e in earlier if e.get("event") == "repeated"
        )
        self._step = step
        self._replaced: dict[str, list[Recovery]] = {}  # by the name that starts instead
        self._last_stall: tuple[float, Stall] | None = None
        self._faults_s: dict[str, float] = {}

    @property
    def deaths(self) -> int:
        """How many actors died."""
        return self._earlier["died"] + self._own_deaths

    @property
    def suspicions(self) -> int:
        """How often a worker was late, and its shards were computed by others too."""
        return self._earlier["suspected"] + len(self.all) - self._own_deaths

    @property
    def _own_deaths(self) -> int:
        return sum(recovery.event == "died" for recovery in self.all)

    def since(self, began_s: float) -> list[dict[str, Any]]:
        """Each one's fields, its time counted from `began_s`."""
        return [asdict(replace(each, at_s=round(each.at_s - began_s, 6))) for each in self.all]

    def fault(self, name: str, at_s: float) -> None:
        """A fault was done to `name` on purpose: what is heard of it next detects it."""
        self._faults_s[slot_of(name)] = at_s

    def hear(self, at_s: float, message: DriverMessage) -> None:
        """Take in what the driver heard at that time."""
        match message:
            case Snapshot(step=step) | Progress(step=step):
                self._step = step
            case Died(name, reason):
                self._add(Recovery(name, "died", reason, self._step, at_s))
            case Suspected(name, step):
                self._add(Recovery(name, "suspected", f"late with step {step}", step, at_s))
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
        if (fault_s := self._faults_s.pop(slot_of(recovery.name), None)) is not None:
            recovery.detected_s = recovery.at_s - fault_s
        if self._last_stall and recovery.at_s - self._last_stall[0] <= _EARLY_S:
            recovery.stalled_s = self._last_stall[1].seconds
            recovery.takeover_s = 0.0  # the step was done before the news came
        self.all.append(recovery)

    def _stall(self, at_s: float, stall: Stall) -> None:
        self.stalls_s.append(stall.seconds)
        self._last_stall = (at_s, stall)
        self._step = stall.step
        for recovery in self.all:
            # One that was thought to be over before the news came, and was not.
            within = recovery.takeover_s == 0.0 and recovery.at_s >= at_s - stall.seconds
            if recovery.takeover_s is None or within:
                recovery.stalled_s = stall.seconds
                recovery.takeover_s = at_s - recovery.at_s

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
