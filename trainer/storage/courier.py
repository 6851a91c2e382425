"""Carries to a store, every few seconds and before each state, what gathered in memory."""

import threading
from collections.abc import Callable, Sequence
from typing import Final

from actors.side_thread import SideThread
from trainer.errors import RunWriteError

EVERY_S: Final = 3.0
_PATIENCE_S: Final = 10.0  # for the last delivery, some six requests


class Courier:
    """A thread that calls, in their order, for as long as a run directory is held."""

    def __init__(
        self, errands: Sequence[Callable[[], None]], troubled: Callable[[RunWriteError], None]
    ) -> None:
        """Begin.

        Args:
            errands: each may raise a RunWriteError; those after it wait for the next time.
            troubled: called with it, in the thread.
        """
        self._errands, self._troubled = errands, troubled
        self._one_at_a_time = threading.Lock()
        self._ended, self._given_up = threading.Event(), threading.Event()
        self._side = SideThread("courier")
        self._calls = [self._side.call(self._work)]

    def deliver(self) -> None:
        """Go now.

        Raises:
            RunWriteError: an errand failed.
        """
        with self._one_at_a_time:
            for errand in self._errands:
                if not self._given_up.is_set():  # while the one before it waited for the store
                    errand()

    def close(self, then: Callable[[], None] | None = None) -> bool:
        """Go once more, call `then`, and end; whether that came about in time.

        What a store that does not answer has not taken by then is given up, and `then` with it.
        """
        if not self._ended.is_set():
            self._ended.set()
            if then is not None:
                self._calls.append(self._side.call(self._unless_given_up, then))
            if not self._side.end(_PATIENCE_S):
                self._given_up.set()
                return False
            for call in self._calls:
                call.result()  # which raises what nobody foresaw
        return not self._given_up.is_set()

    def _work(self) -> None:
        is_last = False
        while not is_last:
            is_last = self._ended.wait(EVERY_S)
            try:
                self.deliver()
            except RunWriteError as error:
                self._troubled(error)

    def _unless_given_up(self, then: Callable[[], None]) -> None:
        if not self._given_up.is_set():
            then()
