"""Who has been heard of, and who has been silent for too long. Pure: time comes in.

A link tells the end of a process at once, but a stopped process keeps its links. So the
coordinator asks everybody now and then, and counts the time without an answer.
"""

from collections.abc import Iterable
from typing import Final

from actors.messages import DRIVER, Stall
from actors.orders import Envelope, Silent

_ASK_EVERY_S: Final = 1.0
_OWN_SLEEP_S: Final = 1.0
_STEPS: Final = 2
_FIRST: Final = 6
_NO_ANSWER_S: Final = 1.5  # who is asked once a second and is well has been heard since
_MOST: Final = 0.5  # of the time without a step


class Presence:
    """Told who was heard and what time it is, it says whom to ask and who is silent."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._patience = 1.0
        self._step_s: float | None = None
        self._heard_s: dict[str, float] = {}
        self._silences_s: dict[str, float] = {}  # the longest of each since the last step
        self._now_s: float | None = None
        self._asked_s = 0.0

    @property
    def limit_s(self) -> float:
        """A worker answers only between two steps: those that take long extend the limit.

        Until it is known how long they take, it is long. Each time that it was too short,
        as long as no step is done after it, it is doubled: whoever is busy with more than
        ever before is not to be ended again and again.
        """
        if self._step_s is None:
            return self._patience * _FIRST * self._limit_s
        return self._patience * (self._limit_s + _STEPS * self._step_s)

    def heard(self, name: str, now_s: float) -> None:
        """`name` is there."""
        silence_s = now_s - self._heard_s.get(name, now_s)
        self._silences_s[name] = max(silence_s, self._silences_s.get(name, 0.0))
        self._heard_s[name] = now_s

    def forget(self, name: str) -> None:
        """`name` is gone."""
        self._heard_s.pop(name, None)
        self._silences_s.pop(name, None)

    def steps_take(self, seconds: float) -> None:
        """A step was done; by a worker alone it would take so long."""
        self._step_s, self._patience = seconds, 1.0
        self._silences_s.clear()

    def explained(self, stalls: Iterable[Stall], now_s: float) -> list[Envelope]:
        """Stalls, for the driver; before each, who did not answer for most of that time."""
        told: list[Envelope] = []
        for stall in stalls:
            limit_s = max(_NO_ANSWER_S, _MOST * stall.seconds)
            for name, heard_s in self._heard_s.items():
                silence_s = max(now_s - heard_s, self._silences_s.get(name, 0.0))
                if silence_s > limit_s:
                    told.append((DRIVER, Silent(name, silence_s)))
            told.append((DRIVER, stall))
        return told

    def tick(self, now_s: float) -> tuple[list[str], list[str]]:
        """Whom to ask now, and who is silent beyond the limit."""
        slept_s = 0.0 if self._now_s is None else now_s - self._now_s
        self._now_s = now_s
        if slept_s > _OWN_SLEEP_S:  # nobody could have been heard meanwhile
            for name in self._heard_s:
                self._heard_s[name] += slept_s
        silent = [name for name, at_s in self._heard_s.items() if now_s - at_s > self.limit_s]
        if silent:
            self._patience *= 2
        if now_s - self._asked_s < _ASK_EVERY_S:
            return [], silent
        self._asked_s = now_s
        return list(self._heard_s), silent
