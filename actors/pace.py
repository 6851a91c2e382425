"""How long steps take, and from when on the running one is late.

Late is measured against the run's own history: three times the median of the last steps,
and a margin that an operating system's hiccup does not exceed. Steps may be so short that a
throttled worker never exceeds it: then what counts is the time that a row of slow steps has lost.
The first step of all, which has no history and waits for the data too, may take some seconds. It
knows no clock.
"""

import math
from collections import deque
from statistics import median
from typing import Final

_REMEMBERED: Final = 16
_FIRST_S: Final = 5.0
_FACTOR: Final = 3.0
_MARGIN_S: Final = 0.2
_MARGIN_OF_ROW_S: Final = 0.5  # a process that starts beside takes more than a hiccup
_MOST_OF_ROW: Final = 4  # so often late in one row: whoever is blamed, that is the pace now
_OWN_SLEEP_S: Final = 0.5


class Pace:
    """Told when steps end, it says whether the running one is late."""

    def __init__(self) -> None:
        self._seconds: deque[float] = deque(maxlen=_REMEMBERED)
        self._slow: deque[float] = deque(maxlen=_REMEMBERED)  # the row: no history before it ends
        self._lost_s = 0.0  # by it, since it was late
        self._times_late = 0  # in it
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
        lost_s = self._slowness_s(now_s)
        self._slow.append(now_s - self._began_s)
        if lost_s <= 0 or self._times_late >= _MOST_OF_ROW:
            self._seconds += self._slow
            self._slow.clear()
            self._lost_s, self._times_late = 0.0, 0
        elif self._patience == 1.0:  # else it was late, and that is said
            self._lost_s += lost_s
        self.begin(now_s)

    def is_late(self, now_s: float) -> bool:
        """True once when the running step becomes late, and again each time twice as late.

        It is late as well when it and the slow ones right before it have lost too much.
        """
        unasked_s, self._asked_s = now_s - self._asked_s, now_s
        if unasked_s > _OWN_SLEEP_S:  # this process slept: what came meanwhile is not read yet
            self._slept_s += unasked_s
        usual_s = _MARGIN_S + _FACTOR * median(self._seconds) if self._seconds else _FIRST_S
        is_late = self._lasts_s(now_s) > self._patience * usual_s
        if not is_late and not self._row_is_late(now_s):
            return False
        self._patience *= 2
        self._lost_s = 0.0
        self._times_late += 1
        return True

    def _row_is_late(self, now_s: float) -> bool:
        """Once in a step, and in a row each time after twice as much was lost."""
        if self._patience > 1.0 or (lost_s := self._slowness_s(now_s)) <= 0:
            return False
        return self._lost_s + lost_s > _MARGIN_OF_ROW_S * 2.0**self._times_late

    def _lasts_s(self, now_s: float) -> float:
        return now_s - self._began_s - self._slept_s

    def _slowness_s(self, now_s: float) -> float:
        """By how much the running step is longer than three usual ones."""
        usual_s = median(self._seconds) if self._seconds else math.inf
        return self._lasts_s(now_s) - _FACTOR * usual_s
