"""Ctrl-C at a moment when the program can act on it."""

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_log = logging.getLogger("everstep")


@contextmanager
def deferred_interrupts(presses: float = 1) -> Iterator[None]:
    """Let Ctrl-C wait until the block is left; after so many `presses`, it waits no longer.

    Ray's start-up must not be cut short: an interrupt inside its native code was seen to
    vanish, and to crash the process when it ended. Elsewhere than in the main thread, which
    alone gets signals, this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)
    if not callable(before):  # ignored, or not Python's to handle
        yield
        return
    pressed = 0

    def remember(*_: object) -> None:
        nonlocal pressed
        pressed += 1
        if pressed > presses:
            raise KeyboardInterrupt
        _log.warning("stopping in a moment, when Ray can be left in order")

    signal.signal(signal.SIGINT, remember)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if pressed:
            signal.raise_signal(signal.SIGINT)
