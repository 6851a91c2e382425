"""Whether a process trains into a run directory now, for who only looks."""

import fcntl
import os
from pathlib import Path
from typing import Any, NamedTuple

from trainer.lock_holder import DOES, LOCK, Command, Sign, sign_in
from trainer.run_lock import held


class Holder(NamedTuple):
    """The process that holds the lock."""

    process_id: int
    host: str
    command: Command
    began_unix_s: float


class Look(NamedTuple):
    """What somebody sees who only looks."""

    is_held: bool
    holder: Holder | None = None  # None: nobody, or the file does not say
    sign: Sign | None = None  # its, or that of one who was killed


def look(folder: Path) -> Look:
    """Whether a process trains into a run directory now, and how far it is.

    Raises:
        OSError: the lock is there and can not be read.
    """
    try:
        descriptor = os.open(folder / LOCK, os.O_RDONLY)
    except FileNotFoundError:
        return Look(is_held=False)
    try:
        said = held(descriptor)
        sign = sign_in(said)
        try:
            # For a moment; whoever comes to train is patient with that.
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return Look(True, _holder(said), sign)
        return Look(False, None, sign)
    finally:
        os.close(descriptor)


def _holder(said: Any) -> Holder | None:
    try:
        command: Command = said["command"]
        if command not in DOES:
            return None
        began_unix_s = float(said["began_unix_s"])
        return Holder(int(said["pid"]), str(said["host"]), command, began_unix_s)
    except (ValueError, TypeError, KeyError):
        return None
