"""Signals to the driver, by the driver: who stops himself needs somebody who wakes him.

That somebody is a small process of its own, outside of the terminal's reach. It stops the
driver, wakes it, and leaves when the driver is gone.
"""

import os
import subprocess
import sys
from types import TracebackType
from typing import Final, Self

from trainer.faults.holds import PERIOD_S, standing_s
from trainer.faults.planned import Planned

# Arguments: process id, seconds standing, seconds running, seconds in all.
_WAKER: Final = """
import os, signal, sys, time
driver = int(sys.argv[1])
stand_s, run_s, all_s = map(float, sys.argv[2:])
for number in signal.SIGINT, signal.SIGHUP, signal.SIGTERM:
    signal.signal(number, lambda *_: sys.exit())
until_s = time.monotonic() + all_s
def send(number):
    if os.getppid() == driver:
        os.kill(driver, number)
def sleep(seconds):
    seconds = min(seconds, until_s - time.monotonic())
    wake_s = time.monotonic() + seconds
    while (left_s := wake_s - time.monotonic()) > 0 and os.getppid() == driver:
        time.sleep(min(left_s, 1))
try:
    while time.monotonic() < until_s and os.getppid() == driver:
        send(signal.SIGSTOP)
        sleep(stand_s)
        send(signal.SIGCONT)
        sleep(run_s)
finally:
    send(signal.SIGCONT)
"""
_FOREVER_S: Final = 1e9


class DriverHolds:
    """Stops and wakes this process; the `with` block's end ends every such process."""

    def __init__(self) -> None:
        self._wakers: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for waker in self._wakers:
            waker.terminate()
        for waker in self._wakers:
            waker.wait()

    def hold(self, planned: Planned) -> None:
        """Pause or slow this process as planned; returns at once, or when it goes on."""
        all_s = _FOREVER_S if planned.for_s is None else planned.for_s
        stand_s = min(standing_s(planned.factor), all_s)
        run_s = max(0.0, PERIOD_S - stand_s)
        numbers = [str(os.getpid()), *(f"{seconds:.6f}" for seconds in (stand_s, run_s, all_s))]
        # -I -S: starts in some 20 ms, and nothing of the environment is loaded.
        command = [sys.executable, "-I", "-S", "-c", _WAKER, *numbers]
        self._wakers.append(
            subprocess.Popen(  # noqa: S603 - our own text
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        )
