"""What the coordinator knows of the steps: how far they are, and how long they stood still.

A server that dies takes its clock with it, so the time without a finished step around its
death is measured here, by what was heard of it: a few times a second. Pure.
"""

import math
from dataclasses import replace
from typing import Final

from actors.messages import Stall

_HUNG_S: Final = 1.0
_FACTOR: Final = 4.0


class Standstill:
    """Told when steps are heard of and when the server dies, it says how long nothing moved."""

    def __init__(self, step: int) -> None:
        self.step = step  # the newest that was heard of
        self.step_s = 0.0  # how long one takes, rather too much than too little
        self._moved_s = 0.0
        self._since_s: float | None = None
        self._told_s = -math.inf  # until when standstills are told of

    def begin(self, now_s: float) -> None:
        """From now on steps can be done: what lay before is no step's time."""
        self._moved_s = now_s

    def end_pause(self, now_s: float) -> None:
        """An epoch is asked for: before it, nothing was to be done."""
        self._moved_s = now_s
        if self._since_s is not None:
            self._since_s = now_s

    def server_died(self) -> None:
        """Nothing moves since steps were last heard of."""
        if self._since_s is None:
            self._since_s = self._moved_s

    def moved(self, step: int, now_s: float) -> list[Stall]:
        """Steps up to `step` are done; the first after a death end the standstill.

        A server that hung for a while and came back did not die, and stood still all the same.
        """
        if step > self.step:
            took_s, steps = now_s - self._moved_s, step - self.step
            if self.step_s and took_s > _HUNG_S + _FACTOR * steps * self.step_s:
                self.server_died()
            # Reports that waited while this process slept come all at once.
            self.step_s = max(took_s / steps, self.step_s / 2)
            self.step = step
        self._moved_s = now_s
        since_s, self._since_s = self._since_s, None
        if since_s is None:
            return []
        self._told_s = now_s
        return [Stall(step, now_s - since_s)]

    def heard(self, stall: Stall, now_s: float) -> list[Stall]:
        """What the server tells of one, less what was told of it here.

        A cut cable holds back the report of an old step too; when it is heard at last, that is
        a standstill that ends, and the server's own word on it comes right behind.
        """
        self._moved_s = now_s
        if now_s - stall.seconds >= self._told_s:
            return [stall]
        rest_s = now_s - self._told_s
        return [replace(stall, seconds=rest_s)] if rest_s > _HUNG_S else []
