"""When the next snapshot is due: as often as its share of the time allows, and no oftener.

A pure decision: the time comes in. Next: `keeper.py`, which asks, holds and has written.
"""

import math
from collections import deque
from typing import Final

_REMEMBERED: Final = 4


class Cadence:
    """At most `time_share` of the time goes into snapshots; at least `every_s` between two.

    A snapshot takes from its request until it is received, and then until it is written.
    Until all of that is over, no other one is due.
    """

    def __init__(self, time_share: float, every_s: float, now_s: float) -> None:
        """`time_share` 0: none is ever due."""
        self._time_share, self._every_s = time_share, every_s
        self.begin(now_s)
        self._requested_s: float | None = None
        self._taken_s = 0.0
        # Of the last few the quickest is nearest to what one costs: a server that hangs, or a
        # busy disk, only adds to it.
        self._costs_s: deque[float] = deque(maxlen=_REMEMBERED)
        self._writing = False

    def begin(self, now_s: float) -> None:
        """Training begins only now: what lay before does not count."""
        self._due_s = now_s + self._every_s if self._time_share > 0 else math.inf

    def is_due(self, now_s: float) -> bool:
        """Whether to take a snapshot now."""
        return not self.in_flight and now_s >= self._due_s

    def wait_s(self, now_s: float) -> float:
        """How long until one may be due; infinite while one is in flight."""
        return math.inf if self.in_flight else max(0.0, self._due_s - now_s)

    @property
    def in_flight(self) -> bool:
        """A snapshot is asked for or being written."""
        return self._writing or self.is_awaited

    @property
    def is_awaited(self) -> bool:
        """A snapshot is asked for and has not come yet."""
        return self._requested_s is not None

    def requested(self, now_s: float) -> None:
        """A snapshot is asked for; said again, when it is asked of a new server."""
        before_s = self._requested_s
        self._requested_s = now_s if before_s is None else max(before_s, now_s)

    def received(self, now_s: float, to_write: bool) -> None:
        """The state is here, asked for or not. What is not written is over with that."""
        self._taken_s = now_s - self._requested_s if self._requested_s is not None else 0.0
        self._requested_s = None
        self._writing = to_write
        if not to_write:
            self._over(now_s, self._taken_s)

    def written(self, now_s: float, seconds: float) -> None:
        """It is written, or could not be, and that took so long."""
        self._writing = False
        self._over(now_s, self._taken_s + seconds)

    def _over(self, now_s: float, seconds: float) -> None:
        self._costs_s.append(seconds)
        if self._time_share > 0:
            self._due_s = now_s + max(self._every_s, min(self._costs_s) / self._time_share)
