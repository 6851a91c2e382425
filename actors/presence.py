"""Who has been heard of, and who has been silent for too long. Pure: time comes in.

A link tells the end of a process at once, but a stopped process keeps its links. So the
coordinator asks everybody now and then, and counts the time without an answer.
"""

from typing import Final

_ASK_EVERY_S: Final = 1.0
_OWN_SLEEP_S: Final = 1.0
_STEPS: Final = 4


class Presence:
    """Told who was heard and what time it is, it says whom to ask and who is silent."""

    def __init__(self, limit_s: float, first_limit_s: float) -> None:
        """`first_limit_s`: until it is known how long a step takes."""
        self._limit_s, self._first_limit_s = limit_s, first_limit_s
        self._step_s: float | None = None
        self._heard_s: dict[str, float] = {}
        self._now_s: float | None = None
        self._asked_s = 0.0

    @property
    def limit_s(self) -> float:
        """A worker answers only between two gradients: steps that take long extend the limit."""
        if self._step_s is None:
            return max(self._limit_s, self._first_limit_s)
        return self._limit_s + _STEPS * self._step_s

    def heard(self, name: str, now_s: float) -> None:
        """`name` is there."""
        self._heard_s[name] = now_s

    def forget(self, name: str) -> None:
        """`name` is gone."""
        self._heard_s.pop(name, None)

    def steps_take(self, seconds: float | None) -> None:
        """A step takes so long now; None: it is not known yet."""
        self._step_s = seconds

    def tick(self, now_s: float) -> tuple[list[str], list[str]]:
        """Whom to ask now, and who is silent beyond the limit."""
        slept_s = 0.0 if self._now_s is None else now_s - self._now_s
        self._now_s = now_s
        if slept_s > _OWN_SLEEP_S:  # nobody could have been heard meanwhile
            for name in self._heard_s:
                self._heard_s[name] += slept_s
        silent = [name for name, at_s in self._heard_s.items() if now_s - at_s > self.limit_s]
        if now_s - self._asked_s < _ASK_EVERY_S:
            return [], silent
        self._asked_s = now_s
        return list(self._heard_s), silent
