"""How long steps take, and from when on the running one is late.

Late is measured against the run's own history: three times the median of the last steps,
and a margin that an operating system's hiccup does not exceed. Steps may be so short that a
throttled worker never exceeds it. Then it counts what slow steps lose, less what the others gain:
the cumulative sum of each step's excess over three times the median.
The first step of all, which has no history and waits for the data too, may take some seconds. It
knows no clock. Source: E. S. Page, "Continuous inspection schemes", Biometrika 41 (1954).
"""

import math
from collections import deque
from statistics import median
from typing import Final

_REMEMBERED: Final = 16
_FIRST_S: Final = 5.0
_FACTOR: Final = 3.0
_MARGIN_S: Final = 0.2
_MOST_LOST_S: Final = 0.5
_MOST_TIMES: Final = 4  # then it was nobody's fault: the slow pace is the usual one now
_OWN_SLEEP_S: Final = 0.5


class Pace:
    """Told when steps end, it says whether the running one is late."""

    def __init__(self) -> None:
        self._seconds: deque[float] = deque(maxlen=_REMEMBERED)
        self._usual_s = math.inf  # their median: asked for much oftener than it changes
        self._slow: deque[float] = deque(maxlen=_REMEMBERED)  # no history while time is lost
        self._lost_s = 0.0  # the sum, from when it was last too much
        self._times_late = 0  # so often it was, since nothing was lost
        self._began_s = 0.0
        self._patience = 1.0
        self._asked_s = 0.0
        self._slept_s = 0.0

    @property
    def began_s(self) -> float:
        """When the running step began: the end of the last one."""
        return self._began_s

    def begin(self, now_s: float) -> None:
        """A step begins after a pause: what lay before does not count."""
        self._began_s, self._patience, self._slept_s = now_s, 1.0, 0.0
        self._asked_s = now_s  # nobody asks during a pause, which is no sleep

    def step(self, now_s: float) -> None:
        """The running step is done, the next begins."""
        excess_s = self._excess_s(now_s)
        (self._slow if excess_s > 0 else self._seconds).append(now_s - self._began_s)
        if self._patience == 1.0:  # else it was late, and that is said
            self._lost_s = max(self._lost_s + excess_s, 0.0)
            if self._lost_s == 0.0:
                self._times_late = 0
        if self._lost_s == self._times_late == 0 or self._times_late >= _MOST_TIMES:
            self._seconds += self._slow
            self._slow.clear()
        self._usual_s = median(self._seconds) if self._seconds else math.inf
        self.begin(now_s)

    def is_late(self, now_s: float) -> bool:
        """True once when the running step becomes late, and again each time twice as late.

        It is late as well when with it too much is lost; again, if twice as much is.
        """
        unasked_s, self._asked_s = now_s - self._asked_s, now_s
        if unasked_s > _OWN_SLEEP_S:  # this process slept: what came meanwhile is not read yet
            self._slept_s += unasked_s
        most_s = _MARGIN_S + _FACTOR * self._usual_s if self._seconds else _FIRST_S
        if self._lasts_s(now_s) <= self._patience * most_s and not self._loses_too_much(now_s):
            return False
        self._patience *= 2
        self._lost_s = 0.0
        self._times_late += 1
        return True

    def _loses_too_much(self, now_s: float) -> bool:
        if self._patience > 1.0 or (excess_s := self._excess_s(now_s)) <= 0:
            return False
        return self._lost_s + excess_s > _MOST_LOST_S * 2.0**self._times_late

    def _excess_s(self, now_s: float) -> float:
        """Over three usual steps; where those take no time by the clock that is told: none."""
        if self._usual_s == 0.0:
            return -math.inf
        return self._lasts_s(now_s) - _FACTOR * self._usual_s

    def _lasts_s(self, now_s: float) -> float:
        return now_s - self._began_s - self._slept_s
