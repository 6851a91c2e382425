"""One process at a time in a run directory: a lock that dies with its process.

The operating system holds it (`flock` on a file), so nothing is left to clear away after a
crash; the file's content only tells others who holds it.
"""

import fcntl
import json
import os
import platform
import time
from pathlib import Path
from typing import Any, Final, Literal

from trainer.errors import RunDirectoryError

LOCK: Final = "run.lock"
Command = Literal["train", "resume"]
_DOES: Final = {"train": "trains into it", "resume": "resumes it"}


class RunLock:
    """The lock on a run directory, held from the beginning to `release`."""

    def __init__(self, folder: Path, command: Command, where: str) -> None:
        """Take the lock of an existing directory.

        Args:
            where: what the user gave, for the message: `--out run`.

        Raises:
            RunDirectoryError: another process holds it; names that process.
            OSError: the lock file can not be made; FileNotFoundError: the directory has gone.
        """
        self._path = folder / LOCK
        while True:
            # Python opens files so that a child that is another program does not inherit them.
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if self._is_the_file():
                    break
            except BlockingIOError:
                holder = _holder(self._descriptor)
                os.close(self._descriptor)
                raise RunDirectoryError(f"{where}: {holder}; {_advice(command)}") from None
            except OSError:
                os.close(self._descriptor)
                raise
            os.close(self._descriptor)  # the file was removed by whoever held it: once more
        self._write(command)

    def release(self) -> None:
        """Remove the file, then let go: who waits for it finds none and makes another."""
        if self._descriptor >= 0:
            if self._is_the_file():
                self._path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = -1

    def _is_the_file(self) -> bool:
        try:
            return os.path.samestat(self._path.stat(), os.fstat(self._descriptor))
        except FileNotFoundError:
            return False

    def _write(self, command: Command) -> None:
        now = time.strftime("%Y-%m-%d %H:%M:%S")
        holder = {"pid": os.getpid(), "host": platform.node(), "command": command, "since": now}
        try:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, json.dumps(holder).encode() + b"\n", 0)
        except OSError:  # a full disk: the lock is held all the same
            return


def _holder(descriptor: int) -> str:
    """Who holds the lock, as far as the file tells: it may be half written."""
    try:
        holder: Any = json.loads(os.pread(descriptor, 1000, 0))
        since = str(holder["since"]).removeprefix(time.strftime("%Y-%m-%d "))
        does = _DOES[holder["command"]]
        return f"process {int(holder['pid'])} on host {holder['host']} {does} since {since}"
    except (ValueError, TypeError, KeyError):
        return "another process writes into it"


def _advice(command: Command) -> str:
    if command == "train":
        return "choose another directory"
    return "wait until it has ended, or stop it first"
