"""How an actor spends its time: spans of one activity each, never two at once.

At each moment an actor does one thing; `switch` says which from now on. Spans are sent in
bounded messages, and only so many are kept; the sums go on. The cores know nothing of it:
`profiling.py` holds the watch around them.
"""

import time
from collections.abc import Callable
from typing import Final, Literal

import numpy as np

from actors.messages import Times

Activity = Literal["compute", "wait", "reduce", "update", "send"]

ACTIVITIES: Final[tuple[Activity, ...]] = ("compute", "wait", "reduce", "update", "send")
FIELDS: Final = 4  # of a span: step, number of the activity, start, end
SPANS_KEPT: Final = 100_000
SPANS_PER_MESSAGE: Final = 1024
TIMES_BYTES: Final = 8 * (FIELDS * SPANS_PER_MESSAGE + len(ACTIVITIES))
"""What the arrays of a `Times` take at most."""

_NUMBERS: Final = {activity: number for number, activity in enumerate(ACTIVITIES)}


class Stopwatch:
    """Always runs on one activity; what lies before the first step does not count."""

    def __init__(
        self,
        name: str,
        clock: Callable[[], float] = time.monotonic,
        spans_kept: int = SPANS_KEPT,
    ) -> None:
        """`name`: the actor's; `spans_kept`: later ones are only counted."""
        self._name, self._clock = name, clock
        self._activity: Activity = "wait"
        self._since_s = clock()
        self.step = 0  # the running one, from 1; 0: none has begun
        self._step_count = 0
        self._seconds = dict.fromkeys(ACTIVITIES, 0.0)
        self._spans: list[float] = []  # not yet sent, FIELDS numbers each
        self._room = spans_kept
        self._left_out = 0

    def enter(self, step: int) -> None:
        """What was not yet counted, and all that follows, belongs to this step."""
        if self.step == 0:
            self._since_s = self._clock()
        if step != self.step:
            self._step_count += 1
        self.step = step

    def switch(self, activity: Activity) -> Activity:
        """From now on the actor does this; what it did before."""
        before = self._activity
        if activity != before:
            now_s = self._clock()
            if self.step > 0 and now_s > self._since_s:
                self._keep(before, now_s)
            self._activity, self._since_s = activity, now_s
        return before

    @property
    def is_full(self) -> bool:
        """There are enough spans for a message."""
        return len(self._spans) >= FIELDS * SPANS_PER_MESSAGE

    def times(self, is_answer: bool = False) -> list[Times]:
        """All that was not yet sent; the activity that still goes on is left out."""
        most = FIELDS * SPANS_PER_MESSAGE
        cuts = [self._spans[at : at + most] for at in range(0, len(self._spans), most)] or [[]]
        self._spans = []
        answers = [0] * (len(cuts) - 1) + [int(is_answer)]
        return [self._message(cut, answer) for cut, answer in zip(cuts, answers, strict=True)]

    def _keep(self, activity: Activity, now_s: float) -> None:
        self._seconds[activity] += now_s - self._since_s
        if self._room > 0:
            self._room -= 1
            self._spans += (self.step, _NUMBERS[activity], self._since_s, now_s)
        else:
            self._left_out += 1

    def _message(self, spans: list[float], is_answer: int) -> Times:
        return Times(
            self._name,
            is_answer,
            clock_offset(self._clock),
            self._step_count,
            self._left_out,
            np.array([*self._seconds.values()]),
            np.array(spans, np.float64),
        )


def clock_offset(clock: Callable[[], float] = time.monotonic) -> float:
    """What this host's clock has to be put forward by to show the time of day."""
    return time.time() - clock()
