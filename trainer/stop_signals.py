"""Ctrl-C, SIGTERM and SIGHUP, when a training can act on them: between two messages.

An exception in the middle of a message would leave a server in this process with half a
step done. So the first signal is only noted, and the second one waits for nothing.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Final, Self

_ENDS: Final = (signal.SIGTERM, signal.SIGHUP)  # without a word, if nobody minds them
_SIGNALS: Final = (signal.SIGINT, *_ENDS)


class Stopped(KeyboardInterrupt):
    """The user, or the system, wants the training to end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    def __str__(self) -> str:
        return "Ctrl-C" if self.number == signal.SIGINT else signal.Signals(self.number).name


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP raise `Stopped`, as Ctrl-C raises: at once, wherever the program is."""

    def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        raise Stopped(number)

    main = threading.current_thread() is threading.main_thread()
    numbers = [n for n in _ENDS if main and signal.getsignal(n) == signal.SIG_DFL]
    for number in numbers:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)


class StopSignals:
    """Notes the first signal for as long as the `with` block lasts; the second one raises.

    Elsewhere than in the main thread, which alone gets signals, it notes nothing.
    """

    def __init__(self) -> None:
        self.noted: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                before = signal.getsignal(number)
                # Ignored stays ignored (nohup), and so does what Python did not install.
                if callable(before) or (number != signal.SIGINT and before == signal.SIG_DFL):
                    self._before[number] = before
                    signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def check(self) -> None:
        """Raise `Stopped` if a signal was noted."""
        if self.noted is not None:
            raise Stopped(self.noted)

    def _note(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if self.noted is not None:
            raise Stopped(number)
        self.noted = number
