"""Ctrl-C, while something must not be cut short."""

import math
import os
import signal
import threading

import pytest

from actors.interrupts import deferred_interrupts


def press() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_an_interrupt_waits_for_the_end_of_the_block() -> None:
    reached = []

    def interrupted() -> None:
        with deferred_interrupts():
            press()
            reached.append("the end")
        reached.append("too far")

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert reached == ["the end"]


def test_the_second_interrupt_does_not_wait() -> None:
    reached = []

    def interrupted_twice() -> None:
        with deferred_interrupts():
            press()
            reached.append("the middle")
            press()
            reached.append("too far")

    with pytest.raises(KeyboardInterrupt):
        interrupted_twice()
    assert reached == ["the middle"]


def test_a_block_may_let_any_number_of_interrupts_wait() -> None:
    reached = []

    def interrupted_often() -> None:
        with deferred_interrupts(presses=math.inf):
            for _ in range(5):
                press()
            reached.append("the end")

    with pytest.raises(KeyboardInterrupt):
        interrupted_often()
    assert reached == ["the end"]


def test_afterwards_interrupts_are_as_they_were() -> None:
    before = signal.getsignal(signal.SIGINT)
    with deferred_interrupts():
        pass
    assert signal.getsignal(signal.SIGINT) is before


def test_an_interrupt_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with deferred_interrupts():
            press()
    finally:
        signal.signal(signal.SIGINT, before)


def test_an_interrupt_is_not_lost_when_the_block_fails() -> None:
    def interrupted_and_failing() -> None:
        with deferred_interrupts():
            press()
            raise ZeroDivisionError

    with pytest.raises(KeyboardInterrupt):
        interrupted_and_failing()


def test_an_error_in_the_block_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError), deferred_interrupts():
        _ = 1 / 0


def test_other_threads_are_let_alone() -> None:
    def enter() -> None:
        with deferred_interrupts():
            entered.set()

    entered = threading.Event()
    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert entered.is_set()
