"""A thread for calls that may never return, like those to a Ray whose head is lost.

Whoever asks for one decides how long he waits for it. An executor of Python's own would not
do: each process waits for its calls to return before it ends.
"""

import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from queue import SimpleQueue
from typing import Any, Final, TypeVar

Answer = TypeVar("Answer")

_given_up: Final[list[threading.Thread]] = []  # at their end they still waited for a call


class SideThread:
    """Makes one call after the other, in the order in which they were asked for."""

    def __init__(self, name: str) -> None:
        """There is no thread before the first call."""
        self._name = name
        self._asking = threading.Lock()
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def call(self, function: Callable[..., Answer], *arguments: Any) -> "Future[Answer]":
        """Ask for a call, from any thread, without waiting: what it will return or raise."""
        answer: Future[Answer] = Future()
        with self._asking:
            self._calls.put(partial(_make, partial(function, *arguments), answer))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
        return answer

    def end(self, patience_s: float) -> bool:
        """After the calls that were asked for, end; whether that came about in time."""
        with self._asking:
            thread = self._thread
            self._calls.put(None)
        if thread is None:
            return True
        thread.join(patience_s)
        if is_late := thread.is_alive():
            _given_up.append(thread)
        return not is_late

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            call()


def end_if_a_call_hangs(status: int) -> None:
    """End this process at once, if a call that was given up has not returned yet.

    Native code that hangs while Python takes everything down crashes the process.
    """
    if any(thread.is_alive() for thread in _given_up):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _make(function: Callable[[], Answer], answer: "Future[Answer]") -> None:
    try:
        answer.set_result(function())
    except BaseException as error:
        answer.set_exception(error)
