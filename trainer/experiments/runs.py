"""The runs of an experiment, each in a process of its own: `everstep train`, then `resume`.

A driver that its plan kills is resumed until training is done. Anything else that ends a run
without a result is a failure, told with the last line that it wrote. A signal to stop, Ctrl-C
say, is passed on once, and no process outlives the one that started it.
"""

import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from signal import SIGKILL
from typing import Final

from trainer.faults.log import read_faults
from trainer.stop_signals import StopSignals

_MOST_RESUMES: Final = 50
_LOOK_EVERY_S: Final = 0.1
_STOPPING_S: Final = 60.0  # a run that is stopped may write its checkpoint


def run_to_the_end(
    folder: Path, config: Path | None, overrides: list[str], plan: Path, limit_s: float | None
) -> str | None:
    """Train under a plan into `folder`; what is written goes to `FOLDER.log`.

    Args:
        limit_s: for train and resumes together; None: no limit.

    Returns:
        Why it failed, in one line; None: it is done.
    """
    until_s = None if limit_s is None else time.monotonic() + limit_s
    settings = [part for override in overrides for part in ("--set", override)]
    files = [str(config)] if config else []
    command = ["train", *files, *settings, "--out", str(folder)]
    for _ in range(_MOST_RESUMES):
        kills = _driver_kills(folder)
        status = _run([*command, "--faults", str(plan)], log_of(folder), until_s)
        if status is None:
            return f"not done after {limit_s:.0f} s; see {log_of(folder)}"
        if status == 0:
            return None
        if status != -SIGKILL or _driver_kills(folder) == kills:
            return _failure(status, log_of(folder))
        command = ["resume", str(folder)]
    return f"its driver was killed {_MOST_RESUMES} times"


def log_of(folder: Path) -> Path:
    """Where a run's output is."""
    return folder.with_name(f"{folder.name}.log")


def _run(arguments: list[str], log: Path, until_s: float | None) -> int | None:
    """The exit status; None: the time was up, and it is killed.

    Raises:
        Stopped: this process was told to stop, and the other one has stopped.
    """
    with StopSignals() as signals:
        process = _start(arguments, log)
        try:
            status = _wait(process, until_s, signals)
            if signals.noted is not None:
                process.send_signal(signals.noted)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_STOPPING_S)
        finally:
            process.kill()
            process.wait()
        signals.check()
    return status


def _start(arguments: list[str], log: Path) -> "subprocess.Popen[bytes]":
    with log.open("ab") as output:
        return subprocess.Popen(  # noqa: S603 - ourselves
            [sys.executable, "-m", "trainer", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # Out of the terminal's reach: its Ctrl-C would come twice, and two wait for nothing.
            start_new_session=True,
        )


def _wait(
    process: "subprocess.Popen[bytes]", until_s: float | None, signals: StopSignals
) -> int | None:
    """The exit status; None: the time was up, or it is to be stopped."""
    while signals.noted is None and (until_s is None or time.monotonic() < until_s):
        with suppress(subprocess.TimeoutExpired):
            return process.wait(_LOOK_EVERY_S)
    return None


def _driver_kills(folder: Path) -> int:
    return sum(
        fault.fired and fault.kind == "kill" and fault.hits[0].name == "driver"
        for fault in read_faults(folder)
    )


def _failure(status: int, log: Path) -> str:
    lines = log.read_text("utf-8", "replace").splitlines()
    last = next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
    how = f"ended by signal {-status}" if status < 0 else f"exit status {status}"
    return f"{how}: {last.removeprefix('everstep: ')}; see {log}"
