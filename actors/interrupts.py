"""Ctrl-C and SIGTERM at a moment when the program can act on them."""

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_log = logging.getLogger("everstep")


@contextmanager
def deferred_interrupts(presses: float = 1) -> Iterator[None]:
    """Let signals to stop wait until the block is left; after so many, they wait no longer.

    Ray's start-up must not be cut short: an interrupt inside its native code was seen to
    vanish, and to crash the process when it ended. And Ray's own handler of SIGTERM, which
    ends the process without a word, must not stay. Elsewhere than in the main thread, which
    alone gets signals, this does nothing; nor with a signal that is ignored, or nobody's.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    noted: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        noted.append(number)
        if len(noted) > presses:
            handlers[number](number, frame)
            raise KeyboardInterrupt
        _log.warning("stopping in a moment, when Ray can be left in order")

    handlers: dict[int, Any] = {
        number: before for number in _SIGNALS if callable(before := signal.getsignal(number))
    }
    for number in handlers:
        signal.signal(number, note)
    try:
        yield
    finally:
        for number, before in handlers.items():
            signal.signal(number, before)
        if noted:
            signal.raise_signal(noted[0])
