"""Ctrl-C and SIGTERM are noted once, and then wait for nothing."""

import os
import signal
import threading

import pytest

from trainer.stop_signals import Stopped, StopSignals


@pytest.mark.parametrize(
    ("number", "name"), [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM")]
)
def test_the_first_is_noted_and_raised_when_it_is_asked_for(number: int, name: str) -> None:
    with StopSignals() as signals:
        signals.check()
        os.kill(os.getpid(), number)
        with pytest.raises(Stopped) as caught:
            signals.check()
    assert (str(caught.value), caught.value.number) == (name, number)
    assert isinstance(caught.value, KeyboardInterrupt)


def test_the_second_raises_at_once() -> None:
    with StopSignals() as signals:
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Stopped, match=r"Ctrl-C|2"):
            os.kill(os.getpid(), signal.SIGINT)
        assert signals.noted == signal.SIGTERM


def test_afterwards_and_in_other_threads_signals_are_as_they_were() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    inside: list[object] = []

    def elsewhere() -> None:
        with StopSignals():
            inside.extend(signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    with StopSignals():
        assert signal.getsignal(signal.SIGINT) != before[0]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    assert inside == before


def test_what_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with StopSignals() as signals:
            os.kill(os.getpid(), signal.SIGTERM)
        assert signals.noted is None
    finally:
        signal.signal(signal.SIGTERM, before)
