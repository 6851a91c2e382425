"""Writes checkpoints beside the training, in a thread of its own; the newest one wins.

What goes wrong is a value to look at, never an exception in the thread: training goes on.
"""

import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from trainer.checkpoints import Checkpoint
from trainer.storage.place import Place


class Written(NamedTuple):
    """A checkpoint that was written, or could not be."""

    step: int
    outcome: Place | Exception
    seconds: float


def written(
    save: Callable[[Checkpoint], Place], checkpoint: Checkpoint, clock: Callable[[], float]
) -> Written:
    """Write one, now. Whatever goes wrong is in the outcome."""
    began_s = clock()
    outcome: Place | Exception
    try:
        outcome = save(checkpoint)
    except Exception as error:
        outcome = error
    return Written(checkpoint.step, outcome, clock() - began_s)


class CheckpointWriter:
    """One is written at a time; of those that wait meanwhile, only the newest."""

    def __init__(
        self, save: Callable[[Checkpoint], Place], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`save` writes one and may raise; it is called in the thread."""
        self._save, self._clock = save, clock
        self._changed = threading.Condition()
        self._waiting: Checkpoint | None = None
        self._finished: list[Written] = []
        self._is_closed = False
        self._thread: threading.Thread | None = None

    def submit(self, checkpoint: Checkpoint) -> None:
        """Have it written; one that still waits is forgotten for it."""
        with self._changed:
            self._waiting = checkpoint
            if self._thread is None:
                # A daemon: who can not wait for `close` gets a whole file or none.
                self._thread = threading.Thread(
                    target=self._work, name="checkpoint-writer", daemon=True
                )
                self._thread.start()
            self._changed.notify()

    def finished(self) -> list[Written]:
        """Those finished since the last call, oldest first."""
        with self._changed:
            finished, self._finished = self._finished, []
        return finished

    def close(self) -> None:
        """Wait until what was submitted is written, and end the thread."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def _work(self) -> None:
        while (checkpoint := self._next()) is not None:
            outcome = written(self._save, checkpoint, self._clock)
            with self._changed:
                self._finished.append(outcome)

    def _next(self) -> Checkpoint | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting is not None or self._is_closed)
            checkpoint, self._waiting = self._waiting, None
        return checkpoint
