"""When a paused or slowed process stands: a pure function of the time.

A process slowed 4 times stands for three quarters of each period and then runs. A paused
one stands all the time.
"""

import math
from typing import Final, NamedTuple

from trainer.faults.planned import Planned

PERIOD_S: Final = 0.05
_SLACK_S: Final = 1e-6  # who wakes exactly when something changes sees it changed


class Hold(NamedTuple):
    """A fault that makes the process of `name` stand now and then."""

    planned: Planned
    name: str
    from_s: float

    @property
    def until_s(self) -> float:
        """When it ends."""
        for_s = self.planned.for_s
        return math.inf if for_s is None else self.from_s + for_s

    def stands(self, now_s: float) -> bool:
        """Whether the process should stand at that time."""
        return (now_s - self.from_s + _SLACK_S) % PERIOD_S < self._standing_s

    def next_s(self, now_s: float) -> float:
        """When that changes next."""
        if math.isinf(self._standing_s):
            return self.until_s
        periods = (now_s - self.from_s + _SLACK_S) // PERIOD_S
        change_s = self._standing_s if self.stands(now_s) else PERIOD_S
        return min(self.until_s, self.from_s + periods * PERIOD_S + change_s)

    @property
    def _standing_s(self) -> float:
        """In each period."""
        return standing_s(self.planned.factor)


def standing_s(factor: float | None) -> float:
    """How long a process stands in each period of `PERIOD_S`; None: a pause."""
    return math.inf if factor is None else PERIOD_S * (1 - 1 / factor)
