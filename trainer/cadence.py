"""When the next one is due: as often as its share of the time allows, and no oftener.

A pure decision: the time comes in. Next: `keeper.py`, which asks for snapshots by one
cadence and has them written by another.
"""

import math


class Cadence:
    """At most `time_share` of the time goes into something; at least `every_s` between two.

    Each pays for itself before the next one is due: so the share holds whatever they cost.
    Until one is over, no other one is due.
    """

    def __init__(self, time_share: float, every_s: float, now_s: float) -> None:
        """`time_share` 0: none is ever due."""
        self._time_share, self._every_s = time_share, every_s
        self._began_s = -math.inf  # none is under way
        self.begin(now_s)

    def begin(self, now_s: float) -> None:
        """Training begins only now: what lay before does not count."""
        self._due_s = now_s + self._every_s if self._time_share > 0 else math.inf

    def is_due(self, now_s: float) -> bool:
        """Whether the next one may begin."""
        return not self.in_flight and now_s >= self._due_s

    def wait_s(self, now_s: float) -> float:
        """How long until one may be due; infinite while one is under way."""
        return math.inf if self.in_flight else max(0.0, self._due_s - now_s)

    @property
    def in_flight(self) -> bool:
        """One has begun and is not over."""
        return self._began_s > -math.inf

    def began(self, now_s: float) -> None:
        """One begins; said again, when it turns out to begin only now."""
        self._began_s = max(self._began_s, now_s)

    def spent_s(self, now_s: float) -> float:
        """What the one under way has cost until now."""
        return max(0.0, now_s - self._began_s) if self.in_flight else 0.0

    def over(self, seconds: float, since_s: float = -math.inf) -> None:
        """It took so long; the pause counts from `since_s`, or from where it began."""
        since_s, self._began_s = max(since_s, self._began_s), -math.inf
        if self._time_share > 0:
            pause_s = max(self._every_s, seconds / self._time_share)
            self._due_s = max(self._due_s, since_s + pause_s)
