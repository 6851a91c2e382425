"""Whether enough actors are there to train, who is still to come, and since when. Pure."""

from collections.abc import Iterable
from typing import Final

from actors.messages import DRIVER
from actors.orders import CLUSTER, Envelope, Look, Missing, Unplaced

_SLOW_S: Final = 5.0  # longer than the start of a process takes


class Muster:
    """Told who was ordered, who came and who went; counted anew at each of these."""

    def __init__(self, min_workers: int, patience_s: float) -> None:
        """Training begins with a server and `min_workers`; it goes on with one worker."""
        self._ordered_s: dict[str, float] = {}  # who is not yet heard of; when it was ordered
        self._unlooked: set[str] = set()  # of these: no process yet, and nobody asked why
        self._min_workers, self._patience_s = min_workers, patience_s
        self.is_ready = False  # training has begun
        self._incomplete_since_s: float | None = 0.0

    def begin(self, now_s: float) -> None:
        """Time begins; whoever was ordered already was ordered now."""
        self._incomplete_since_s = now_s
        self._ordered_s = dict.fromkeys(self._ordered_s, now_s)

    # --- Who is to come

    def ordered(self, name: str, now_s: float) -> None:
        """`name` is to be started."""
        self._ordered_s[name] = now_s
        self._unlooked.add(name)

    def placed(self, name: str) -> bool:
        """The process of `name` runs. False: nobody waits for it."""
        self._unlooked.discard(name)
        return name in self._ordered_s

    def settled(self, name: str) -> None:
        """`name` said Hello, or was given up."""
        self._ordered_s.pop(name, None)
        self._unlooked.discard(name)

    def awaits(self, name: str) -> bool:
        """It was ordered, and is not yet heard of."""
        return name in self._ordered_s

    def look(self, now_s: float) -> list[Envelope]:
        """Once for each that takes long: let the cluster look whether it has a place for it."""
        slow = self._waiting(n for n in self._unlooked if now_s - self._ordered_s[n] > _SLOW_S)
        self._unlooked.difference_update(slow)
        return [(CLUSTER, Look(slow))] if slow else []

    def unplaced(self, found: Unplaced) -> list[Envelope]:
        """There is none for these: what the driver is told of those who have not come since."""
        if not (names := self._waiting(found.names)):
            return []
        outlook = "each joins when there is room"
        if not self.is_ready:
            outlook = (
                f"training waits for {_counted(self._min_workers)}, or begins with less after"
                f" {self._patience_s:g} s (cluster.start_timeout_s)"
            )
        return [(DRIVER, Unplaced(names, f"{found.reason}; {outlook}"))]

    def _waiting(self, names: Iterable[str]) -> tuple[str, ...]:
        wanted = {*names}
        return tuple(name for name in self._ordered_s if name in wanted)

    # --- Whether they are enough

    def count(self, has_server: bool, workers: int, now_s: float) -> bool:
        """So many are there now. True once: training can begin."""
        if not has_server or workers < (1 if self.is_ready else self._min_workers):
            if self._incomplete_since_s is None:
                self._incomplete_since_s = now_s
            return False
        self._incomplete_since_s = None
        before, self.is_ready = self.is_ready, True
        return not before

    def is_overdue(self, now_s: float) -> bool:
        """Somebody has been missing for longer than anybody should wait."""
        since_s = self._incomplete_since_s
        return since_s is not None and now_s - since_s > self._patience_s

    def begin_with_less(self, why: str) -> list[Envelope]:
        """Begin with those who are there; who is missing."""
        self._incomplete_since_s, self.is_ready = None, True
        missing = self._waiting(self._ordered_s)
        return [(DRIVER, Missing(missing, why))] if missing else []


def _counted(workers: int) -> str:
    return "1 worker" if workers == 1 else f"{workers} workers"
