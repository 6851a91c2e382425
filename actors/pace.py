"""How long steps take, and from when on the running one is late.

Late is measured against the run's own history: three times the median of the last steps,
and a margin that an operating system's hiccup does not exceed. The first step of all, which
has none and waits for the data too, may take some seconds. It knows no clock.
"""

from collections import deque
from statistics import median
from typing import Final

_REMEMBERED: Final = 16
_FIRST_S: Final = 5.0
_FACTOR: Final = 3.0
_MARGIN_S: Final = 0.2
_OWN_SLEEP_S: Final = 0.5


class Pace:
    """Told when steps end, it says whether the running one is late."""

    def __init__(self) -> None:
        self._seconds: deque[float] = deque(maxlen=_REMEMBERED)
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
        self._seconds.append(now_s - self._began_s)
        self.begin(now_s)

    def is_late(self, now_s: float) -> bool:
        """True once when the running step becomes late, and again each time twice as late."""
        unasked_s, self._asked_s = now_s - self._asked_s, now_s
        if unasked_s > _OWN_SLEEP_S:  # this process slept: what came meanwhile is not read yet
            self._slept_s += unasked_s
        usual_s = _MARGIN_S + _FACTOR * median(self._seconds) if self._seconds else _FIRST_S
        if now_s - self._began_s - self._slept_s <= self._patience * usual_s:
            return False
        self._patience *= 2
        return True
