"""Carries to a store, every few seconds and before each state, what gathered in memory."""

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from trainer.errors import RunWriteError

EVERY_S: Final = 3.0
_PATIENCE_S: Final = 5.0


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
        self._one_at_a_time, self._ended = threading.Lock(), threading.Event()
        # A daemon: who can not wait for `close` loses the last few lines and nothing else.
        self._thread = threading.Thread(target=self._work, name="courier", daemon=True)
        self._thread.start()

    def deliver(self) -> None:
        """Go now.

        Raises:
            RunWriteError: an errand failed.
        """
        with self._one_at_a_time:
            for errand in self._errands:
                errand()

    def close(self) -> None:
        """Go once more, and end; what can not be delivered any more is given up."""
        if not self._ended.is_set():
            self._ended.set()
            self._thread.join(_PATIENCE_S)
            if not self._thread.is_alive():  # else the store does not answer
                with suppress(RunWriteError):
                    self.deliver()

    def _work(self) -> None:
        while not self._ended.wait(EVERY_S):
            try:
                self.deliver()
            except RunWriteError as error:
                self._troubled(error)
